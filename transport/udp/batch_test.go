package udp_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap/transport"
)

// rooms returns n datagrams to read into.
func rooms(n, size int) []transport.Datagram {
	ds := make([]transport.Datagram, n)
	for i := range ds {
		ds[i].Data = make([]byte, size)
	}
	return ds
}

// More datagrams than one system call moves go out and come in, in order, of different lengths and to
// different addresses.
func TestBatches(t *testing.T) {
	for _, test := range []struct{ from, to string }{{"127.0.0.1:0", "127.0.0.1:0"}, {":0", "127.0.0.1:0"}, {":0", "[::1]:0"}, {"[::1]:0", ":0"}} {
		t.Run(test.from+" "+test.to, func(t *testing.T) {
			a := listen(t, test.from, nil)
			peers := []transport.Conn{listen(t, test.to, nil), listen(t, test.to, nil)}
			const n = 150
			var ds []transport.Datagram
			for i := range n {
				to := peers[i%2].LocalAddr()
				if to.Addr().IsUnspecified() {
					to = netip.AddrPortFrom(netip.MustParseAddr("::1"), to.Port())
				}
				ds = append(ds, transport.Datagram{Data: []byte(fmt.Sprintf("%0*d", i, i)), Remote: to})
			}
			sent, err := a.WriteBatch(ds)
			require.NoError(t, err)
			require.Equal(t, n, sent)
			for k, p := range peers {
				for i := k; i < n; {
					got := rooms(40, 100)
					m, err := p.ReadBatch(got)
					require.NoError(t, err)
					require.Positive(t, m)
					for _, d := range got[:m] {
						want := ds[i].Data
						require.Equal(t, string(want[:min(len(want), 100)]), string(d.Data))
						require.Equal(t, len(want) > 100, d.Truncated)
						require.Equal(t, a.LocalAddr().Port(), d.Remote.Port())
						i += 2
					}
					for _, d := range got[m:] {
						require.Len(t, d.Data, 100, "room that was not needed")
					}
				}
			}
		})
	}
}

// Of each datagram in a batch it is known who has sent it.
func TestSendersOfABatch(t *testing.T) {
	b := listen(t, "127.0.0.1:0", nil)
	const n = 20
	for range n {
		for _, ip := range []string{"127.0.0.1:0", "127.0.0.2:0"} {
			a := listen(t, ip, nil)
			send(t, a, transport.Datagram{Data: []byte(a.LocalAddr().String()), Remote: b.LocalAddr()})
		}
	}
	for got := 0; got < 2*n; {
		ds := rooms(16, 100)
		m, err := b.ReadBatch(ds)
		require.NoError(t, err)
		for _, d := range ds[:m] {
			require.Equal(t, string(d.Data), d.Remote.String())
		}
		got += m
	}
}

// A datagram that cannot be sent is the one that the error is about; those before it have gone, those
// after it may go.
func TestBatchWithError(t *testing.T) {
	a, b := listen(t, "127.0.0.1:0", nil), listen(t, "127.0.0.1:0", nil)
	good := func(s string) transport.Datagram {
		return transport.Datagram{Data: []byte(s), Remote: b.LocalAddr()}
	}
	for name, test := range map[string]struct {
		bad  transport.Datagram
		want error
	}{
		"no address":   {transport.Datagram{Data: []byte("x")}, syscall.EDESTADDRREQ},
		"other family": {transport.Datagram{Data: []byte("x"), Remote: netip.MustParseAddrPort("[::1]:5683")}, syscall.EAFNOSUPPORT},
		"too large":    {transport.Datagram{Data: make([]byte, 70000), Remote: b.LocalAddr()}, transport.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			ds := []transport.Datagram{good("1"), good("2"), test.bad, good("3"), good("4")}
			n, err := a.WriteBatch(ds)
			require.ErrorIs(t, err, test.want)
			require.Equal(t, 2, n)
			n, err = a.WriteBatch(ds[3:])
			require.NoError(t, err)
			require.Equal(t, 2, n)
			for _, want := range []string{"1", "2", "3", "4"} {
				require.Equal(t, want, string(receive(t, b).Data))
			}
		})
	}
}

// Several goroutines read and write at the same time.
func TestBatchesFromManySides(t *testing.T) {
	a, b := listen(t, "127.0.0.1:0", nil), listen(t, "127.0.0.1:0", nil)
	const senders, each = 4, 200
	var wg, readers sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	enough := make(chan struct{})
	var once sync.Once
	for range 2 {
		readers.Go(func() {
			for {
				ds := rooms(16, 100)
				n, err := b.ReadBatch(ds)
				if err != nil {
					if !errors.Is(err, net.ErrClosed) {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				for _, d := range ds[:n] {
					got[string(d.Data)]++
				}
				if len(got) >= senders*each/10 {
					once.Do(func() { close(enough) })
				}
				mu.Unlock()
			}
		})
	}
	for s := range senders {
		wg.Go(func() {
			for i := 0; i < each; i += 10 {
				var ds []transport.Datagram
				for k := range 10 {
					ds = append(ds, transport.Datagram{Data: []byte(fmt.Sprint(s, i+k)), Remote: b.LocalAddr()})
				}
				if _, err := a.WriteBatch(ds); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	<-enough // the others may have found the buffer full
	require.NoError(t, b.Close())
	readers.Wait()
	for d, n := range got {
		require.Equal(t, 1, n, d)
	}
}
