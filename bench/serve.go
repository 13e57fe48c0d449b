package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/observe"
	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/dtls"
	"github.com/coapkit/coap/transport/udp"
)

// serveTask says which server a process is.
type serveTask struct {
	Who      string    // ours, gocoap, devices, nothing
	Echo     echo.Mode // ours
	Trace    bool      // ours
	Handlers int       // ours: Limits.Handlers
	Paced    bool      // ours: notifications at the default pace, Confirmable
	Sockets  int       // ours: on how many sockets to listen, 0 for one
	Hold     int       // devices: answer nobody before as many have been asked
	Remember int       // ours: Limits.RememberedBytes

	Secure *credentials // ours, gocoap: serve over DTLS; nil for plain UDP
	NoCID  bool         // ours: without connection IDs

}

var shortText, longBody = []byte("twenty bytes of text"), bytes.Repeat([]byte("sixteen bytes of"), 1<<16)

// sizes are what a server in Go says of itself.
type sizes struct {
	Mallocs    uint64
	Heap       uint64 // bytes, after a garbage collection
	Goroutines int
	Remembered int // ours: requests whose duplicates would be found
}

func ownSizes() sizes {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s := sizes{Mallocs: m.Mallocs, Goroutines: runtime.NumGoroutine()}
	runtime.GC()
	runtime.ReadMemStats(&m)
	s.Heap = m.HeapAlloc
	return s
}

// serve is the process of a server.
func serve(arg string) error {
	var t serveTask
	if err := json.Unmarshal([]byte(arg), &t); err != nil {
		return err
	}
	switch t.Who {
	case "ours":
		return serveOurs(t)
	case "gocoap":
		return serveGoCoAP(t)
	case "devices":
		return serveDevices(t)
	case "nothing": // for the memory of an empty program
		fmt.Println("ready")
		untilParentEnds()
		return nil
	}
	return errors.New("no such server: " + t.Who)
}

// announce says where a server listens.
func announce(addr netip.AddrPort) { fmt.Println("listening", addr) }

// untilParentEnds waits for that, then ends the process.
func untilParentEnds() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// serveOurs serves with this library. Whatever it does not say is the default.
func serveOurs(t serveTask) error {
	server := newOurs(t)
	all, err := listenOurs(t)
	if err != nil {
		return err
	}
	announce(all[0].LocalAddr())
	go func() { fmt.Fprintln(os.Stderr, server.Serve(context.Background(), all...)) }()
	untilClosed(func(string) any {
		own := ownSizes()
		own.Remembered = server.Stats().Remembered
		return own
	})
	return nil
}

func listenOurs(t serveTask) ([]transport.Conn, error) {
	if t.Secure != nil {
		cfg, err := t.Secure.server()
		if err != nil {
			return nil, err
		}
		if t.NoCID {
			cfg.ConnectionID = -1
		}
		c, err := dtls.Listen("127.0.0.1:0", cfg)
		return []transport.Conn{c}, err
	}
	conns, err := udp.ListenShared("127.0.0.1:0", max(t.Sockets, 1), nil)
	all := make([]transport.Conn, len(conns))
	for i, c := range conns {
		all[i] = c
	}
	return all, err
}

// newOurs returns a server with a route for everything that is measured.
func newOurs(t serveTask) *coap.Server {
	mux := coap.NewMux()
	server := &coap.Server{Handler: mux}
	text := string(shortText)
	short := func(w *coap.Response, _ *coap.Request) error { return w.Text(text) }
	mux.HandleFunc("GET /t", short)
	mux.HandleFunc("GET /wait", func(w *coap.Response, r *coap.Request) error {
		time.Sleep(200 * time.Microsecond)
		return w.Text(text)
	})
	mux.HandleFunc("GET /sleep", func(w *coap.Response, r *coap.Request) error {
		time.Sleep(5 * time.Second)
		return w.Text(text)
	})
	mux.HandleFunc("GET /big", func(w *coap.Response, r *coap.Request) error {
		return w.Content(bytes.NewReader(longBody), []byte("1"))
	})
	mux.HandleFunc("GET /o", short, coap.Route{Observable: true})
	mux.HandleFunc("PUT /o", func(w *coap.Response, r *coap.Request) error {
		server.Notify("/o")
		w.SetCode(coap.Changed)
		return nil
	})
	cfg := &coap.Config{
		ServeEcho:    echo.ServerConfig{Mode: t.Echo},
		ServeObserve: observe.ServerConfig{MaxObservers: 1 << 20},
		Limits:       coap.Limits{Handlers: t.Handlers, Peers: 1 << 21, RememberedBytes: t.Remember, RememberedBytesPerPeer: t.Remember},
	}
	if !t.Paced {
		// No pauses between notifications: what the library can do, not what a network should be asked to.
		cfg.ServeObserve.ConfirmEvery = 1 << 30
		cfg.ServeObserve.NonInterval = 1
		cfg.ServeObserve.Outstanding = 1 << 30
	}
	if t.Trace {
		var seen atomic.Uint64
		cfg.Trace = func(coap.TraceEvent) { seen.Add(1) }
	}
	server.Config = cfg
	return server
}

// The modes of proofs of addresses, as a serveTask has them.
const (
	echoOff    = echo.Off
	echoAlways = echo.Always
)
