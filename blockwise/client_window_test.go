package blockwise_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// held is a server that keeps requests until the test answers them. It is told by the number of the block.
type held struct {
	testing.TB
	body []byte

	mu      sync.Mutex
	asked   []int // since the chart was compared
	waiting map[string]chan func(*message.Message) error
	most    int
}

// Of the block numbers in the charts, each stands for a block of 16 bytes.
func (x *held) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	b, _ := blockwise.ParseBlock(&req.Options, message.OptionBlock2)
	name := fmt.Sprint(b.Num)
	answer := make(chan func(*message.Message) error, 1)
	x.mu.Lock()
	x.asked = append(x.asked, int(b.Num))
	x.waiting[name] = answer
	x.most = max(x.most, len(x.waiting))
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		delete(x.waiting, name)
		x.mu.Unlock()
	}()
	select {
	case change := <-answer:
		m := &message.Message{Code: message.Content}
		end := min(b.Offset()+16, int64(len(x.body)))
		b.SZX, b.More = 0, end < int64(len(x.body))
		m.Options.SetETag([]byte("a"))
		m.Options.SetUint(message.OptionBlock2, b.Value())
		m.Payload = x.body[min(b.Offset(), end):end]
		m.MessageID = 0 // how often it was sent again
		if err := change(m); err != nil {
			return err
		}
		resp.Reset()
		err := resp.Receive(m, exchange.Peer{})
		resp.Retransmissions = int(m.MessageID)
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// news returns which blocks were asked for since it was called last.
func (x *held) news() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	slices.Sort(x.asked)
	defer func() { x.asked = nil }()
	return strings.Trim(fmt.Sprint(x.asked), "[]")
}

// answer answers a request. It reports whether there was one.
func (x *held) answer(name string, with func(*message.Message) error) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	c, ok := x.waiting[name]
	if ok {
		c <- with
	}
	delete(x.waiting, name)
	return ok
}

// answers are what the charts call them.
var answers = map[string]func(*message.Message) error{
	"ok":   func(m *message.Message) error { return nil },
	"size": func(m *message.Message) error { m.Options.SetSize2(16 * 12); return nil },
	"less": func(m *message.Message) error { m.Options.SetSize2(16 * 3); return nil },
	"late": func(m *message.Message) error { m.MessageID = 1; return nil },
	"4.00": coded(message.BadRequest, -1),
	"4.02": coded(message.BadOption, -1),
	"4.08": coded(message.RequestEntityIncomplete, -1),
	"5.03": coded(message.ServiceUnavailable, 7*time.Second),
	"4.29": coded(message.TooManyRequests, -1), // Max-Age is 60 s by default
	"long": coded(message.ServiceUnavailable, time.Hour),
	"new":  func(m *message.Message) error { return m.Options.SetETag([]byte("b")) },
	"next": func(m *message.Message) error { // not what was asked for
		b, _ := blockwise.ParseBlock(&m.Options, message.OptionBlock2)
		b.Num++
		m.Options.SetUint(message.OptionBlock2, b.Value())
		return nil
	},
	"whole": func(m *message.Message) error {
		m.Options.Remove(message.OptionBlock2)
		return nil
	},
	"timeout": func(m *message.Message) error { return exchange.ErrNotAcknowledged },
	"busy":    func(m *message.Message) error { return &exchange.OpError{Op: "GET", Err: exchange.ErrBusy} },
	"closed":  func(m *message.Message) error { return &exchange.OpError{Op: "GET", Err: exchange.ErrClosed} },
}

func coded(code message.Code, age time.Duration) func(m *message.Message) error {
	return func(m *message.Message) error {
		*m = message.Message{Code: code}
		if age >= 0 {
			m.Options.SetMaxAge(age)
		}
		return nil
	}
}

// play has a client with a window of 4 get a body of 12 blocks from a server that answers as the
// chart says, which has these steps:
//
//	asks 1 2    these blocks have been asked for since
//	2 ok        block 2 is answered
//	wait 7s     time passes
//	given up    by who wants the body
//
// It returns what the client has got.
func play(t *testing.T, chart string) (resp exchange.Response, err error) {
	x := &held{TB: t, body: bodyOf(12*16 - 1), waiting: map[string]chan func(*message.Message) error{}}
	c := blockwise.NewClient(x, blockwise.ClientConfig{BlockSize: 16, Early: true, Window: 4})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = c.RoundTrip(ctx, request(message.GET, "/a", nil), &resp)
	}()
	for l := range strings.SplitSeq(chart, "; ") {
		synctest.Wait()
		what, rest, _ := strings.Cut(l, " ")
		switch what {
		case "wait":
			d, err := time.ParseDuration(rest)
			require.NoError(t, err)
			advance(d)
		case "asks":
			require.Equal(t, rest, x.news(), "in %q", chart)
		case "given":
			cancel()
		default:
			require.True(t, x.answer(what, answers[rest]), "%q in %q: it was not asked for", l, chart)
		}
	}
	synctest.Wait()
	require.Empty(t, x.news(), "asked for in the end")
	require.Empty(t, x.waiting, "still waited for in the end")
	require.LessOrEqual(t, x.most, 4)
	cancel()
	<-done
	if err == nil && resp.Code == message.Content {
		require.Equal(t, x.body, resp.Payload)
	}
	return resp, err
}

