package dtls

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/prf"
)

// secrets is what a finished handshake leaves behind, under the names that the library of the handshake writes it by.
type secrets struct {
	RemoteSequenceNumber uint64 // the next one
	LocalEpoch           uint16
	RemoteEpoch          uint16
	LocalRandom          [32]byte
	RemoteRandom         [32]byte
	CipherSuiteID        uint16
	MasterSecret         []byte
	SequenceNumber       uint64 // of our next record
	PeerCertificates     [][]byte
	IdentityHint         []byte
	LocalConnectionID    []byte
	RemoteConnectionID   []byte
	IsClient             bool
}

var errSecrets = errors.New("dtls: the state of the finished handshake is not understood")

// secretsOf reads them out of a connection, which must not send anything afterwards.
func secretsOf(c *dtls.Conn) (*secrets, error) {
	state, ok := c.ConnectionState()
	if !ok {
		return nil, errSecrets
	}
	b, err := state.MarshalBinary()
	if err != nil {
		return nil, err
	}
	s := new(secrets)
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(s); err != nil {
		return nil, fmt.Errorf("%w: %w", errSecrets, err)
	}
	if len(s.MasterSecret) != 48 || s.LocalEpoch != 1 || s.RemoteEpoch != 1 || s.SequenceNumber == 0 {
		return nil, errSecrets
	}
	return s, nil
}

// keyBlock are the keys of a session, as they are kept for a restart.
type keyBlock struct {
	Suite               CipherSuite
	WriteKey, ReadKey   []byte
	WriteIV, ReadIV     [4]byte
	WriteCID, ReadCID   []byte
	NextWrite, NextRead uint64 // sequence numbers
}

// keyBlock derives the keys (RFC 5246 section 6.3).
func (s *secrets) keyBlock() (*keyBlock, error) {
	suite := suiteOf(CipherSuite(s.CipherSuiteID))
	if suite == nil {
		return nil, errSecrets
	}
	client, server := s.RemoteRandom[:], s.LocalRandom[:]
	if s.IsClient {
		client, server = server, client
	}
	keys, err := prf.GenerateEncryptionKeys(s.MasterSecret, client, server, 0, suite.key, 4, suite.hash)
	if err != nil {
		return nil, err
	}
	k := &keyBlock{
		Suite: suite.id, WriteCID: s.RemoteConnectionID, ReadCID: s.LocalConnectionID, NextWrite: s.SequenceNumber, NextRead: s.RemoteSequenceNumber,
		WriteKey: keys.ServerWriteKey, ReadKey: keys.ClientWriteKey,
		WriteIV: [4]byte(keys.ServerWriteIV), ReadIV: [4]byte(keys.ClientWriteIV),
	}
	if s.IsClient {
		k.WriteKey, k.ReadKey = k.ReadKey, k.WriteKey
		k.WriteIV, k.ReadIV = k.ReadIV, k.WriteIV
	}
	return k, nil
}

// protections makes the ciphers of both directions.
func (k *keyBlock) protections() (write, read protection, err error) {
	s := suiteOf(k.Suite)
	if s == nil || len(k.WriteKey) != s.key || len(k.ReadKey) != s.key {
		return write, read, errSecrets
	}
	if write.AEAD, err = s.cipher(k.WriteKey); err != nil {
		return write, read, err
	}
	if read.AEAD, err = s.cipher(k.ReadKey); err != nil {
		return write, read, err
	}
	write.iv, read.iv = k.WriteIV, k.ReadIV
	write.cid, read.cid = k.WriteCID, k.ReadCID
	return write, read, nil
}
