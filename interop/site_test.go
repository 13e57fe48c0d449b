package interop

import (
	"context"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/message"
	"github.com/coapkit/coap/transport/udp"
)

// site is a server of ours with the resources that the exchanges are about. Peers whose servers
// can be programmed have the same ones.
type site struct {
	base   string // its URI, without a path
	server *coap.Server
	wire   *recorder

	mu   sync.Mutex
	text *string // of /text; nil: there is none
}

// hello is the representation of /text in the beginning.
const hello = "hello"

// trusting is for the clients that do not know the Echo option, which are most.
var trusting = echo.ServerConfig{Mode: echo.Off}

// startSite starts a site on a port of host.
func startSite(t *testing.T, host netip.Addr, params coap.Params) *site {
	t.Helper()
	conn, err := udp.Listen(netip.AddrPortFrom(host, 0).String(), nil)
	require.NoError(t, err)
	text := hello
	s := &site{base: "coap://" + conn.LocalAddr().String(), wire: newRecorder(true), text: &text}
	s.server = &coap.Server{Handler: s.mux(), Config: &coap.Config{Params: params, Trace: s.wire.trace, ServeEcho: trusting}}
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(context.Background(), conn) }()
	t.Cleanup(func() {
		require.NoError(t, s.server.Close())
		require.NoError(t, <-served)
	})
	return s
}

// paramsFor returns parameters for a server on a busy machine: where the response is to be piggybacked,
// it waits long for the handler before it acknowledges the request without, otherwise not.
func paramsFor(s *scenario) coap.Params {
	if s.chart != nil {
		return coap.Params{EmptyAckDelay: 10 * time.Millisecond}
	}
	return coap.Params{EmptyAckDelay: time.Second}
}

func (s *site) mux() *coap.Mux {
	mux := coap.NewMux()
	conditional := coap.Route{Preconditions: true}
	mux.HandleFunc("GET /text", s.getText)
	mux.HandleFunc("FETCH /text", s.fetchText)
	mux.HandleFunc("PUT /text", s.changeText(func(_, payload string) string { return payload }), conditional)
	mux.HandleFunc("PATCH /text", s.changeText(func(old, payload string) string { return old + payload }))
	mux.HandleFunc("iPATCH /text", s.changeText(func(old, payload string) string { return payload + old[len(payload):] }))
	mux.HandleFunc("DELETE /text", s.deleteText)
	mux.HandleFunc("POST /jobs", func(w *coap.Response, _ *coap.Request) error {
		w.SetCode(message.Created)
		return w.Options.SetLocation("/jobs/7?new")
	})
	mux.HandleFunc("GET /echo/", func(w *coap.Response, r *coap.Request) error { return w.Text(r.Options.Target()) })
	mux.HandleFunc("GET /{$}", fixed("root"))
	mux.HandleFunc("GET /empty", fixed(""))
	mux.HandleFunc("GET /long", fixed(strings.Repeat("x", 1024)))
	mux.HandleFunc("GET /fails", func(*coap.Response, *coap.Request) error { return errors.New("failed on purpose") })
	mux.HandleFunc("GET /slow", s.getSlow)
	mux.HandleFunc("GET /after-ping", s.answerAfter("> CON 0.00"))
	return mux
}

func fixed(text string) coap.HandlerFunc {
	return func(w *coap.Response, _ *coap.Request) error { return w.Text(text) }
}

// getSlow answers when the request has been acknowledged.
func (s *site) getSlow(w *coap.Response, r *coap.Request) error {
	if r.NonConfirmable {
		return w.Text("slow")
	}
	return s.answerAfter("< ACK 0.00")(w, r)
}

// answerAfter returns a handler that waits until the server has seen a step.
func (s *site) answerAfter(line string) coap.HandlerFunc {
	return func(w *coap.Response, r *coap.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), patience)
		defer cancel()
		if _, err := s.wire.until(ctx, contains(line)); err != nil {
			return err
		}
		return w.Text("slow")
	}
}

// getText answers with the text, which is also its ETag.
func (s *site) getText(w *coap.Response, _ *coap.Request) error {
	text, ok := s.current()
	if !ok {
		return &coap.Error{Code: message.NotFound}
	}
	if err := w.SetETag([]byte(text)); err != nil {
		return err
	}
	return w.Text(text)
}

// fetchText answers with as much of the text as the request says.
func (s *site) fetchText(w *coap.Response, r *coap.Request) error {
	if _, ok := r.Options.ContentFormat(); !ok {
		return &coap.Error{Code: message.BadRequest, Diagnostic: "FETCH needs a Content-Format"}
	}
	text, _ := s.current()
	n, err := strconv.Atoi(string(r.Payload))
	if err != nil || n > len(text) {
		return &coap.Error{Code: message.UnprocessableEntity}
	}
	return w.Text(text[:n])
}

func (s *site) changeText(change func(old, payload string) string) coap.HandlerFunc {
	return func(w *coap.Response, r *coap.Request) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		var old string
		w.SetCode(message.Created)
		if s.text != nil {
			old = *s.text
			w.SetCode(message.Changed)
		}
		if err := r.Precondition([]byte(old), s.text != nil); err != nil {
			return err
		}
		text := change(old, string(r.Payload))
		s.text = &text
		return nil
	}
}

func (s *site) deleteText(w *coap.Response, _ *coap.Request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = nil
	w.SetCode(message.Deleted)
	return nil
}

// current returns the text and whether there is one.
func (s *site) current() (text string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.text == nil {
		return "", false
	}
	return *s.text, true
}
