package blockwise

// window says which blocks of a response's body to ask for next, when several may be under way
// (RFC 7959 section 2.4 leaves their order to the client). It is pure, and numbers blocks of one size.
//
// How many may be under way grows and shrinks as it does in TCP (RFC 5681 section 3.1), counted in
// blocks: from 2, by one with each answer up to threshold, then by one with each window of
// answers; half of it is left after a sign of loss, once for each window.
type window struct {
	base  int64 // number of the block that is to be handed on next
	next  int64 // number of the block that is to be asked for next
	stop  int64 // none from here on is asked for
	ahead int64 // base and how many more may be asked for or kept
	under int   // asked for and not answered

	limit     int   // of under
	most      int   // of limit
	threshold int   // of limit, from where it grows slowly
	credit    int   // answers since it grew
	narrowed  int64 // what next was when it shrank
}

const firstWindow = 2

// newWindow begins at block base. As many blocks may wait for an earlier one as may be under way.
func newWindow(base, stop int64, most int) window {
	return window{
		base: base, next: base, stop: stop, ahead: int64(2 * most),
		limit: min(firstWindow, most), most: most, threshold: most, narrowed: base,
	}
}

// room returns how many blocks may be asked for now.
func (w *window) room() int {
	return int(max(min(int64(w.limit-w.under), w.stop-w.next, w.base+w.ahead-w.next), 0))
}

// ask returns the block to ask for. There has to be room.
func (w *window) ask() (n int64) {
	n = w.next
	w.next++
	w.under++
	return n
}

// answered notes that the request for block n has ended; lost, that there was a sign of loss.
func (w *window) answered(n int64, lost bool) {
	w.under--
	switch {
	case lost && n >= w.narrowed: // it was asked for after the last time
		w.limit = max(w.limit/2, 1)
		w.threshold, w.credit, w.narrowed = w.limit, 0, w.next
	case lost:
	case w.limit < w.threshold:
		w.limit++
	default:
		if w.credit++; w.credit >= w.limit {
			w.credit, w.limit = 0, min(w.limit+1, w.most)
		}
	}
}

// end makes n the first block that is not asked for.
func (w *window) end(n int64) { w.stop = min(w.stop, n) }
