package hostile

import (
	"bytes"
	"io"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/coapkit/coap"
	"github.com/coapkit/coap/blockwise"
	"github.com/coapkit/coap/message"
)

// firstBlock returns the first of many blocks of an upload.
func firstBlock(mid uint16, n int) message.Message {
	m := message.Message{Code: message.PUT, MessageID: mid, Token: message.Token("token"), Payload: bytes.Repeat([]byte("x"), 1024)}
	m.Options.AddString(message.OptionURIPath, "body")
	m.Options.AddString(message.OptionURIQuery, strconv.Itoa(n))
	m.Options.AddUint(message.OptionBlock1, blockwise.Block{More: true, SZX: 6}.Value())
	return m
}

// interrupted is a body that lets something happen whenever a block of it is read.
type interrupted struct {
	io.Reader
	each func()
}

func (r interrupted) Read(b []byte) (int, error) {
	r.each()
	return r.Reader.Read(b[:min(len(b), 1024)])
}

// Uploads that begin and never go on, from one peer and from as many peers, while somebody sends a body
// that he means: the memory stays within the limit, who goes is counted, and the good upload completes.
//
// Proves 7959-7.1-01.
func TestUnfinishedUploads(t *testing.T) {
	n := scaled(10_000)
	blocks := blockwise.ServerConfig{Bytes: scaled(4 << 20)}
	body := blocks.Bytes / 32
	for name, peers := range map[string]int{"from one peer": 1, "from many": n} {
		t.Run(name, func(t *testing.T) {
			limits := coap.Limits{RememberedBytes: 4 << 20, RememberedBytesPerPeer: 2 << 20}
			s := serve(t, "127.0.0.1:0", &coap.Config{Params: patient.Params, Limits: limits, ServeBlocks: blocks})
			p, send := s.peer("127.0.0.9:0"), s.bound()
			before, sent := heap(), 0
			attack := func() {
				for ; sent < n; sent++ {
					data := encode(t, firstBlock(uint16(sent), sent))
					if peers == 1 {
						p.sendBytes(data)
					} else {
						send(source(sent), data)
					}
					if sent%burst == burst-1 {
						sent++
						break
					}
				}
				p.fence()
				s.rest()
				s.within()
				st, _ := s.BlockwiseStats()
				require.LessOrEqual(t, st.Bytes, blocks.Bytes)
				if peers == 1 {
					require.LessOrEqual(t, st.Uploads, blocks.Bytes/8/1024+1, "its share, and the good one")
				}
			}
			req, err := coap.NewRequest(coap.PUT, s.uri("/body"))
			require.NoError(t, err)
			req.Body = interrupted{bytes.NewReader(make([]byte, body)), attack}
			var resp coap.Response
			require.NoError(t, s.good.Do(s.context(), req, &resp))
			require.Equal(t, strconv.Itoa(body), string(resp.Payload))
			for sent < n {
				attack()
			}
			st, _ := s.BlockwiseStats()
			require.EqualValues(t, 1, st.Completed)
			require.Equal(t, n, st.Uploads+int(st.Evicted+st.TooLarge), "kept, or given up and counted")
			require.NotZero(t, st.Uploads)
			require.NotZero(t, st.Evicted)
			grown := heap() - before
			require.Less(t, grown, 2*(blocks.Bytes+limits.RememberedBytes)+n*256, "heap")
			figure(t, "%d uploads begun %s: %d kept in %d KiB, %d bytes each for one block of 1024; %d evicted; heap grew by %d KiB",
				n, name, st.Uploads, st.Bytes>>10, st.Bytes/st.Uploads, st.Evicted, grown>>10)
		})
	}
}
