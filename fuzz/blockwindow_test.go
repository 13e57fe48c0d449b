//go:build !gofuzz

package fuzz

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// pending is a server that keeps requests for blocks of 16 bytes until it is told how to answer them.
type pending struct {
	mu      sync.Mutex
	waiting []*pendingBlock // in order of their numbers
	most    int
	asked   int
}

type pendingBlock struct {
	block  blockwise.Block
	answer chan *exchange.Response // nil: there is none
}

func (x *pending) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	b, _ := blockwise.ParseBlock(&req.Options, message.OptionBlock2)
	p := &pendingBlock{b, make(chan *exchange.Response, 1)}
	x.mu.Lock()
	x.waiting = append(x.waiting, p)
	slices.SortStableFunc(x.waiting, func(a, b *pendingBlock) int { return int(a.block.Num) - int(b.block.Num) })
	x.most = max(x.most, len(x.waiting))
	x.asked++
	x.mu.Unlock()
	defer func() {
		x.mu.Lock()
		x.waiting = slices.DeleteFunc(x.waiting, func(q *pendingBlock) bool { return q == p })
		x.mu.Unlock()
	}()
	select {
	case r := <-p.answer:
		if r == nil {
			return exchange.ErrNotAcknowledged
		}
		resp.Reset()
		err := resp.Receive(&message.Message{Code: r.Code, Options: r.Options, Payload: r.Payload}, exchange.Peer{})
		resp.Retransmissions = r.Retransmissions
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next takes the request of those that wait which n stands for.
func (x *pending) next(n byte) *pendingBlock {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.waiting) == 0 {
		return nil
	}
	p := x.waiting[int(n)%len(x.waiting)]
	x.waiting = slices.DeleteFunc(x.waiting, func(q *pendingBlock) bool { return q == p })
	return p
}

// blocks16 is how many blocks the bodies have.
const blocks16 = 40

// reply answers for a block of the body of a version, with a fault: 0 for none.
func (p *pendingBlock) reply(version, fault byte) *exchange.Response {
	const size = blocks16*16 - 5
	w, b := &exchange.Response{Code: message.Content}, p.block
	end := min(b.Offset()+16, size)
	if b.Offset() >= size {
		fault = 2
	}
	b.More = end < size
	switch fault {
	case 1:
		return nil
	case 2, 3, 4, 5:
		w.Code = []message.Code{message.BadRequest, message.RequestEntityIncomplete, message.ServiceUnavailable, message.TooManyRequests}[fault-2]
		if w.SetMaxAge(time.Second); version == 3 {
			w.SetMaxAge(time.Hour)
		}
		return w
	case 6:
		w.Retransmissions = 1
	case 7:
		b.Num += uint32(version) // another one than was asked for
		end = min(b.Offset()+16, size)
	case 8:
		b.SZX = 1
	case 9:
		w.Options.SetSize2(uint32(version) * 100)
	case 10:
		b.More = !b.More
	}
	w.SetETag([]byte{1 + version%2})
	w.Options.SetUint(message.OptionBlock2, b.Value())
	w.Payload = blockBody(uint32(1+version%2), b.Offset(), int(max(end-b.Offset(), 0)))
	return w
}

// FuzzBlockWindow has a client ask for several blocks at a time, of a server that answers in any order and
// with any faults, and rightly in the end. A success has one version of the body without a gap,
// whole unless the server has said that it ends before; no more than the window is under way; the transfer
// ends, and nothing of it is left.
func FuzzBlockWindow(f *testing.F) {
	f.Add(byte(4), []byte{})
	f.Add(byte(4), []byte("\x00\x00\x01\x00\x03\x00\x02\x00\x00\x00"))         // out of order
	f.Add(byte(8), []byte("\x00\x09\x00\x00\x00\x00\x01\x06\x02\x06\x01\x01")) // sizes, losses
	f.Add(byte(8), []byte("\x00\x00\x00\x00\x01\x03\x02\x07\x03\x08\x00\x04")) // errors, others than were asked for
	f.Add(byte(3), []byte("\x00\x00\x00\x00\x01\x10\x00\x00\x00\x0a"))         // changes
	f.Fuzz(func(t *testing.T, window byte, script []byte) {
		if len(script) > 1000 {
			return
		}
		window %= 20
		synctest.Test(t, func(t *testing.T) {
			x := &pending{}
			c := blockwise.NewClient(x, blockwise.ClientConfig{BlockSize: 16, Early: true, Window: int(window)})
			req := &exchange.Request{Code: message.GET}
			var resp exchange.Response
			var err error
			var done bool
			go func() {
				err = c.RoundTrip(context.Background(), req, &resp)
				x.mu.Lock()
				done = true
				x.mu.Unlock()
			}()
			short := false
			version := byte(0)
			for steps := 0; ; steps++ {
				synctest.Wait()
				x.mu.Lock()
				over := done
				x.mu.Unlock()
				if over {
					break
				}
				if steps > 20*blocks16+len(script) {
					t.Fatal("it does not end")
				}
				which, fault := byte(0), byte(0)
				if len(script) >= 2 {
					which, fault = script[0], script[1]&15
					if script[1]&0x40 != 0 {
						version = script[1] >> 4 & 3
					}
					script = script[2:]
				}
				p := x.next(which)
				if p == nil {
					<-time.After(time.Minute) // it pauses
					continue
				}
				short = short || fault == 10
				p.answer <- p.reply(version, fault)
			}
			x.mu.Lock()
			defer x.mu.Unlock()
			if x.most > max(int(window), 1) || len(x.waiting) > 0 {
				t.Fatalf("%d under way in a window of %d, %d left", x.most, window, len(x.waiting))
			}
			if err != nil || resp.Code != message.Content {
				return
			}
			tag, _ := resp.Options.ETag()
			if n := len(resp.Payload); n != blocks16*16-5 && !short || !bytes.Equal(resp.Payload, blockBody(uint32(tag[0]), 0, n)) {
				t.Fatalf("a wrong body of %d bytes", n)
			}
		})
	})
}
