package coap

import "time"

// workers runs handlers. There are as many as handlers that run at a time, which the
// engine bounds (Limits.Handlers), and idle ones go away after a while, so the read loop
// never waits and never refuses for want of one.
type workers struct {
	work chan *call
	quit chan struct{}
}

// workerIdle is how long a worker waits for another request before it ends.
const workerIdle = 10 * time.Second

func (w *workers) start() { w.work, w.quit = make(chan *call), make(chan struct{}) }

func (w *workers) stop() { close(w.quit) }

// run has c served by a worker. It does not wait.
func (w *workers) run(c *call) {
	select {
	case w.work <- c:
	default:
		go w.loop(c)
	}
}

func (w *workers) loop(c *call) {
	t := time.NewTimer(workerIdle)
	defer t.Stop()
	for {
		c.serve()
		t.Reset(workerIdle)
		select {
		case c = <-w.work:
		case <-t.C:
			return
		case <-w.quit:
			return
		}
	}
}
