package main

import (
	"errors"
	"reflect"

	"github.com/coapkit/coap"
)

// Settings that this version of the library may not have yet are set by name, so that the same benchmark
// runs with and without them.

var errNoSetting = errors.New("this version of the library has no such setting")

// listenOnSockets has a server listen on several sockets.
func listenOnSockets(s *coap.Server, n int) error { return setInt(s, n, "Sockets", "Listeners") }

// transferInWindow has a client ask for n blocks at a time.
func transferInWindow(c *coap.Config, n int) error {
	c.Params.NStart = n
	return setInt(&c.SendBlocks, n, "Window")
}

// setInt sets the first of the named fields that *v has.
func setInt(v any, n int, names ...string) error {
	for _, name := range names {
		if f := reflect.ValueOf(v).Elem().FieldByName(name); f.IsValid() && f.CanInt() {
			f.SetInt(int64(n))
			return nil
		}
	}
	return errNoSetting
}
