package blockwise_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// streamed is the mode of routes whose handlers read.
func streamed(*exchange.Request) (blockwise.Mode, error) { return blockwise.Mode{Stream: true}, nil }

// async is a request on its way.
type async struct {
	line string
	done chan struct{}
}

// start sends a request and does not wait for the response.
func start(s exchange.Handler, peer exchange.Peer, req string) *async {
	a := &async{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.line, _ = send(s, peer, step{request: req}.make())
	}()
	synctest.Wait()
	return a
}

// want is the line of the response, "" if there is none yet.
func (a *async) want(t *testing.T, line string) {
	t.Helper()
	synctest.Wait()
	select {
	case <-a.done:
		require.Contains(t, a.line, line)
		require.NotEmpty(t, line, "answered already: %s", a.line)
	default:
		require.Empty(t, line, "not answered yet")
	}
}

// reader is a handler that reads as much as it is told to.
type reader struct {
	mu    sync.Mutex
	steps chan int // read so much; closed: the rest
	got   []byte
	err   error
	ended atomic.Bool
	then  func(w *exchange.Response, r *exchange.Request) error
}

func (h *reader) ServeCoAP(w *exchange.Response, r *exchange.Request) error {
	defer h.ended.Store(true)
	for n := range h.steps {
		b := make([]byte, n)
		n, err := io.ReadFull(r.Body, b)
		h.note(b[:n], err)
		if err != nil {
			return err
		}
	}
	if h.then != nil {
		return h.then(w, r)
	}
	b, err := io.ReadAll(r.Body)
	h.note(b, err)
	w.Code = message.Changed
	return err
}

func (h *reader) note(got []byte, err error) {
	h.mu.Lock()
	h.got, h.err = append(h.got, got...), err
	h.mu.Unlock()
}

func testStream(t *testing.T, f func(t *testing.T, h *reader, s *blockwise.Server), cfg blockwise.ServerConfig) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &reader{steps: make(chan int)}
		cfg.Mode = streamed
		s := blockwise.NewServer(h, cfg)
		f(t, h, s)
		require.NoError(t, s.Shutdown(t.Context()))
		require.Zero(t, s.Stats().Bytes)
		require.Zero(t, s.Stats().Streams)
		require.Zero(t, s.Stats().Peers)
	})
}

// The handler runs while blocks arrive; a slow one slows the sender down.
func TestStreamBackPressure(t *testing.T) {
	testStream(t, func(t *testing.T, h *reader, s *blockwise.Server) {
		start(s, peerAt(1), "PUT /a 1:0/1/16").want(t, "2.31 1:0/1/16")
		b1 := start(s, peerAt(1), "PUT /a 1:1/1/16")
		b1.want(t, "")
		start(s, peerAt(1), "PUT /a 1:2/1/16").want(t, "5.03") // one at a time
		h.steps <- 10
		b1.want(t, "2.31 1:1/1/16")
		start(s, peerAt(1), "PUT /a 1:1/1/16").want(t, "2.31 1:1/1/16") // again
		start(s, peerAt(1), "PUT /a 1:0/0/16").want(t, "")              // starts again: another handler, that waits for steps
		h.steps <- 10
		synctest.Wait()
		require.True(t, h.ended.Load())
		close(h.steps)
	}, blockwise.ServerConfig{})
}

func TestStream(t *testing.T) {
	testStream(t, func(t *testing.T, h *reader, s *blockwise.Server) {
		close(h.steps)
		start(s, peerAt(1), "PUT /a 1:0/1/64").want(t, "2.31 1:0/1/64")
		start(s, peerAt(1), "PUT /a 1:2/1/64").want(t, "4.08 1:2/1/64")
		start(s, peerAt(1), "PUT /a 1:2/1/32").want(t, "2.31 1:2/1/32")
		require.False(t, h.ended.Load())
		start(s, peerAt(1), "PUT /a 1:3/0/32").want(t, "2.04 1:3/0/32")
		require.Equal(t, bodyOf(4096)[:101], h.got)
		require.Equal(t, uint64(1), s.Stats().Completed)
		start(s, peerAt(1), "PUT /a pay=x").want(t, "2.04") // in one message
		require.Equal(t, "x", string(h.got[101:]))
		start(s, peerAt(1), "PUT /a 1:0/0/64").want(t, "2.04 1:0/0/64")
		require.Equal(t, bodyOf(4096)[:5], h.got[102:])
	}, blockwise.ServerConfig{})
}

