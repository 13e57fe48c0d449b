package observe

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

var (
	coapGroup = netip.MustParseAddr("224.0.1.187")
	memberA   = netip.MustParseAddrPort("192.0.2.1:5683")
	memberB   = netip.MustParseAddrPort("192.0.2.2:5683")
)

// party is the observation of a group at which the test plays the members.
type party struct {
	*script
	st   *stream
	got  chan GroupNotification
	err  chan error
	stop context.CancelCauseFunc
}

func newParty(t *testing.T, cfg ClientConfig) *party {
	p := &party{script: &script{TB: t}, got: make(chan GroupNotification, 100), err: make(chan error, 2)}
	ctx, stop := context.WithCancelCause(t.Context())
	p.stop = stop
	req := &exchange.Request{Code: message.GET, To: netip.AddrPortFrom(coapGroup, 5683)}
	go func() {
		defer close(p.err)
		for n, err := range NewClient(p.script, cfg).ObserveGroup(ctx, req) {
			if err != nil {
				p.err <- err
				continue
			}
			p.got <- n
			if n.Response != nil && string(n.Response.Payload) == "leave" {
				break
			}
		}
	}()
	p.st = p.opens(1, "asked")
	return p
}

// says delivers what a member answers, with Max-Age 60; a negative seq leaves out the Observe option.
func (p *party) says(from netip.AddrPort, seq int, payload string, edit ...func(*message.Message)) {
	m := message.Message{Code: message.Content, Payload: []byte(payload)}
	if seq >= 0 {
		m.Options.SetUint(message.OptionObserve, uint64(seq))
	}
	for _, f := range edit {
		f(&m)
	}
	var r exchange.Response
	require.NoError(p, r.Receive(&m, exchange.Peer{Addr: from}))
	p.st.in <- answer{resp: r}
	synctest.Wait()
}

// want expects what comes next.
func (p *party) want(from netip.AddrPort, s State, payload string) (n GroupNotification) {
	p.Helper()
	select {
	case n = <-p.got:
	default:
		p.Fatalf("nothing of %v", from)
	}
	require.Equal(p, from, n.Peer.Addr)
	require.Equal(p, s, n.State)
	if payload == "" {
		require.Nil(p, n.Response)
	} else {
		require.Equal(p, payload, string(n.Response.Payload))
	}
	return n
}

// idle expects that nothing comes.
func (p *party) idle(why string) {
	p.Helper()
	synctest.Wait()
	require.Empty(p, p.got, why)
}

