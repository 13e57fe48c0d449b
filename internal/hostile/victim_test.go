package hostile

import (
	"strconv"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
)

// victim is a client with an exchange under way, which waits for its separate response, and an observation.
type victim struct {
	client
	s      *site
	answer chan string // to the exchange
	values chan string // of the observation
}

func (s *site) victim() *victim {
	s.Helper()
	v := &victim{client: s.client("127.0.0.7:0"), s: s, answer: make(chan string, 1), values: make(chan string, 16)}
	ctx := s.Context()
	go func() {
		for n, err := range v.Observe(ctx, s.uri("/state")) {
			if err != nil {
				v.values <- "end: " + err.Error()
			} else if n.Response != nil {
				v.values <- string(n.Response.Payload)
			}
		}
	}()
	require.Equal(s, "0", s.take(v.values))
	go func() {
		resp, err := v.Get(ctx, s.uri("/gate"))
		if err != nil {
			resp = &coap.Response{Payload: []byte("end: " + err.Error())}
		}
		v.answer <- string(resp.Payload)
	}()
	select {
	case <-s.entered:
	case <-time.After(patience):
		require.FailNow(s, "nobody has come to the gate")
	}
	return v
}

func (s *site) take(c chan string) string {
	s.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		require.FailNow(s, "nothing has come")
		return ""
	}
}

// unharmed expects that the exchange and the observation go on.
func (v *victim) unharmed() {
	v.s.Helper()
	select {
	case a := <-v.answer:
		require.FailNow(v.s, "the exchange has ended", a)
	default:
	}
	require.Empty(v.s, v.values, "the observation has not ended")
	require.Equal(v.s, 1, v.s.Observers("/state"))
	n := v.s.state.Add(1)
	v.s.Notify("/state")
	require.Equal(v.s, strconv.FormatInt(n, 10), v.s.take(v.values))
	v.s.gate <- struct{}{}
	require.Equal(v.s, "through", v.s.take(v.answer))
}

// rest1 is rest with one request at the gate.
func (s *site) rest1() coap.Stats {
	s.Helper()
	return s.until("one is at the gate", func(st coap.Stats) bool { return st.Handling == 1 })
}