// The response to a streamed body may be long, too, and be given before its end has come.
func TestStreamResponse(t *testing.T) {
	testStream(t, func(t *testing.T, h *reader, s *blockwise.Server) {
		memory := bodyOf(100)
		h.then = func(w *exchange.Response, r *exchange.Request) error {
			w.Code, w.Payload = message.Changed, memory
			return nil
		}
		close(h.steps)
		start(s, peerAt(1), "POST /a 1:0/1/64").want(t, "2.31")
		require.True(t, h.ended.Load())
		clear(memory) // it is the handler's
		start(s, peerAt(1), "POST /a 1:1/1/64").want(t, "2.31 1:1/1/64")
		start(s, peerAt(1), "POST /a 1:2/0/64 2:0/0/64").want(t, "2.04 2:0/1/64 1:2/0/64 +64")
		_, m := send(s, peerAt(1), step{request: "POST /a 2:1/0/64"}.make())
		require.Equal(t, bodyOf(100)[64:], m.Payload)
	}, blockwise.ServerConfig{})
}

// An error of the handler is the answer at once, and ends the transfer.
func TestStreamFails(t *testing.T) {
	for name, c := range map[string]struct {
		then func(w *exchange.Response, r *exchange.Request) error
		want string
	}{
		"error":    {func(*exchange.Response, *exchange.Request) error { return &exchange.Error{Code: message.Conflict} }, "4.09"},
		"response": {func(w *exchange.Response, _ *exchange.Request) error { w.Code = message.Forbidden; return nil }, "4.03 1:1/0/16"},
		"panic":    {func(*exchange.Response, *exchange.Request) error { panic("oops") }, "5.00"},
	} {
		t.Run(name, func(t *testing.T) {
			testStream(t, func(t *testing.T, h *reader, s *blockwise.Server) {
				h.then = c.then
				start(s, peerAt(1), "PUT /a 1:0/1/16").want(t, "2.31")
				close(h.steps)
				start(s, peerAt(1), "PUT /a 1:1/1/16").want(t, c.want)
				start(s, peerAt(1), "PUT /a 1:2/1/16").want(t, "4.08")
			}, blockwise.ServerConfig{})
		})
	}
}

// When the transfer is given up, the context of the handler ends and its Read fails, with the
// reason.
func TestStreamIsGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		cause func(t *testing.T, s *blockwise.Server)
		want  error
		then  string
	}{
		"expired":  {func(t *testing.T, s *blockwise.Server) { advance(248 * time.Second) }, blockwise.ErrExpired, "4.08"},
		"replaced": {func(t *testing.T, s *blockwise.Server) { start(s, peerAt(1), "PUT /a 1:0/1/32") }, blockwise.ErrReplaced, "4.08"},
		"evicted": {func(t *testing.T, s *blockwise.Server) {
			advance(40 * time.Second)
			start(s, peerAt(2), "PUT /a 1:0/1/16").want(t, "2.31")
		}, blockwise.ErrEvicted, "4.08"},
		"shutdown": {func(t *testing.T, s *blockwise.Server) { require.NoError(t, s.Shutdown(t.Context())) }, blockwise.ErrShutdown, "4.08"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var errs []error
				s := blockwise.NewServer(exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
					_, err := io.ReadAll(r.Body)
					require.Error(t, r.Context().Err())
					errs = append(errs, err)
					return err
				}), blockwise.ServerConfig{Mode: streamed, Streams: 1})
				start(s, peerAt(1), "PUT /a 1:0/1/16").want(t, "2.31")
				if name != "replaced" {
					start(s, peerAt(1), "PUT /a 1:1/1/16").want(t, "2.31")
				}
				c.cause(t, s)
				synctest.Wait()
				require.Len(t, errs, 1)
				require.ErrorIs(t, errs[0], c.want)
				start(s, peerAt(1), "PUT /a 1:3/1/16").want(t, c.then)
				require.NoError(t, s.Shutdown(t.Context()))
				start(s, peerAt(1), "PUT /a 1:0/1/16").want(t, "5.03")
			})
		})
	}
}

