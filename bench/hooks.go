package main

import (
	"errors"
	"reflect"

	"github.com/coapkit/coap"
)

// Settings that this version of the library may not have yet are set by name, so that the same benchmark
// runs with and without them.

var errNoSetting = errors.New("this version of the library has no such setting")

// transferInWindow has a client ask for n blocks at a time.
func transferInWindow(c *coap.Config, n int) error {
	c.Params.NStart = n
	if f := reflect.ValueOf(&c.SendBlocks).Elem().FieldByName("Window"); f.IsValid() && f.CanInt() {
		f.SetInt(int64(n))
		return nil
	}
	return errNoSetting
}