// The body comes whole, whatever the order of the answers and whatever goes wrong with blocks that were
// asked for ahead.
//
// Proves 7959-2.4-08, 7959-2.4-s13.
func TestWindowCharts(t *testing.T) {
	const start = "asks 0; 0 ok; asks 1 2; 1 ok; asks 3 4; 2 ok; asks 5 6; "
	const alone = "7 ok; asks 8; 8 ok; asks 9; 9 ok; asks 10; 10 ok; asks 11; 11 ok"
	for name, c := range map[string]struct {
		chart string
		code  message.Code
		err   error
	}{
		"the end is not known": {chart: start +
			"3 ok; asks 7; 4 ok; asks 8; 5 ok; asks 9; 6 ok; asks 10; 7 ok; asks 11; 8 ok; asks 12; 9 ok; asks 13; 10 ok; asks 14; 11 ok"},
		"errors from behind the end": {chart: start +
			"3 ok; asks 7; 4 ok; asks 8; 5 ok; asks 9; 6 ok; asks 10; 7 ok; asks 11; 8 ok; asks 12; 9 ok; asks 13; 12 4.00; 13 4.02; asks; 11 ok; 10 ok"},
		"no answers from behind the end": {chart: start +
			"3 ok; asks 7; 4 ok; asks 8; 5 ok; asks 9; 6 ok; asks 10; 7 ok; asks 11; 8 ok; asks 12; 9 ok; asks 13; 12 timeout; asks; 11 ok; 10 ok"},
		"the server says how long it is": {chart: "asks 0; 0 size; asks 1 2; 2 ok; asks 3 4; 4 ok; asks 5 6; 6 ok; asks 7; 3 ok; asks 8; 5 ok; " +
			"asks; 1 ok; asks 9 10; 7 ok; asks 11; 8 ok; 9 ok; 10 ok; 11 ok"},
		"it is longer than it says": {chart: "asks 0; 0 less; asks 1 2; 2 ok; 1 ok; asks 3; 3 ok; asks 4; 4 ok; asks 5; 5 ok; asks 6; 6 ok; asks 7; " + alone},
		"a block has to be sent again": {chart: start +
			"3 late; asks; 4 late; asks; 5 ok; asks 7; 6 ok; asks 8 9; 7 ok; asks 10; 8 ok; asks 11; 9 ok; asks 12 13; 10 ok; asks 14; 11 ok"},
		"the server wants them in order": {chart: start +
			"4 4.08; 5 4.08; 6 4.08; asks; 3 ok; asks 4; 4 ok; asks 5; 5 ok; asks 6; 6 ok; asks 7; " + alone},
		"it answers something else": {chart: start +
			"4 next; 5 ok; asks; 6 ok; 3 ok; asks 4; 4 ok; asks 5; 5 ok; asks 6; 6 ok; asks 7; " + alone},
		"what fails when it was asked for alone fails": {chart: start + "3 4.08; asks 3; 3 4.02", code: message.BadOption},
		"too much for the server": {chart: start +
			"3 5.03; asks; wait 5s; asks; wait 2s; asks 3; 3 ok; asks 4; 4 ok; asks 5; 5 ok; asks 6; 6 ok; asks 7; " + alone},
		"too many requests":     {chart: start + "4 4.29; 3 ok; wait 59s; asks; wait 1s; asks 4; 4 4.29", code: message.TooManyRequests},
		"too much for an hour":  {chart: start + "3 long", code: message.ServiceUnavailable},
		"given up in a pause":   {chart: start + "3 5.03; wait 1s; given up", err: context.Canceled},
		"given up":              {chart: start + "given up", err: context.Canceled},
		"one is not answered":   {chart: start + "4 ok; asks 7; 3 timeout; asks 3; 3 ok; asks 4; 4 timeout", err: exchange.ErrNotAcknowledged},
		"none is answered":      {chart: start + "3 timeout", err: exchange.ErrNotAcknowledged},
		"a later one is not":    {chart: start + "5 timeout; 4 ok; asks; 6 ok; 3 ok; asks 5; 5 timeout", err: exchange.ErrNotAcknowledged},
		"nor those behind it":   {chart: start + "5 timeout; 4 ok; asks; 3 ok", err: exchange.ErrNotAcknowledged},
		"the endpoint is busy":  {chart: start + "3 busy; asks 3; 3 busy", err: exchange.ErrBusy},
		"the endpoint closes":   {chart: start + "3 closed", err: exchange.ErrClosed},
		"another body":          {chart: start + "4 new; asks 7; 3 ok; asks 0 8; 0 4.00", code: message.BadRequest},
		"another body, a short": {chart: start + "4 whole; asks; 3 ok; asks 4; 4 whole; asks 0; 0 4.00", code: message.BadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				resp, err := play(t, c.chart)
				if c.err != nil {
					require.ErrorIs(t, err, c.err)
					require.ErrorIs(t, err, blockwise.ErrInterrupted)
					return
				}
				require.NoError(t, err)
				require.Equal(t, cmp.Or(c.code, message.Content), resp.Code)
			})
		})
	}
}

