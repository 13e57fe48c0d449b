package engine

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The slots against a map.
func TestSlots(t *testing.T) {
	for _, shift := range []uint8{4, 8} {
		random := rand.New(rand.NewPCG(1, 1))
		s := newSlots[byte](shift, 3)
		model := map[uint32]byte{}
		var numbers []uint32
		target := 0
		for step := range 60_000 {
			if step%6000 == 0 {
				target = []int{2000, 10}[step/6000%2]
			}
			if len(numbers) < target || len(numbers) == 0 || random.IntN(4) == 0 {
				i := s.get()
				if _, used := model[i]; used || i == 0 || !bytes.Equal(s.all(i), []byte{0, 0, 0}) {
					t.Fatalf("slot %d with %x was not free", i, s.all(i))
				}
				model[i] = byte(step)
				copy(s.all(i), []byte{byte(step), 1, byte(step)})
				numbers = append(numbers, i)
			} else {
				k := random.IntN(len(numbers))
				i := numbers[k]
				numbers[k] = numbers[len(numbers)-1]
				numbers = numbers[:len(numbers)-1]
				if !bytes.Equal(s.all(i), []byte{model[i], 1, model[i]}) {
					t.Fatalf("slot %d has %x", i, s.all(i))
				}
				delete(model, i)
				s.put(i)
			}
			if len(model) != s.live {
				t.Fatalf("%d slots, want %d", s.live, len(model))
			}
		}
		last, n := uint32(0), 0
		s.each(func(i uint32) {
			require.NotZero(t, s.all(i)[1], "it is used")
			require.Greater(t, i, last, "in order")
			last = i
			n++
			s.put(i)
		})
		require.Len(t, model, n)
		require.Zero(t, s.live)
		requireOneChunk(t, &s)
	}
}

// requireOneChunk expects that nearly all memory of empty slots was given back.
func requireOneChunk[T any](t testing.TB, s *slots[T]) {
	t.Helper()
	chunks := 0
	for i := range s.chunks {
		if s.chunks[i].values != nil {
			chunks++
		}
	}
	require.LessOrEqual(t, chunks, 1, "chunks")
}

// checkHashed expects that every value is in its bucket.
func checkHashed[T any](t testing.TB, h *hashed[T]) {
	t.Helper()
	n, further := 0, 0
	for b := range h.n {
		first := &h.buckets[b/bucketChunk][b%bucketChunk]
		for at := first; at != nil; at = h.next(at) {
			for _, hash := range at.hashes[:at.n] {
				if h.bucket(hash) != first {
					t.Fatalf("a value with hash %x in bucket %d of %d", hash, b, h.n)
				}
				n++
			}
			if at != first {
				further++
				require.NotZero(t, at.n, "a bucket without values")
			}
			require.True(t, at.more == 0 || at.n == bucketSize, "room is left before a further bucket")
		}
	}
	require.Equal(t, h.live, n, "values in the buckets")
	require.Equal(t, h.further.live, further, "further buckets")
	require.LessOrEqual(t, h.live, fullBucket*int(h.n), "values for each bucket")
	require.LessOrEqual(t, int(h.n), max(bucketChunk, h.live/emptyBucket+2), "buckets")
	if h.n > 0 {
		require.True(t, h.mask>>1 < h.n && h.n <= h.mask+1, "mask %x for %d buckets", h.mask, h.n)
		require.Len(t, h.buckets, int(h.n+bucketChunk-1)/bucketChunk)
	}
}

// The table against a map, while it grows and shrinks.
func TestHashed(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	h := newHashed[int]()
	find := func(hash uint32, name int) uint32 { return h.find(hash, func(v *int) bool { return *v == name }) }
	type key struct {
		hash uint32
		name int
	}
	model := map[uint32]key{}
	var numbers []uint32
	for step := range 40_000 {
		if grow := step/5000%2 == 0; random.IntN(10) < 8 == grow || len(numbers) == 0 {
			i := h.get()
			k := key{random.Uint32() >> (step % 3 * 10), step}
			*h.at(i) = k.name
			h.add(i, k.hash)
			model[i] = k
			numbers = append(numbers, i)
		} else {
			k := random.IntN(len(numbers))
			i := numbers[k]
			numbers[k] = numbers[len(numbers)-1]
			numbers = numbers[:len(numbers)-1]
			require.Equal(t, i, find(model[i].hash, model[i].name))
			h.remove(i, model[i].hash)
			require.Zero(t, find(model[i].hash, model[i].name))
			delete(model, i)
		}
		if step%500 == 0 {
			checkHashed(t, &h)
		}
	}
	for i, k := range model {
		require.Equal(t, i, find(k.hash, k.name))
		h.remove(i, k.hash)
	}
	checkHashed(t, &h)
	require.EqualValues(t, bucketChunk, h.n)
	requireOneChunk(t, &h.slots)
}

// Replies of all sizes come back as they were kept.
func TestReplies(t *testing.T) {
	r, b := newReplies(), buffers{}
	type kept struct {
		i     uint32
		bytes []byte
	}
	var all []kept
	last := 0
	for size := 1; size < 1500; size += 1 + size/50 {
		require.GreaterOrEqual(t, replyRoom(size), max(size, last))
		last = replyRoom(size)
		buf := b.get(size)
		for range size {
			buf.b = append(buf.b, byte(size))
		}
		want := append([]byte(nil), buf.b...)
		all = append(all, kept{r.keep(buf, &b), want})
	}
	for _, k := range all {
		for range 2 {
			buf := r.get(k.i, len(k.bytes), &b)
			require.Equal(t, k.bytes, buf.b)
			b.unref(buf)
		}
		r.forget(k.i, len(k.bytes), &b)
	}
	r.forget(0, 0, &b)
	require.Zero(t, r.long.live)
	for i := range r.short {
		require.Zero(t, r.short[i].live)
	}
	for i := range b.classes {
		require.Zero(t, b.classes[i].live)
	}
}
