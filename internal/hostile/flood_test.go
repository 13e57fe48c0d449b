package hostile

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/echo"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/internal/reference"
	"github.com/coapkit/coap/message"
)

// sources returns the number of forged addresses.
func sources(t *testing.T) int {
	n := scaled(100_000)
	if s := os.Getenv("COAP_HOSTILE_SOURCES"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	return n
}

// junk is what source n sends: a good request every other time.
func junk(t testing.TB, r *rand.Rand, packets []reference.Packet, n int) []byte {
	mid := uint16(n)
	switch n % 8 {
	case 0, 1, 2:
		return encode(t, get(message.Confirmable, mid, "token", "hello"))
	case 3:
		return encode(t, get(message.NonConfirmable, mid, "token", "nothing"))
	case 4:
		return packets[r.IntN(len(packets))].Bytes()
	case 5:
		return reference.Mutate(r, reference.Encode(reference.Random(r)))
	case 6:
		return encode(t, message.Message{Type: message.Reset, MessageID: mid})
	}
	return encode(t, message.Message{Type: message.Confirmable, Code: message.Content, MessageID: mid, Token: message.Token("guessed!")})
}

// Datagrams from more addresses than the server has room for: memory stays within the limits, those
// who have been silent for longest are forgotten first, and the good client does not notice.
func TestManySources(t *testing.T) {
	for name, by := range map[string]func(*site) sender{"bound sockets": (*site).bound, "forged headers": (*site).forged} {
		t.Run(name, func(t *testing.T) {
			n := sources(t)
			if name == "bound sockets" {
				n = max(n/10, 2500)
			}
			limits := coap.Limits{Peers: n / 10, RememberedBytes: n / 10 * 400, RememberedBytesPerPeer: n / 40 * 400}
			s := serve(t, "127.0.0.1:0", &coap.Config{Params: patient.Params, Limits: limits})
			send := by(s)
			r, packets := rand.New(rand.NewPCG(1, 2)), reference.Packets()
			before := heap()
			s.flood(n, func(i int) { send(source(i), junk(t, r, packets, i)) })
			st := s.rest()
			require.EqualValues(t, 0, st.Dropped[exchange.DropPeers], "there is always somebody to forget")
			require.Greater(t, int(st.EvictedPeers), n/2-n/10-smallBurst)
			grown := heap() - before
			require.Less(t, grown, 2*s.limits.RememberedBytes+n/10*256, "heap")
			figure(t, "%d addresses: %d peers at most, %d evicted, %d answered, %d dropped or rejected; heap grew by %d KiB, %d bytes for each peer kept",
				n, limits.Peers, st.EvictedPeers, st.Requests, dropped(st), grown>>10, grown/st.Peers)

			// Who was last is remembered, who was first is not.
			last := n - 1
			for last%8 > 2 {
				last--
			}
			for i, remembered := range map[int]uint64{last: 1, 0: 0} {
				before := s.rest()
				send(source(i), junk(t, r, packets, i))
				s.ask()
				require.Equal(t, remembered, s.rest().Duplicates-before.Duplicates, "address %d of %d", i, n)
			}
		})
	}
}

// flood sends n datagrams, and has the good client answered after each burst.
func (s *site) flood(n int, send func(i int)) {
	s.Helper()
	for i := range n {
		send(i)
		if i%smallBurst == smallBurst-1 || i == n-1 {
			s.ask()
			s.within()
			s.rest()
		}
	}
}

func dropped(st coap.Stats) (sum uint64) {
	for _, n := range st.Drops() {
		sum += n
	}
	return sum
}

// Forged requests that are not idempotent have to be remembered, so they can use up the memory for
// that. Others are served nevertheless, and no memory is used up if everybody has to prove his address first.
func TestManyPosts(t *testing.T) {
	post := func(mid uint16) message.Message {
		m := message.Message{Code: message.POST, MessageID: mid, Token: message.Token("token")}
		m.Options.AddString(message.OptionURIPath, "count")
		return m
	}
	n := scaled(20_000)
	limits := coap.Limits{RememberedBytes: n / 4 * 256, RememberedBytesPerPeer: n / 16 * 256}
	for _, mode := range []echo.Mode{echo.Large, echo.Always} {
		t.Run(mode.String(), func(t *testing.T) {
			s := serve(t, "127.0.0.1:0", &coap.Config{Params: patient.Params, Limits: limits, ServeEcho: echo.ServerConfig{Mode: mode}})
			send := s.bound()
			s.flood(n, func(i int) { send(source(i), encode(t, post(uint16(i)))) })
			st := s.rest()
			resp, err := s.good.Post(s.context(), s.uri("/count"), message.TextPlain, []byte("x"))
			require.NoError(t, err)
			if mode == echo.Always {
				require.Equal(t, message.Content, resp.Code)
				require.EqualValues(t, 1, s.counted.Load(), "nobody else has come through")
				require.Zero(t, st.Dropped[exchange.DropMemory])
				return
			}
			require.Equal(t, message.ServiceUnavailable, resp.Code)
			require.Equal(t, n, int(s.counted.Load())+int(st.Dropped[exchange.DropMemory]), "run, or refused and counted")
			each := st.RememberedBytes / st.Remembered
			figure(t, "%d forged POSTs: %d run, %d refused with 5.03; %d bytes each, so %d in 247 s use up the default of %d MiB",
				n, s.counted.Load(), st.Dropped[exchange.DropMemory], each,
				coap.Limits{}.WithDefaults().RememberedBytes/each, coap.Limits{}.WithDefaults().RememberedBytes>>20)
		})
	}
}

// One peer uses all its message IDs, one of them for many messages, and sends much of it again.
//
// Proves 7252-4.5-01.
func TestMessageIDs(t *testing.T) {
	s := serve(t, "127.0.0.1:0", &coap.Config{Params: patient.Params, Limits: coap.Limits{RememberedBytesPerPeer: scaled(4 << 20)}})
	p := s.peer("127.0.0.9:0")
	query := func(mid uint16, n int) message.Message {
		m := get(message.Confirmable, mid, "tok", "echo")
		m.Options.AddString(message.OptionURIQuery, fmt.Sprintf("n=%d", n))
		return m
	}
	flood := func(n int, m func(i int) message.Message) {
		s.flood(n, func(i int) {
			p.send(m(i))
			if i%(16*smallBurst) == 0 || i == n-1 {
				p.fence() // which takes the answers, too
			}
		})
	}
	flood(scaled(2000), func(i int) message.Message { return query(7, 1+i) })
	require.Zero(t, s.Stats().Duplicates, "the same message ID, but other messages")

	before := s.rest()
	flood(scaled(1<<16), func(i int) message.Message { return query(uint16(i), 0) })
	st := s.rest()
	require.Equal(t, scaled(1<<16), int(st.Requests-before.Requests)-goodOnes(scaled(1<<16)))
	require.NotZero(t, st.EvictedReplies, "its share is used up")
	require.LessOrEqual(t, st.RememberedBytes, 2*scaled(4<<20), "its share, and that of the good client")
	figure(t, "%d message IDs of one peer: %d bytes remembered, %d replies evicted", scaled(1<<16), st.RememberedBytes, st.EvictedReplies)

	// A copy of the last one is answered without another run.
	before = s.rest()
	p.fence()
	last := query(uint16(scaled(1<<16)-1), 0)
	p.send(last)
	answer := message.Message{Type: message.Acknowledgement, Code: message.Content, MessageID: last.MessageID, Token: last.Token, Payload: []byte("0")}
	answer.Options.SetContentFormat(message.TextPlain)
	require.Equal(t, [][]byte{encode(t, answer)}, p.fence())
	st = s.rest()
	require.EqualValues(t, 1, st.Duplicates-before.Duplicates)
	require.Equal(t, before.Requests, st.Requests)
}

// goodOnes is how often flood asks for the good client.
func goodOnes(n int) int { return (n + smallBurst - 1) / smallBurst }