// A block that waits for the handler is told when the transfer is given up.
func TestStreamIsGivenUpWhileItWaits(t *testing.T) {
	testStream(t, func(t *testing.T, h *reader, s *blockwise.Server) {
		start(s, peerAt(1), "PUT /a 1:0/1/16").want(t, "2.31")
		b1 := start(s, peerAt(1), "PUT /a 1:1/1/16")
		advance(time.Hour) // the handler takes its time: nothing expires
		b1.want(t, "")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, s.Shutdown(ctx), context.Canceled, "the handler does not look at its context")
		b1.want(t, "5.03")
		h.steps <- 1
		synctest.Wait()
		require.ErrorIs(t, h.err, blockwise.ErrShutdown)
	}, blockwise.ServerConfig{})
}

// Streams have a limit of their own, and one peer a share of it.
func TestStreamLimits(t *testing.T) {
	testStream(t, func(t *testing.T, h *reader, s *blockwise.Server) {
		start(s, peerAt(1), "PUT /a 1:0/1/16").want(t, "2.31")
		start(s, peerAt(1), "PUT /b 1:0/1/16").want(t, "2.31")
		start(s, peerAt(1), "PUT /c 1:0/1/16").want(t, "5.03") // its share
		start(s, peerAt(2), "PUT /a 1:0/1/16").want(t, "2.31")
		start(s, peerAt(3), "PUT /a 1:0/1/16").want(t, "5.03") // all
		require.Equal(t, 3, s.Stats().Streams)
		require.Equal(t, uint64(2), s.Stats().Busy)
		advance(time.Minute)
		start(s, peerAt(3), "PUT /a 1:0/1/16").want(t, "2.31") // one has been idle for long
		require.Equal(t, uint64(1), s.Stats().Evicted)
		require.Equal(t, 3, s.Stats().Streams)
		close(h.steps)
	}, blockwise.ServerConfig{Streams: 3, StreamsPerPeer: 2})
}

func TestStreamTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var err error
		s := blockwise.NewServer(exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
			_, err = io.ReadAll(r.Body)
			return err
		}), blockwise.ServerConfig{Mode: func(*exchange.Request) (blockwise.Mode, error) {
			return blockwise.Mode{Stream: true, Limit: 40}, nil
		}})
		start(s, peerAt(1), "PUT /a 1:0/1/16").want(t, "2.31")
		start(s, peerAt(1), "PUT /a 1:1/1/16").want(t, "2.31")
		start(s, peerAt(1), "PUT /a 1:2/1/16").want(t, "4.13 1:2/1/16 size1:40")
		synctest.Wait()
		require.ErrorIs(t, err, blockwise.ErrTooLarge)
		require.Zero(t, s.Stats().Bytes)
	})
}

// body is a reader that counts how often it is closed.
type body struct {
	io.Reader
	closed int
}

func (b *body) Close() error { b.closed++; return nil }

type seekBody struct {
	*bytes.Reader
	closed int
}

func (b *seekBody) Close() error { b.closed++; return nil }

