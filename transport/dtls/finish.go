package dtls

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
)

// finish mends how the library sends the end of a client's handshake where the server has a connection ID. It repeats its Finished under the
// same sequence number each time, and a server that has seen it before drops it as a copy (RFC 6347 section 4.1.2.6), instead of sending
// its own Finished again, which was lost. So the copy gets the number that it should have had. And when a session is resumed, its Finished lacks the
// connection ID, which servers insist on (RFC 9146 section 3).
//
// The keys are known before the handshake is over by what the library writes for key logs. The lock of handshake.seen guards all.
type finish struct {
	random []byte // of the ServerHello
	suite  CipherSuite
	cid    []byte // of the server
	write  *protection
	sent   uint64 // how often Finished was sent
}

// hello learns from a ServerHello (RFC 5246 section 7.4.1.3).
func (f *finish) hello(body []byte) {
	const header, fixed = 12, 2 + 32 + 1
	if len(body) < header+fixed {
		return
	}
	body = body[header:]
	f.random = bytes.Clone(body[2 : fixed-1])
	rest := cut(body[fixed-1:], 1)
	if len(rest) < 3 {
		f.random = nil
		return
	}
	f.suite = CipherSuite(binary.BigEndian.Uint16(rest))
	for rest = prefixed(rest[3:], 2); len(rest) >= 4; rest = cut(rest[2:], 2) {
		if binary.BigEndian.Uint16(rest) == extensionCID {
			f.cid = bytes.Clone(prefixed(prefixed(rest[2:], 2), 1))
		}
	}
}

// extensionCID is connection_id (RFC 9146 section 3).
const extensionCID = 54

// prefixed returns the vector that b begins with, after its length of n bytes; nil if it is cut off.
func prefixed(b []byte, n int) []byte {
	if rest := cut(b, n); rest != nil {
		return b[n : len(b)-len(rest)]
	}
	return nil
}

// cut returns what follows the vector that b begins with, not nil; or nil if it is cut off.
func cut(b []byte, n int) []byte {
	length := 0
	for i := range n {
		if i >= len(b) {
			return nil
		}
		length = length<<8 | int(b[i])
	}
	if length > len(b)-n {
		return nil
	}
	return b[n+length:]
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

// mend gives the Finished in a datagram to the server the sequence number that is due, and the connection ID.
func (f *finish) mend(b []byte) []byte {
	at := 0
	for at+headerSize <= len(b) && b[at+3] == 0 && b[at+4] == 0 { // epoch 0
		at += headerSize + int(binary.BigEndian.Uint16(b[at+11:]))
	}
	if len(f.cid) == 0 || at >= len(b) {
		return b
	}
	n := f.sent
	f.sent++
	r, _, ok := nextRecord(b[at:], len(f.cid)) // the last one
	if !ok || f.write == nil || n == 0 && r.typ == typeCID {
		return b
	}
	r.body = bytes.Clone(r.body)
	p := *f.write
	p.cid = r.cid
	typ, data, ok := p.open(&r)
	if !ok || typ != typeHandshake {
		return b
	}
	p.cid = f.cid
	return p.seal(bytes.Clone(b[:at]), typ, epochOne|n, data)
}
