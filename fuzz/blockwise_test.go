package fuzz

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/exchange"
	"github.com/coapkit/coap/message"
)

// blockByte is byte i of a body: which one it is shows in every 4 bytes.
func blockByte(body uint32, i int64) byte {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], body*2654435761+uint32(i/4))
	return b[i%4]
}

func blockBody(body uint32, from int64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = blockByte(body, from+int64(i))
	}
	return b
}

// FuzzBlockServer has four peers send blocks of bodies and ask for blocks, in any order and size.
// A peer begins another body with each block 0. Whatever it does, a handler gets the beginning of the
// body that the peer has begun last for this operation, a block of a response is that part of
// it, and memory stays within its limits.
func FuzzBlockServer(f *testing.F) {
	f.Add([]byte("\x00\x00\x08\x40\x00\x00\x18\x40\x00\x00\x20\x05"))                                 // three blocks
	f.Add([]byte("\x01\x00\x08\x40\x01\x00\x28\x40\x01\x00\x10\x05\x05\x00\x09\x40\x05\x00\x29\x40")) // streamed; a gap
	f.Add([]byte("\x02\x00\x06\x00\x02\x00\x16\x00\x02\x00\x26\x00\x03\x00\x06\x00\x03\x00\x16\x00")) // downloads
	f.Add([]byte("\x40\x00\x0e\x00\x41\x00\x0e\x00\x42\x00\x0e\x00\x43\x00\x0e\x00\x80\x00\x0e\x00")) // many begun
	f.Fuzz(func(t *testing.T, script []byte) {
		const total, share = 32 << 10, 12 << 10
		type operation struct {
			port uint16
			path string
		}
		begun := map[operation]uint32{}
		var mu sync.Mutex
		var wrong string
		handler := exchange.HandlerFunc(func(w *exchange.Response, r *exchange.Request) error {
			if r.Code == message.GET {
				w.Payload = blockBody(7, 0, 5000)
				return nil
			}
			b, err := r.ReadBody(1 << 20)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if want := blockBody(begun[operation{r.Peer().Addr.Port(), r.Path()}], 0, len(b)); !bytes.Equal(want, b) {
				wrong = "a handler got a wrong body of " + strconv.Itoa(len(b)) + " bytes"
			}
			w.Payload = b
			return nil
		})
		s := blockwise.NewServer(handler, blockwise.ServerConfig{
			MaxBody: 8 << 10, Bytes: total, BytesPerPeer: share, Streams: 3, Ahead: 6,
			Mode: func(r *exchange.Request) (blockwise.Mode, error) {
				return blockwise.Mode{Stream: r.Path() == "/1"}, nil
			},
		})
		for len(script) >= 4 && len(script) < 4000 {
			op, option, n := script[0], uint64(script[1])<<8|uint64(script[2]), int(script[3])
			script = script[4:]
			r := &exchange.Request{Code: []message.Code{message.PUT, message.PUT, message.GET, message.POST}[op&3]}
			path := strconv.Itoa(int(op & 1))
			if op&8 != 0 {
				path += strconv.Itoa(int(op >> 4))
			}
			r.Options.AddString(message.OptionURIPath, path)
			from := exchange.Peer{Addr: netip.AddrPortFrom(netip.IPv6Loopback(), uint16(op>>2&3))}
			number := message.OptionBlock2
			if r.Code == message.PUT {
				number = message.OptionBlock1
			}
			r.Options.AddUint(number, option)
			b, _ := blockwise.ParseBlock(&r.Options, number)
			mu.Lock()
			if id := (operation{from.Addr.Port(), "/" + path}); r.Code == message.PUT {
				if n == 0x40 {
					n = b.Size()
				}
				if b.Num == 0 && b.SZX < 7 && (!b.More || n == b.Size()) {
					begun[id]++
				}
				r.Payload = blockBody(begun[id], b.Offset(), n)
			}
			mu.Unlock()
			r.Arrive(exchange.Arrival{Peer: from})
			w := new(exchange.Response)
			err := s.ServeCoAP(w, r)
			coded := new(exchange.Error)
			if bad := new(message.OptionError); err != nil && !errors.As(err, &bad) && !errors.As(err, &coded) && !errors.Is(err, blockwise.ErrTooLarge) {
				t.Fatalf("%v %v: %v", r.Code, b, err)
			}
			if got, ok := blockwise.ParseBlock(&w.Options, message.OptionBlock2); ok && r.Code == message.GET {
				if !bytes.Equal(w.Payload, blockBody(7, got.Offset(), len(w.Payload))) || got.Offset() != b.Offset() || got.SZX > b.SZX {
					t.Fatalf("asked for %v, got %v with wrong bytes", b, got)
				}
				if got.More != (got.Offset()+int64(len(w.Payload)) < 5000) || got.More && len(w.Payload) != got.Size() {
					t.Fatalf("block %v of 5000 bytes has %d", got, len(w.Payload))
				}
			}
			if st := s.Stats(); st.Bytes > total+share || st.Streams > 3 {
				t.Fatalf("limits are exceeded: %+v", st)
			}
		}
		if err := s.Shutdown(context.Background()); err != nil || s.Stats().Bytes != 0 || s.Stats().Peers != 0 {
			t.Fatalf("something is left: %+v", s.Stats())
		}
		if wrong != "" {
			t.Fatal(wrong)
		}
	})
}

