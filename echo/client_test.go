package echo

import (
	"context"
	"io"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

var (
	one = netip.MustParseAddrPort("192.0.2.1:5683")
	two = netip.MustParseAddrPort("192.0.2.2:5683")
)

// far is what the client sends by: it notes the Echo options and answers with what is next.
type far struct {
	testing.TB
	sent    []string
	answers []answer
	open    []*exchange.Request
	closed  int
}

type answer struct {
	code  message.Code
	value string // of the Echo option, "" for none
	from  netip.AddrPort
	by    any // the session
	err   error
}

func (f *far) note(req *exchange.Request) {
	v, _ := req.Options.First(message.OptionEcho)
	f.sent = append(f.sent, string(v))
}

func (f *far) answer(to netip.AddrPort, resp *exchange.Response) error {
	a := f.answers[0]
	f.answers = f.answers[1:]
	if a.err != nil {
		return a.err
	}
	m := message.Message{Code: a.code}
	if a.value != "" {
		m.Options.Set(message.OptionEcho, []byte(a.value))
	}
	if a.from.IsValid() {
		to = a.from
	}
	return resp.Receive(&m, exchange.Peer{Addr: to, Session: a.by})
}

func (f *far) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	f.note(req)
	to, ok := destination(req)
	require.True(f, ok)
	return f.answer(to, resp)
}

func (f *far) Open(ctx context.Context, req *exchange.Request) (exchange.Responses, error) {
	f.note(req)
	f.open = append(f.open, req)
	return &farResponses{f, req}, nil
}

type farResponses struct {
	f   *far
	req *exchange.Request
}

func (r *farResponses) Next(ctx context.Context, resp *exchange.Response) error {
	to, _ := destination(r.req)
	return r.f.answer(to, resp)
}

func (r *farResponses) Renew(ctx context.Context, req *exchange.Request) error {
	r.f.note(req)
	return nil
}

func (r *farResponses) Close() error {
	r.f.closed++
	return nil
}

func get(to netip.AddrPort, value string) *exchange.Request {
	r := &exchange.Request{Code: message.GET, To: to}
	if value != "" {
		r.Options.Set(message.OptionEcho, []byte(value))
	}
	return r
}

// A challenge is answered with the very value, and not for ever.
//
// Proves 9175-2.3-04, 9175-2.2.1-01.
func TestRoundTrip(t *testing.T) {
	challenge := func(v string) answer { return answer{code: message.Unauthorized, value: v} }
	done := answer{code: message.Content}
	for name, test := range map[string]struct {
		value   string // of the request
		answers []answer
		sent    []string
		code    message.Code
		err     error
	}{
		"no challenge":          {"", []answer{done}, []string{""}, message.Content, nil},
		"challenged":            {"", []answer{challenge("a\x00"), done}, []string{"", "a\x00"}, message.Content, nil},
		"challenged again":      {"", []answer{challenge("a"), challenge("b"), done}, []string{"", "a", "b"}, message.Content, nil},
		"challenged for ever":   {"", []answer{challenge("a"), challenge("b"), challenge("c"), challenge("d")}, []string{"", "a", "b", "c"}, message.Unauthorized, nil},
		"4.01 without":          {"", []answer{challenge("")}, []string{""}, message.Unauthorized, nil},
		"longer than it may be": {"", []answer{challenge(string(make([]byte, 41)))}, []string{""}, message.Unauthorized, nil},
		"of the caller":         {"own", []answer{challenge("a")}, []string{"own"}, message.Unauthorized, nil},
		"no answer":             {"", []answer{challenge("a"), {err: exchange.ErrNotAcknowledged}}, []string{"", "a"}, 0, exchange.ErrNotAcknowledged},
	} {
		t.Run(name, func(t *testing.T) {
			f := &far{TB: t, answers: test.answers}
			req := get(one, test.value)
			var resp exchange.Response
			require.Equal(t, test.err, NewClient(f).RoundTrip(t.Context(), req, &resp))
			require.Equal(t, test.sent, f.sent)
			if test.err == nil {
				require.Equal(t, test.code, resp.Code)
			}
			require.Equal(t, test.value != "", req.Options.Has(message.OptionEcho), "the request of the caller is as it was")
		})
	}
}

