// Package entropy is the one source of randomness of the library. It is cryptographic, since
// tokens come from it (RFC 7252 section 11.4), unless a simulation fixes it.
package entropy

import (
	crypto "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// generator is a deterministic source that may be used concurrently.
type generator struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

var fixed atomic.Pointer[generator]

// Fix makes all that the process draws follow from seed, until release is called. It is for
// simulations, one at a time.
func Fix(seed uint64) (release func()) {
	var s [32]byte
	binary.BigEndian.PutUint64(s[:], seed)
	fixed.Store(&generator{r: rand.NewChaCha8(s)})
	return func() { fixed.Store(nil) }
}

// Read fills b.
func Read(b []byte) {
	g := fixed.Load()
	if g == nil {
		crypto.Read(b) // never fails
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.r.Read(b)
}

// Uint64 returns 64 random bits.
func Uint64() uint64 {
	var b [8]byte
	Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}

// source makes a rand.Rand of it; it has no state, so that is safe for concurrent use as well.
type source struct{}

func (source) Uint64() uint64 { return Uint64() }

var numbers = rand.New(source{})

// N returns a number from 0 to n-1. n must be positive.
func N[T ~int | ~int64 | ~uint32](n T) T { return T(numbers.Int64N(int64(n))) }
