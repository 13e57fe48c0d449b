package entropy

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFix(t *testing.T) {
	draw := func(seed uint64) (all [3]uint64) {
		defer Fix(seed)()
		all[0], all[1] = Uint64(), uint64(N(int64(1)<<62))
		var b [1]byte
		Read(b[:])
		all[2] = uint64(b[0])
		return all
	}
	require.Equal(t, draw(1), draw(1), "the same seed, the same numbers")
	require.NotEqual(t, draw(1), draw(2))
	require.NotEqual(t, draw(1)[0], Uint64(), "released")
	require.NotEqual(t, Uint64(), Uint64())
}

func TestN(t *testing.T) {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			seen := [3]bool{}
			for range 200 {
				seen[N(3)] = true
				if d := N(2 * time.Second); d < 0 || d >= 2*time.Second {
					t.Errorf("%v is out of range", d)
				}
			}
			if seen != [3]bool{true, true, true} {
				t.Errorf("not all numbers came: %v", seen)
			}
		})
	}
	wg.Wait()
}