// A response body that is a reader is read once, from beginning to end, and closed in the end.
func TestBody(t *testing.T) {
	var bodies []*body
	s := blockwise.NewServer(exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
		b := &body{Reader: bytes.NewReader(bodyOf(150))}
		bodies = append(bodies, b)
		return w.Body(b)
	}), blockwise.ServerConfig{BlockSize: 64})
	for i, x := range []step{
		{"GET /a", "2.05 2:0/1/64 +64"},
		{"GET /a 2:1/0/64", "2.05 2:1/1/64 +64"},
		{"GET /a 2:1/0/64", "2.05 2:1/1/64 +64"},
		{"GET /a 2:4/0/16", "4.08 +"}, // behind it, without the block in between
		{"GET /a 2:0/0/64", "2.05 2:0/1/64 +64"},
		{"GET /a 2:4/0/16", "2.05 2:4/1/16 +16"},
		{"GET /a 2:5/0/16", "2.05 2:5/1/16 +16"},
		{"GET /a 2:4/0/16", "4.08 +"},
		{"GET /a 2:3/0/32", "2.05 2:3/1/32 +32"},
		{"GET /a 2:2/0/64", "2.05 2:2/0/64 +22"},
		{"GET /a 2:2/0/64", "4.08 +"},
		{"GET /b 2:0/0/1024", "2.05 2:0/1/64 +64"},
	} {
		got, m := send(s, peerAt(1), x.make())
		if i == 3 {
			continue // see below
		}
		require.Contains(t, got, x.want, "step %d", i)
		if b, ok := blockwise.ParseBlock(&m.Options, message.OptionBlock2); ok {
			require.Equal(t, bodyOf(150)[b.Offset():b.Offset()+int64(len(m.Payload))], m.Payload, "step %d", i)
			_, tagged := m.Options.ETag()
			require.True(t, tagged)
		}
	}
	require.NoError(t, s.Shutdown(t.Context()))
	for i, b := range bodies {
		require.Equal(t, 1, b.closed, "body %d of %d", i, len(bodies))
	}
	require.Zero(t, s.Stats().Bytes)
}

func TestBodyFails(t *testing.T) {
	broken := errors.New("broken")
	b := &body{Reader: io.MultiReader(bytes.NewReader(bodyOf(100)), &failing{broken})}
	s := blockwise.NewServer(exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error { return w.Body(b) }), blockwise.ServerConfig{BlockSize: 64})
	got, _ := send(s, peerAt(1), step{request: "GET /a"}.make())
	require.Equal(t, "2.05 2:0/1/64 +64", got)
	require.ErrorIs(t, s.ServeCoAP(new(exchange.Response), arrived(step{request: "GET /a 2:1/0/64"}.make(), 1)), broken)
	require.Equal(t, 1, b.closed)
	require.Zero(t, s.Stats().Bytes)
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func arrived(r *exchange.Request, port int) *exchange.Request {
	r.Arrive(exchange.Arrival{Peer: peerAt(port)})
	return r
}

// Content is read at random access, without a copy and without state, but for methods that must not
// be performed again.
func TestContent(t *testing.T) {
	var bodies []*seekBody
	s := blockwise.NewServer(exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
		b := &seekBody{Reader: bytes.NewReader(bodyOf(150))}
		bodies = append(bodies, b)
		return w.Content(b, []byte("tag"))
	}), blockwise.ServerConfig{BlockSize: 64})
	for i, x := range []step{
		{"GET /a 2:2/0/64", "2.05 2:2/0/64 +22"},
		{"GET /a 2:0/0/32", "2.05 2:0/1/32 +32"},
		{"GET /a 2:1/0/64", "2.05 2:1/1/64 +64"},
		{"GET /a 2:3/0/64", "4.00"},
		{"POST /a pay=x", "2.05 2:0/1/64 +64"},
		{"POST /a 2:2/0/32", "2.05 2:2/1/32 +32"},
		{"POST /a 2:0/0/32", "2.05 2:0/1/32 +32"},
		{"POST /a 2:2/0/64", "2.05 2:2/0/64 +22"},
		{"POST /a 2:2/0/64", "4.08"},
	} {
		got, m := send(s, peerAt(1), x.make())
		require.Contains(t, got, x.want, "step %d", i)
		if b, ok := blockwise.ParseBlock(&m.Options, message.OptionBlock2); ok {
			require.Equal(t, bodyOf(150)[b.Offset():b.Offset()+int64(len(m.Payload))], m.Payload, "step %d", i)
		}
	}
	require.Len(t, bodies, 6, "Block2 with number 0 is a new request")
	for i, b := range bodies {
		require.Equal(t, 1, b.closed, "body %d", i)
	}
	require.Zero(t, s.Stats().Bytes)
}

