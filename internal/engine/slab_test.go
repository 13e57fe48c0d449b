package engine

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPool(t *testing.T) {
	var p pool[int]
	var all []*int
	for range 10_000 {
		all = append(all, p.get())
	}
	require.Equal(t, 10_000, p.live)
	for _, x := range all {
		p.put(x)
		require.LessOrEqual(t, len(p.free), p.live/2+spare)
	}
	require.Zero(t, p.live)
	require.Len(t, p.free, spare)
	require.LessOrEqual(t, cap(p.free), 16*spare)
	x := p.get()
	p.put(x)
	require.Same(t, x, p.get(), "what was given back is used again")
}

func TestBuffers(t *testing.T) {
	var s buffers
	for _, size := range []int{0, 1, 64, 65, 128, 500, 1152, 1280, 1281, 65535} {
		b := s.get(size)
		require.Empty(t, b.b)
		require.GreaterOrEqual(t, cap(b.b), size)
		require.Equal(t, bufferRoom(size), cap(b.b))
		b.b = append(b.b, make([]byte, size)...)
		b.refs++
		s.unref(b)
		if b.class >= 0 {
			require.Equal(t, 1, s.classes[b.class].live, "somebody still needs it")
		}
		s.unref(b)
		if b.class >= 0 {
			require.Zero(t, s.classes[b.class].live)
			require.Same(t, b, s.get(size))
			s.unref(b)
		}
	}
}

func TestTable(t *testing.T) {
	var m table[int, int]
	for i := range 10_000 {
		m.set(i, i)
	}
	for i := range 9_990 {
		m.del(i)
	}
	require.Equal(t, 10, m.len())
	require.Less(t, m.peak, 200, "the table was made anew")
	for i := 9_990; i < 10_000; i++ {
		v, ok := m.get(i)
		require.True(t, ok)
		require.Equal(t, i, v)
	}
	_, ok := m.get(1)
	require.False(t, ok)
}

// The queue against a slice.
func TestQueue(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	var q queue[*int]
	var model []*int
	for range 50_000 {
		if grow := len(model) < 3000 && len(q.q) < 4000; random.IntN(5) < 2 || grow && random.IntN(3) == 0 {
			x := new(int)
			q.push(x)
			model = append(model, x)
		} else {
			x, ok := q.pop()
			require.Equal(t, len(model) > 0, ok)
			if ok {
				require.Same(t, model[0], x)
				model = model[1:]
			}
		}
		require.Equal(t, len(model), q.len())
	}
	for q.len() > 0 {
		q.pop()
	}
	require.LessOrEqual(t, cap(q.q), 8000)
	for _, x := range q.q[:cap(q.q)] {
		require.Nil(t, x, "nothing is kept from the collector")
	}
	for range 20 {
		q.push(nil)
		q.pop()
	}
	require.LessOrEqual(t, cap(q.q), 16*spare, "memory comes back")
}

type node struct {
	n     int
	links links[node]
}

// The list against a slice.
func TestList(t *testing.T) {
	of := func(x *node) *links[node] { return &x.links }
	random := rand.New(rand.NewPCG(1, 1))
	var l list[node]
	nodes := make([]node, 50)
	for i := range nodes {
		nodes[i].n = i
	}
	var model []int
	for range 20_000 {
		x := &nodes[random.IntN(len(nodes))]
		if x.links.in {
			model = slices.DeleteFunc(model, func(n int) bool { return n == x.n })
		} else if random.IntN(2) == 0 {
			l.pushBack(x, of)
			model = append(model, x.n)
			continue
		}
		l.remove(x, of)
		require.Equal(t, links[node]{}, x.links)
		var got []int
		for _, x := range checkList(t, "list", &l, of) {
			got = append(got, x.n)
		}
		require.Equal(t, len(model), len(got))
		require.True(t, slices.Equal(model, got))
	}
}
