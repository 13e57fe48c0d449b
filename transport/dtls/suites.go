package dtls

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/sha512"
	"hash"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/ccm"
	"github.com/pion/dtls/v3/pkg/crypto/prf"
)

// CipherSuite is a cipher suite by its registered number.
type CipherSuite uint16

// The cipher suites. Those with CCM_8 are the ones that RFC 7252 section 9.1.3 makes mandatory.
const (
	PSKWithAES128CCM8             = CipherSuite(dtls.TLS_PSK_WITH_AES_128_CCM_8)
	ECDHEECDSAWithAES128CCM8      = CipherSuite(dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8)
	PSKWithAES128CCM              = CipherSuite(dtls.TLS_PSK_WITH_AES_128_CCM)
	PSKWithAES256CCM8             = CipherSuite(dtls.TLS_PSK_WITH_AES_256_CCM_8)
	PSKWithAES128GCMSHA256        = CipherSuite(dtls.TLS_PSK_WITH_AES_128_GCM_SHA256)
	ECDHEECDSAWithAES128CCM       = CipherSuite(dtls.TLS_ECDHE_ECDSA_WITH_AES_128_CCM)
	ECDHEECDSAWithAES128GCMSHA256 = CipherSuite(dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
	ECDHEECDSAWithAES256GCMSHA384 = CipherSuite(dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)
	ECDHERSAWithAES128GCMSHA256   = CipherSuite(dtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	ECDHERSAWithAES256GCMSHA384   = CipherSuite(dtls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384)
)

// suite is what the protection of records needs to know of a cipher suite.
type suite struct {
	id   CipherSuite
	psk  bool
	key  int // bytes
	tag  int // bytes of CCM; 0 for GCM
	hash prf.HashFunc
}

// suites are all cipher suites, the best first.
var suites = [...]suite{
	{PSKWithAES128CCM8, true, 16, 8, sha256.New},
	{ECDHEECDSAWithAES128CCM8, false, 16, 8, sha256.New},
	{PSKWithAES128CCM, true, 16, 16, sha256.New},
	{PSKWithAES256CCM8, true, 32, 8, sha256.New},
	{PSKWithAES128GCMSHA256, true, 16, 0, sha256.New},
	{ECDHEECDSAWithAES128CCM, false, 16, 16, sha256.New},
	{ECDHEECDSAWithAES128GCMSHA256, false, 16, 0, sha256.New},
	{ECDHEECDSAWithAES256GCMSHA384, false, 32, 0, newSHA384},
	{ECDHERSAWithAES128GCMSHA256, false, 16, 0, sha256.New},
	{ECDHERSAWithAES256GCMSHA384, false, 32, 0, newSHA384},
}

func newSHA384() hash.Hash { return sha512.New384() }

// CipherSuites returns all cipher suites, the best first.
func CipherSuites() []CipherSuite {
	all := make([]CipherSuite, len(suites))
	for i := range suites {
		all[i] = suites[i].id
	}
	return all
}

// String returns the registered name.
func (s CipherSuite) String() string { return dtls.CipherSuiteName(dtls.CipherSuiteID(s)) }

func suiteOf(id CipherSuite) *suite {
	for i := range suites {
		if suites[i].id == id {
			return &suites[i]
		}
	}
	return nil
}

// cipher returns the cipher of one direction.
func (s *suite) cipher(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if s.tag == 0 {
		return cipher.NewGCM(block)
	}
	return ccm.NewCCM(block, s.tag, 12)
}