// wildServer is a server that does what it is told: for each request four bytes, about the code, the
// block, the length of the payload and the version of the body. Its payloads are what the version
// has at the place that the block states.
type wildServer struct {
	t        *testing.T
	script   []byte
	body     []byte // that the client sends
	requests int
}

func (x *wildServer) RoundTrip(ctx context.Context, req *exchange.Request, resp *exchange.Response) error {
	x.requests++
	if b, ok := blockwise.ParseBlock(&req.Options, message.OptionBlock1); ok {
		end := b.Offset() + int64(len(req.Payload))
		if end > int64(len(x.body)) || !bytes.Equal(req.Payload, x.body[b.Offset():end]) || b.More != (end < int64(len(x.body))) || b.SZX > 6 {
			x.t.Fatalf("block %v is not that part of the body", b)
		}
	}
	if len(x.script) < 4 {
		return exchange.ErrNotAcknowledged
	}
	code, block, n, version := x.script[0], x.script[1], int(x.script[2]), x.script[3]
	x.script = x.script[4:]
	m := message.Message{Code: []message.Code{
		message.Content, message.Content, message.Changed, message.Continue, message.RequestEntityIncomplete,
		message.RequestEntityTooLarge, message.Valid, message.NotFound,
	}[code&7]}
	b, ok := blockwise.ParseBlock(&req.Options, message.OptionBlock2)
	if !ok {
		b.SZX = 6
	}
	if block&1 != 0 { // not what was asked for
		b.Num += uint32(block >> 4)
	}
	if block&2 != 0 {
		b.SZX = block >> 4 & 7
	}
	if b.More = block&4 != 0; b.More && n > 16 {
		n = b.Size()
	}
	if block&8 == 0 {
		m.Options.AddUint(message.OptionBlock2, b.Value())
	} else {
		b = blockwise.Block{}
	}
	m.Options.SetETag([]byte{version})
	if code&8 != 0 {
		up, _ := blockwise.ParseBlock(&req.Options, message.OptionBlock1)
		up.SZX = min(up.SZX, code>>4&7)
		m.Options.AddUint(message.OptionBlock1, up.Value())
	}
	if code&128 != 0 {
		m.Options.AddUint(message.OptionSize2, uint64(n)<<16)
	}
	m.Payload = blockBody(uint32(version), b.Offset(), n)
	resp.Reset()
	return resp.Receive(&m, exchange.Peer{})
}

// FuzzBlockClient has a client talk to a server that answers anything. A success has one version of
// the body, from its beginning without a gap; what is sent is that part of the body that the block
// states; and neither the number of requests nor the memory grows with what the server claims.
func FuzzBlockClient(f *testing.F) {
	f.Add(byte(1), uint16(0), []byte("\x00\x04\xff\x01\x00\x04\xff\x01\x00\x00\x05\x01"))                                    // three blocks
	f.Add(byte(1), uint16(0), []byte("\x00\x04\xff\x01\x00\x04\xff\x02\x00\x04\xff\x02\x00\x00\x05\x02"))                    // changes
	f.Add(byte(2), uint16(3000), []byte("\x6b\x08\x00\x00\x3b\x08\x00\x00\x3b\x08\x00\x00\x0a\x04\xff\x01\x0a\x00\x05\x01")) // up and down
	f.Add(byte(2), uint16(2000), []byte("\x6b\x08\x00\x00\x04\x08\x00\x00\x6b\x08\x00\x00\x6a\x08\x00\x00"))                 // lost, again
	f.Add(byte(5), uint16(100), []byte("\x05\x08\x00\x00\x1d\x08\x00\x00\x0b\x08\x00\x00"))                                  // too large
	f.Fuzz(func(t *testing.T, method byte, length uint16, script []byte) {
		const limit = 16 << 10
		x := &wildServer{t: t, script: slices.Clone(script), body: blockBody(99, 0, int(length%8192))}
		c := blockwise.NewClient(x, blockwise.ClientConfig{MaxBody: limit})
		req := &exchange.Request{Code: message.MakeCode(0, 1+method%7), Payload: x.body}
		if req.Code == message.GET || req.Code == message.DELETE {
			req.Payload, x.body = nil, nil
		}
		var resp exchange.Response
		err := c.RoundTrip(context.Background(), req, &resp)
		if len(resp.Payload) > limit+1024 || cap(resp.Payload) > 4*limit+64<<10 {
			t.Fatalf("%d bytes, room for %d", len(resp.Payload), cap(resp.Payload))
		}
		if x.requests > len(script)/4+1 {
			t.Fatalf("%d requests to a server that answered %d", x.requests, len(script)/4)
		}
		if err != nil {
			return
		}
		tag, _ := resp.Options.ETag()
		if want := blockBody(uint32(tag[0]), 0, len(resp.Payload)); resp.Code.IsSuccess() && resp.Code != message.Valid && !bytes.Equal(want, resp.Payload) {
			t.Fatalf("%v with wrong bytes", resp.Code)
		}
	})
}
