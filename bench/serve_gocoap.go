package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/mux"
	coapnet "github.com/plgd-dev/go-coap/v3/net"
	"github.com/plgd-dev/go-coap/v3/options"
	"github.com/plgd-dev/go-coap/v3/udp"
	gocoap "github.com/plgd-dev/go-coap/v3/udp/client"
)

// subscribers are the observers of go-coap's /o: its documentation has servers keep them.
type subscribers struct {
	mu       sync.Mutex
	all      []subscriber
	sequence uint32
}

type subscriber struct {
	conn  mux.Conn
	token message.Token
}

// serveGoCoAP serves the same resources as ours by go-coap, with its router, as its documentation does.
func serveGoCoAP(t serveTask) error {
	short := func(w mux.ResponseWriter, _ *mux.Message) {
		_ = w.SetResponse(codes.Content, message.TextPlain, bytes.NewReader(shortText))
	}
	after := func(d time.Duration) mux.HandlerFunc {
		return func(w mux.ResponseWriter, r *mux.Message) {
			time.Sleep(d)
			short(w, r)
		}
	}
	subs := &subscribers{sequence: 1}
	r := mux.NewRouter()
	for path, h := range map[string]mux.HandlerFunc{
		"/t": short, "/wait": after(200 * time.Microsecond), "/sleep": after(5 * time.Second), "/o": subs.serve,
		"/big": func(w mux.ResponseWriter, _ *mux.Message) {
			_ = w.SetResponse(codes.Content, message.AppOctets, bytes.NewReader(longBody))
		},
	} {
		r.HandleFunc(path, h)
	}
	if t.Secure != nil {
		return serveSecureGoCoAP(t, r)
	}
	l, err := coapnet.NewListenUDP("udp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := udp.NewServer(options.WithMux(r), options.WithErrors(func(error) {}))
	announce(l.LocalAddr().(*net.UDPAddr).AddrPort())
	go func() { fmt.Fprintln(os.Stderr, s.Serve(l)) }()
	untilClosed(func(string) any { return ownSizes() })
	return nil
}

// serveSecureGoCoAP serves over DTLS, as its documentation does, but keeps sessions that are idle, which it closes after 16 s else.
func serveSecureGoCoAP(t serveTask, r *mux.Router) error {
	opts, err := t.Secure.pion()
	if err != nil {
		return err
	}
	l, err := coapnet.NewDTLSListener("udp4", "127.0.0.1:0", coapnet.NewDTLSServerOptions(opts...))
	if err != nil {
		return err
	}
	s := dtls.NewServer(options.WithMux(r), options.WithErrors(func(error) {}),
		options.WithInactivityMonitor(time.Hour, func(c *gocoap.Conn) { _ = c.Close() }))
	announce(l.Addr().(*net.UDPAddr).AddrPort())
	go func() { fmt.Fprintln(os.Stderr, s.Serve(l)) }()
	untilClosed(func(string) any { return ownSizes() })
	return nil
}

func (s *subscribers) serve(w mux.ResponseWriter, r *mux.Message) {
	if r.Code() == codes.PUT {
		go s.notify()
		_ = w.SetResponse(codes.Changed, message.TextPlain, nil)
		return
	}
	if v, err := r.Options().Observe(); err == nil && v == 0 {
		s.mu.Lock()
		s.all = append(s.all, subscriber{w.Conn(), bytes.Clone(r.Token())})
		s.mu.Unlock()
		_ = w.SetResponse(codes.Content, message.TextPlain, bytes.NewReader(shortText), message.Option{ID: message.Observe, Value: []byte{1}})
		return
	}
	_ = w.SetResponse(codes.Content, message.TextPlain, bytes.NewReader(shortText))
}

func (s *subscribers) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence++
	for _, o := range s.all {
		m := o.conn.AcquireMessage(o.conn.Context())
		m.SetCode(codes.Content)
		m.SetType(message.NonConfirmable)
		m.SetToken(o.token)
		m.SetContentFormat(message.TextPlain)
		m.SetObserve(s.sequence)
		m.SetBody(bytes.NewReader(shortText))
		_ = o.conn.WriteMessage(m)
		o.conn.ReleaseMessage(m)
	}
}
