package dtls

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
)

// finish mends how the library repeats the end of a client's handshake. Where the server has a connection ID, the library sends
// its Finished under the same sequence number each time, and a server that has seen it before drops it as a copy (RFC 6347 section 4.1.2.6),
// instead of sending its own Finished again, which was lost. So the copy gets the number that it should have had.
//
// The keys are known before the handshake is over by what the library writes for key logs. The lock of handshake.seen guards all.
type finish struct {
	random []byte // of the ServerHello
	suite  CipherSuite
	write  *protection
	sent   uint64 // how often Finished was sent
}

// hello learns from a ServerHello (RFC 5246 section 7.4.1.3).
func (f *finish) hello(body []byte) {
	const fixed = 12 + 2 + 32 + 1
	if len(body) < fixed || len(body) < fixed+int(body[fixed-1])+2 {
		return
	}
	f.random = bytes.Clone(body[12+2 : fixed-1])
	f.suite = CipherSuite(binary.BigEndian.Uint16(body[fixed+int(body[fixed-1]):]))
}

// secretsSink takes the line of a key log, and hands it on.
type secretsSink struct {
	h    *handshake
	next io.Writer
}

func (s secretsSink) Write(line []byte) (int, error) {
	fields := bytes.Fields(line)
	if len(fields) == 3 && string(fields[0]) == "CLIENT_RANDOM" {
		random, err := hex.DecodeString(string(fields[1]))
		master, err2 := hex.DecodeString(string(fields[2]))
		if err == nil && err2 == nil && len(random) == 32 {
			s.h.seen.Lock()
			s.h.finish.secret(random, master)
			s.h.seen.Unlock()
		}
	}
	if s.next == nil {
		return len(line), nil
	}
	return s.next.Write(line)
}

// secret derives the key that the client writes with.
func (f *finish) secret(random, master []byte) {
	if len(f.random) != 32 {
		return
	}
	s := secrets{MasterSecret: master, IsClient: true, LocalRandom: [32]byte(random), RemoteRandom: [32]byte(f.random), CipherSuiteID: uint16(f.suite)}
	keys, err := s.keyBlock()
	if err != nil {
		return
	}
	if write, _, err := keys.protections(); err == nil {
		f.write = &write
	}
}

// renumber gives the Finished in a datagram to the server the sequence number that is due.
func (f *finish) renumber(b []byte) []byte {
	at := 0
	for at+headerSize <= len(b) && b[at] != byte(typeCID) {
		at += headerSize + int(binary.BigEndian.Uint16(b[at+11:]))
	}
	if at+headerSize >= len(b) {
		return b
	}
	n := f.sent
	if f.sent++; n == 0 || f.write == nil {
		return b
	}
	for cid := 1; at+headerSize+cid <= len(b); cid++ { // it is the last record
		r, rest, ok := nextRecord(b[at:], cid)
		if !ok || len(rest) > 0 || r.epoch != 1 {
			continue
		}
		r.body = bytes.Clone(r.body)
		p := *f.write
		p.cid = r.cid
		typ, data, ok := p.open(&r)
		if !ok || typ != typeHandshake {
			return b
		}
		return p.seal(bytes.Clone(b[:at]), typ, epochOne|n, data)
	}
	return b
}
