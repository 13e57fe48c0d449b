package engine

// timer is one deadline, embedded in what waits for it.
type timer struct {
	at    int64
	pos   int // index in the heap plus 1; 0 means not set
	owner timed
}

// timed is what a timer calls when it is due. The timer is not set any more then.
type timed interface{ expired(e *Engine) }

// timerHeap is a binary heap of deadlines. A deadline can be moved and removed.
type timerHeap struct {
	h     []*timer
	steps int // exchanges of two deadlines, for tests
}

func (t *timerHeap) next() (int64, bool) {
	if len(t.h) == 0 {
		return 0, false
	}
	return t.h[0].at, true
}

// due removes and returns a timer whose time has come, or nil.
func (t *timerHeap) due(now int64) *timer {
	if len(t.h) == 0 || t.h[0].at > now {
		return nil
	}
	x := t.h[0]
	t.stop(x)
	return x
}

func (t *timerHeap) set(x *timer, at int64) {
	x.at = at
	if x.pos == 0 {
		t.h = append(t.h, x)
		x.pos = len(t.h)
	}
	t.fix(x.pos - 1)
}

func (t *timerHeap) stop(x *timer) {
	if x.pos == 0 {
		return
	}
	i, last := x.pos-1, len(t.h)-1
	moved := t.h[last]
	t.h[i] = moved
	moved.pos = i + 1
	t.h[last] = nil
	t.h = t.h[:last]
	x.pos = 0
	if i < last {
		t.fix(i)
	}
	t.h = shrink(t.h)
}

func (t *timerHeap) fix(i int) {
	for i > 0 && t.h[i].at < t.h[(i-1)/2].at {
		t.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		child := 2*i + 1
		if child+1 < len(t.h) && t.h[child+1].at < t.h[child].at {
			child++
		}
		if child >= len(t.h) || t.h[i].at <= t.h[child].at {
			return
		}
		t.swap(i, child)
		i = child
	}
}

func (t *timerHeap) swap(i, j int) {
	t.steps++
	t.h[i], t.h[j] = t.h[j], t.h[i]
	t.h[i].pos, t.h[j].pos = i+1, j+1
}