// No more blocks are under way than NSTART allows, and no more wait for a slow sink than twice the window.
func TestWindowBounds(t *testing.T) {
	for name, c := range map[string]struct {
		window, nstart int
		most           int
	}{
		"one":         {window: 1, nstart: 9, most: 1},
		"window":      {window: 5, nstart: 9, most: 5},
		"nstart":      {window: 9, nstart: 3, most: 3},
		"nstart of 1": {window: 9, nstart: 1, most: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size = 16
				body := bodyOf(size*400 - 3)
				var mu sync.Mutex
				var under, most, highest int
				s := blockwise.NewServer(&site{answer: gives(message.Content, body)}, blockwise.ServerConfig{})
				x := &wire{handler: s, peer: peerAt(1), ctx: t.Context()}
				next := roundTripFunc(func(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
					b, _ := blockwise.ParseBlock(&req.Options, message.OptionBlock2)
					mu.Lock()
					under++
					most, highest = max(most, under), max(highest, int(b.Num))
					mu.Unlock()
					advance(time.Second)
					mu.Lock()
					under--
					mu.Unlock()
					return x.RoundTrip(ctx, req, resp)
				})
				client := blockwise.NewClient(next, blockwise.ClientConfig{
					BlockSize: size, Early: true, Window: c.window, NStart: func(*exchange.Request) int { return c.nstart },
				})
				got := &slow{check: func(n int) {
					mu.Lock()
					defer mu.Unlock()
					require.LessOrEqual(t, highest*size, n+2*most*size, "blocks that wait")
				}}
				req := request(message.GET, "/a", nil)
				req.Transfer = &exchange.Transfer{Sink: got}
				var resp exchange.Response
				require.NoError(t, client.RoundTrip(t.Context(), req, &resp))
				require.Equal(t, body, got.Bytes())
				require.Equal(t, c.most, most)
				require.Zero(t, under, "what is under way ends with the transfer")
			})
		})
	}
}

// slow is a sink that takes its time.
type slow struct {
	bytes.Buffer
	check func(n int)
}

func (s *slow) Write(b []byte) (int, error) {
	s.check(s.Len())
	if s.Len()%7 == 0 {
		advance(30 * time.Second)
	}
	return s.Buffer.Write(b)
}

// A block costs no allocation: neither on a server that has a copy of the body or reads it at random access,
// nor on a client, that gets its blocks one at a time or in a window.
func TestNoAllocsOfBlocks(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	const blocks = 500
	body := bodyOf(blocks * 64)
	reader := bytes.NewReader(body)
	for name, answer := range map[string]func(*exchange.Response, *exchange.Request) error{
		"copy": func(w *exchange.Response, r *exchange.Request) error {
			w.Payload = body
			return w.SetETag([]byte("1"))
		},
		"random access": func(w *exchange.Response, r *exchange.Request) error { return w.Content(reader, []byte("1")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := blockwise.NewServer(exchange.HandlerFunc(answer), blockwise.ServerConfig{BlockSize: 64})
			r := request(message.GET, "/a-path/that-is/longer-than/thirty-two/bytes", nil)
			r.Arrive(exchange.Arrival{Peer: peerAt(1)})
			w := new(exchange.Response)
			n := uint32(0)
			allocs := testing.AllocsPerRun(blocks-2, func() {
				w.Reset()
				r.Options.SetUint(message.OptionBlock2, blockwise.Block{Num: n, SZX: 2}.Value())
				if err := s.ServeCoAP(w, r); err != nil || !bytes.Equal(w.Payload, body[n*64:][:64]) {
					t.Fatalf("block %d: %v, %q", n, err, w.Payload)
				}
				n++
			})
			require.Zero(t, allocs)
		})
	}
	for _, window := range []int{1, 8} {
		t.Run(fmt.Sprint("window of ", window), func(t *testing.T) {
			options := make([]message.Options, blocks)
			for i := range options {
				options[i].SetETag([]byte("1"))
				options[i].SetUint(message.OptionBlock2, blockwise.Block{Num: uint32(i), More: i < blocks-1, SZX: 2}.Value())
			}
			next := roundTripFunc(func(_ context.Context, req *exchange.Request, resp *exchange.Response) error {
				b, _ := blockwise.ParseBlock(&req.Options, message.OptionBlock2)
				return resp.Receive(&message.Message{Code: message.Content, Options: options[b.Num], Payload: body[b.Offset():][:64]}, exchange.Peer{})
			})
			c := blockwise.NewClient(next, blockwise.ClientConfig{BlockSize: 64, Early: true, Window: window})
			req := request(message.GET, "/a-path/that-is/longer-than/thirty-two/bytes", nil)
			req.Transfer = &exchange.Transfer{Sink: io.Discard}
			allocs := testing.AllocsPerRun(20, func() {
				var resp exchange.Response
				require.NoError(t, c.RoundTrip(t.Context(), req, &resp))
			})
			require.Less(t, allocs, 100.0, "in %d blocks", blocks)
		})
	}
}