// A value that came with another response goes with the next request to that peer, once.
//
// Proves 9175-2.3-06, 9175-2.3-08, 9175-2.3-16.
func TestNextRequest(t *testing.T) {
	f := &far{TB: t}
	c := NewClient(f)
	ask := func(to netip.AddrPort, value string) {
		f.answers = append(f.answers, answer{code: message.Content, value: value})
		require.NoError(t, c.RoundTrip(t.Context(), get(to, ""), new(exchange.Response)))
	}
	ask(one, "a")
	ask(two, "")
	ask(one, "")
	ask(one, "")
	require.Equal(t, []string{"", "", "a", ""}, f.sent)
	for i := range maxValues + 10 {
		ask(netip.AddrPortFrom(one.Addr(), uint16(1000+i)), "b")
	}
	require.Len(t, c.values, maxValues)
}

// A value that came over a secure session goes to nobody else, since nothing tells beforehand by which session the next request
// will go.
//
// Proves 9175-2.3-08.
func TestNextRequestOfSession(t *testing.T) {
	f := &far{TB: t, answers: []answer{
		{code: message.Unauthorized, value: "a", by: "s"}, {code: message.Content, value: "b", by: "s"}, {code: message.Content, by: "t"},
		{code: message.Content, value: "c"}, {code: message.Content, by: "t"},
	}}
	c := NewClient(f)
	var resp exchange.Response
	for range 3 {
		require.NoError(t, c.RoundTrip(t.Context(), get(one, ""), &resp))
	}
	over := get(one, "")
	over.Session = "t"
	require.NoError(t, c.RoundTrip(t.Context(), over, &resp))
	require.Equal(t, []string{"", "a", "", "", ""}, f.sent, "a challenge is met, nothing else")
	require.Len(t, c.values, 1, "what is for plain requests waits")
}

// An exchange that is challenged is opened again.
func TestOpen(t *testing.T) {
	f := &far{TB: t, answers: []answer{
		{code: message.Unauthorized, value: "a"}, {code: message.Content},
		{code: message.Unauthorized, value: "b"}, {code: message.Unauthorized, value: "c"}, {code: message.Unauthorized, value: "d"}, {code: message.Unauthorized, value: "e"},
		{err: io.EOF},
	}}
	c := NewClient(f)
	rs, err := c.Open(t.Context(), get(one, ""))
	require.NoError(t, err)
	var resp exchange.Response
	require.NoError(t, rs.Next(t.Context(), &resp))
	require.Equal(t, message.Content, resp.Code)
	require.Equal(t, 1, f.closed, "the exchange that has ended")
	require.NoError(t, rs.Renew(t.Context(), get(one, "")))
	require.NoError(t, rs.Next(t.Context(), &resp))
	require.Equal(t, message.Unauthorized, resp.Code, "not for ever")
	require.Equal(t, io.EOF, rs.Next(t.Context(), &resp))
	require.NoError(t, rs.Close())
	require.Equal(t, []string{"", "a", "", "b", "c", "d"}, f.sent)

	f = &far{TB: t, answers: []answer{{code: message.Content, value: "n"}, {code: message.Content}}}
	c = NewClient(f)
	rs, err = c.Open(t.Context(), get(one, ""))
	require.NoError(t, err)
	require.NoError(t, rs.Next(t.Context(), &resp))
	require.NoError(t, c.RoundTrip(t.Context(), get(one, ""), &resp))
	require.Equal(t, []string{"", "n"}, f.sent, "what comes with a notification is for the next request")

	f = &far{TB: t, answers: []answer{{code: message.Unauthorized, value: "a"}}}
	rs, err = NewClient(f).Open(t.Context(), get(one, "own"))
	require.NoError(t, err)
	require.NoError(t, rs.Next(t.Context(), &resp))
	require.Equal(t, message.Unauthorized, resp.Code)
}

// Only the member of a group that has sent a challenge gets its value.
//
// Proves 9175-2.3-08.
func TestOpenGroup(t *testing.T) {
	group := netip.MustParseAddrPort("224.0.1.187:5683")
	f := &far{TB: t, answers: []answer{{code: message.Unauthorized, value: "a", from: two}, {code: message.Content}}}
	req := get(group, "")
	req.Options.SetUint(message.OptionObserve, 0)
	req.NonConfirmable = true
	rs, err := NewClient(f).Open(t.Context(), req)
	require.NoError(t, err)
	var resp exchange.Response
	require.NoError(t, rs.Next(t.Context(), &resp))
	require.Equal(t, message.Content, resp.Code)
	require.Equal(t, two, resp.Peer().Addr)
	require.Equal(t, []string{"", "a"}, f.sent)
	require.Len(t, f.open, 1)

	f.answers = []answer{{code: message.Unauthorized, value: "a", from: two}, {err: exchange.ErrNotAcknowledged}}
	require.NoError(t, rs.Next(t.Context(), &resp), "one that has gone does not end it for the others")
	require.Equal(t, message.Unauthorized, resp.Code)
}