func TestReadBody(t *testing.T) {
	r := request(message.PUT, "/a", []byte("abc"))
	b, err := r.ReadBody(3)
	require.NoError(t, err)
	require.Equal(t, "abc", string(b))
	_, err = r.ReadBody(2)
	require.Equal(t, &exchange.Error{Code: message.RequestEntityTooLarge}, err)
	r.Body = bytes.NewReader([]byte("abcd"))
	_, err = r.ReadBody(3)
	require.Equal(t, &exchange.Error{Code: message.RequestEntityTooLarge}, err)
	broken := errors.New("broken")
	r.Body = &failing{broken}
	_, err = r.ReadBody(3)
	require.ErrorIs(t, err, broken)
}

// A streamed handler has the request as it came, and for as long as it runs.
func TestStreamRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := make(chan *exchange.Request)
		s := blockwise.NewServer(exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
			begun <- r
			_, err := io.ReadAll(r.Body)
			return err
		}), blockwise.ServerConfig{Mode: streamed})
		ctx, cancel := context.WithCancel(t.Context())
		r := step{request: "PUT /a?b if-none-match size1=x 1:0/1/16"}.make()
		token := message.Token("token")
		r.Arrive(exchange.Arrival{Context: ctx, Peer: peerAt(1), Token: token, Size: 77})
		go s.ServeCoAP(new(exchange.Response), r)
		got := <-begun
		synctest.Wait()
		clear(token)
		r.Options.Reset()
		r.Options.AddString(message.OptionURIPath, "overwritten")
		require.Equal(t, "/a?b", got.Options.Target())
		require.True(t, got.Options.IfNoneMatch())
		require.False(t, got.Options.Has(message.OptionBlock1))
		size, _ := got.Options.Size1()
		require.Equal(t, uint32(1000), size)
		require.Equal(t, "token", string(got.Token()))
		require.Equal(t, peerAt(1), got.Peer())
		require.Equal(t, 77, got.WireSize())
		require.NoError(t, got.Context().Err())
		cancel()
		synctest.Wait()
		require.Error(t, got.Context().Err())
		require.NoError(t, s.Shutdown(t.Context()))
	})
}

// A handler that does not notice that its transfer was given up counts until it returns.
func TestStreamHandlersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running atomic.Int32
		release := make(chan struct{})
		s := blockwise.NewServer(exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
			running.Add(1)
			<-release
			return nil
		}), blockwise.ServerConfig{Mode: streamed, Streams: 2, StreamsPerPeer: 2})
		for range 4 {
			start(s, peerAt(1), "PUT /a 1:0/1/16").want(t, "2.31")
		}
		start(s, peerAt(1), "PUT /a 1:0/1/16").want(t, "5.03")
		require.EqualValues(t, 4, running.Load())
		close(release)
		synctest.Wait()
		start(s, peerAt(1), "PUT /a 1:0/1/16").want(t, "2.31")
		require.NoError(t, s.Shutdown(t.Context()))
	})
}

// What a handler has to say that nobody waits for goes to the logger, and its body is closed.
func TestStreamAnswersNobody(t *testing.T) {
	for name, after := range map[string]bool{"given up, then returned": false, "returned, then given up": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				b := &body{Reader: bytes.NewReader(nil)}
				release := make(chan struct{})
				s := blockwise.NewServer(exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
					<-release
					w.Body(b)
					if after {
						return nil
					}
					return errors.New("disk full")
				}), blockwise.ServerConfig{Mode: streamed, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				start(s, peerAt(1), "PUT /a 1:0/1/16").want(t, "2.31")
				if after {
					close(release)
					synctest.Wait()
				}
				advance(300 * time.Second)
				synctest.Wait()
				if !after {
					close(release)
					synctest.Wait()
					require.Contains(t, log.String(), "disk full")
				}
				require.Equal(t, 1, b.closed)
				require.NoError(t, s.Shutdown(t.Context()))
			})
		})
	}
}