// Each member has its own values, order and freshness.
func TestObserveGroup(t *testing.T) {
	bubble(t, "values", func(t *testing.T) {
		p := newParty(t, ClientConfig{})
		first := p.st.asked(1, "a registration")
		require.True(t, first.NonConfirmable)
		require.Zero(t, first.Window)
		v, ok := first.Options.Uint(message.OptionObserve)
		require.True(t, ok && v == register)
		p.says(memberA, 10, "a1")
		require.Equal(t, uint32(10), p.want(memberA, Live, "a1").Seq)
		p.says(memberB, 5, "b1")
		p.want(memberB, Live, "b1")
		p.says(memberA, 9, "a0")
		p.idle("an old one is dropped")
		p.says(memberB, 6, "b2")
		p.want(memberB, Live, "b2")
		p.says(memberA, -1, "plain")
		require.Equal(t, ErrNotObservable, p.want(memberA, Ended, "plain").Cause)
		p.says(memberA, -1, "plain")
		p.want(memberA, Registering, "plain") // a second chance
		p.says(memberA, -1, "plain")
		require.Equal(t, ErrNotObservable, p.want(memberA, Ended, "plain").Cause)
		p.says(memberB, -1, "gone", func(m *message.Message) { m.Code = message.NotFound })
		require.ErrorContains(t, p.want(memberB, Ended, "gone").Cause, "4.04")
		p.stop(errors.New("enough"))
		synctest.Wait()
		require.ErrorContains(t, <-p.err, "enough")
		p.st.asked(1, "nobody has to be told")
		require.True(t, p.st.closed)
	})
	bubble(t, "leaving", func(t *testing.T) {
		p := newParty(t, ClientConfig{})
		p.says(memberA, 1, "leave")
		p.want(memberA, Live, "leave")
		last := p.st.asked(2, "the members are told")
		v, ok := last.Options.Uint(message.OptionObserve)
		require.True(t, ok && v == deregister)
		v, ok = last.Options.Uint(message.OptionNoResponse)
		require.True(t, ok && v == 26, "and need not say anything")
		require.True(t, p.st.closed)
	})
	bubble(t, "freshness", func(t *testing.T) {
		p := newParty(t, ClientConfig{})
		p.says(memberA, 10, "a1")
		p.says(memberB, 10, "b1")
		p.want(memberA, Live, "a1")
		p.want(memberB, Live, "b1")
		pass(50 * time.Second)
		p.says(memberB, 11, "b2")
		p.want(memberB, Live, "b2")
		pass(10*time.Second - 1)
		p.idle("all is fresh")
		pass(1)
		p.want(memberA, Stale, "")
		p.st.asked(1, "it may be on its way")
		for waited := 0; p.st.count() == 1; waited++ {
			require.Less(t, waited, 15, "asked again")
			pass(time.Second)
		}
		p.says(memberB, 12, "b2")
		p.want(memberB, Live, "b2")
		p.says(memberA, 3, "a2")
		p.want(memberA, Live, "a2") // it was restarted: 3 is not after 10
		pass(55 * time.Second)
		p.st.asked(2, "no need to")
		p.stop(nil)
	})
	bubble(t, "silence", func(t *testing.T) {
		p := newParty(t, ClientConfig{})
		pass(15 * time.Second)
		require.Greater(t, p.st.count(), 1, "there is no member")
		p.says(memberA, 1, "a1")
		p.want(memberA, Live, "a1")
		asked := p.st.count()
		pass(time.Minute)
		p.want(memberA, Stale, "")
		for p.st.count() < asked+maxSilent {
			pass(time.Second)
			p.idle("there is hope")
		}
		pass(5 * time.Minute)
		require.Equal(t, exchange.ErrTimeout, p.want(memberA, Ended, "").Cause)
		asked = p.st.count()
		pass(time.Hour)
		// At most every 2.5 minutes, at least every 5.
		require.GreaterOrEqual(t, p.st.count(), asked+12, "members may come, so it goes on")
		require.LessOrEqual(t, p.st.count(), asked+24, "rarely")
		p.stop(nil)
	})
	bubble(t, "blocks", func(t *testing.T) {
		fail := errors.New("no rest")
		var completed []string
		p := newParty(t, ClientConfig{Complete: func(ctx context.Context, req *exchange.Request, first *exchange.Response) error {
			completed = append(completed, string(first.Payload))
			if string(first.Payload) == "late" {
				first.Code = message.ServiceUnavailable
			}
			if string(first.Payload) == "bad" {
				return fail
			}
			return nil
		}})
		p.says(memberA, 1, "a1")
		p.want(memberA, Live, "a1")
		p.says(memberA, 2, "bad")
		require.Equal(t, fail, p.want(memberA, Stale, "").Cause)
		p.says(memberA, 3, "a3")
		p.want(memberA, Live, "a3")
		p.says(memberA, 4, "late")
		require.ErrorContains(t, p.want(memberA, Stale, "").Cause, "5.03")
		require.Equal(t, []string{"a1", "bad", "a3", "late"}, completed)
		p.stop(nil)
	})
	bubble(t, "errors", func(t *testing.T) {
		s := &script{TB: t, err: exchange.ErrBusy}
		c := NewClient(s, ClientConfig{})
		for _, err := range c.ObserveGroup(t.Context(), &exchange.Request{Code: message.GET}) {
			require.Equal(t, exchange.ErrBusy, err)
		}
		for _, err := range c.ObserveGroup(t.Context(), &exchange.Request{Code: message.PUT}) {
			require.ErrorContains(t, err, "only GET and FETCH")
		}
		require.Len(t, s.opened, 1)
		p := newParty(t, ClientConfig{})
		p.st.fail(exchange.ErrClosed)
		require.Equal(t, exchange.ErrClosed, <-p.err)
	})
}

// toTheGroup makes a request one to a group.
func (l *lab) toTheGroup(r *exchange.Request) {
	p := r.Peer()
	p.Local = netip.AddrPort{}
	r.Arrive(exchange.Arrival{Pusher: l, Peer: p, Token: r.Token(), Group: coapGroup})
}

// What registers by a group is told of changes within a leisure, one observer after the other.
func TestServeGroup(t *testing.T) {
	bubble(t, "leisure", func(t *testing.T) {
		l := newLab(t, ServerConfig{Leisure: 4 * time.Second})
		for peer := range uint16(3) {
			l.register(peer+1, "t", l.toTheGroup)
		}
		l.register(4, "t")
		// The first response of each has its leisure.
		pass(3 * 4 * time.Second)
		began := time.Now()
		l.set("2")
		l.Notify("/a")
		l.want("at once", 4, "2").done(nil)
		l.idle("the others wait")
		pass(3 * 4 * time.Second)
		l.mu.Lock()
		defer l.mu.Unlock()
		require.Len(t, l.sent, 3)
		for i, n := range l.sent {
			after := n.at.Sub(began)
			require.GreaterOrEqual(t, after, time.Duration(i)*4*time.Second, "its leisure has begun")
			require.Less(t, after, time.Duration(i+1)*4*time.Second, "and is not over")
			require.True(t, n.con)
		}
	})
	bubble(t, "one entry", func(t *testing.T) {
		l := newLab(t, ServerConfig{Leisure: -1})
		l.register(1, "t", l.toTheGroup)
		l.register(1, "t", l.toTheGroup)
		l.register(1, "t") // goes on by unicast
		require.Equal(t, 1, l.Observers("/a"))
		l.Notify("/a")
		l.want("at once, without a leisure", 1, "1").done(nil)
		l.ask(1, "t", 1)
		require.Zero(t, l.Observers("/a"))
		l.register(1, "t", l.toTheGroup)
		l.ask(1, "t", 1, l.toTheGroup)
		require.Zero(t, l.Observers("/a"))
		require.Zero(t, l.Stats().Peers)
	})
}
