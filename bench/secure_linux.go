package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coapkit/coap/transport"
	"github.com/coapkit/coap/transport/dtls"
)

// atATime is how many handshakes are under way at a time.
const atATime = 16

// secure puts a load on a secure server, or in the same way on a plain one.
type secure struct {
	load
	crowd *crowd
	conn  transport.Conn
	dtls  *dtls.Conn // nil for a plain server
	out   outcome
	times histogram
}

func newSecure(l load, mute bool) (*secure, error) {
	c, err := openCrowd(l.To)
	if err != nil {
		return nil, err
	}
	if mute { // after its ClientHello nobody says anything more
		c.sends = func(b []byte) bool { return len(b) > 13 && b[0] == 22 && b[13] == 1 }
		c.receives = func([]byte) bool { return l.Secure.Proven }
	}
	s := &secure{load: l, crowd: c, conn: c}
	if l.Secure.Suite == 0 {
		return s, nil
	}
	cfg, err := l.Secure.client()
	if err != nil {
		return nil, err
	}
	if s.dtls, err = dtls.New(c, cfg); err == nil {
		s.conn = s.dtls
	}
	return s, err
}

// generateSecure carries out l. Sessions are not ended, so that the server keeps them.
func generateSecure(l load) (outcome, error) {
	s, err := newSecure(l, l.Secure.Do == "flood")
	if err != nil {
		return outcome{}, err
	}
	defer s.crowd.Close()
	switch l.Secure.Do {
	case "requests":
		err = s.requests()
	case "handshakes":
		err = s.handshakes()
	case "sessions":
		var all []*transport.Session
		if all, err = s.sessions(); err == nil {
			err = s.ask(all, s.onceEach)
		}
	case "flood":
		err = s.flood()
	default:
		err = errors.New("no such load: " + l.Secure.Do)
	}
	s.out.P50, s.out.P99 = s.times.quantile(0.5), s.times.quantile(0.99)
	return s.out, err
}

// dial connects a client, again if that has failed for want of time.
func (s *secure) dial(ctx context.Context, i int) (*transport.Session, error) {
	if s.dtls == nil {
		return nil, nil
	}
	return s.dtls.Dial(ctx, member(i), "")
}

// sessions connects all clients.
func (s *secure) sessions() ([]*transport.Session, error) {
	all := make([]*transport.Session, s.Clients)
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make([]error, atATime)
	for g := range atATime {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < s.Clients && errs[g] == nil; i = int(next.Add(1)) - 1 {
				all[i], errs[g] = s.dial(context.Background(), i)
			}
		})
	}
	group.Wait()
	return all, errors.Join(errs...)
}

// handshakes makes sessions with ever new clients for a time, or resumes those of a few.
func (s *secure) handshakes() error {
	const few = 64
	ctx, cancel := context.WithTimeout(context.Background(), s.Warm+s.Time+20*time.Second)
	defer cancel()
	var (
		next  atomic.Int64
		end   atomic.Bool
		group sync.WaitGroup
		mu    sync.Mutex // guards the rest
		count uint64
		fail  error
	)
	one := func(i int) error {
		began := time.Now()
		session, err := s.dial(ctx, i)
		mu.Lock()
		count++
		s.times.add(time.Since(began))
		mu.Unlock()
		if err == nil && s.Secure.Resume {
			err = s.dtls.Forget(session)
		}
		return err
	}
	for g := range atATime {
		group.Go(func() {
			for k := 0; !end.Load(); k++ {
				i := int(next.Add(1))
				if s.Secure.Resume {
					i = g + k%(few/atATime)*atATime // which nobody else uses
				}
				if err := one(i); err != nil {
					mu.Lock()
					fail = err
					mu.Unlock()
					return
				}
			}
		})
	}
	time.Sleep(s.Warm)
	mu.Lock()
	count, s.times = 0, histogram{}
	cpu, from := cpuTime(s.PID), time.Now()
	mu.Unlock()
	time.Sleep(s.Time)
	mu.Lock()
	for late := time.Now().Add(10 * time.Second); count < atATime && time.Now().Before(late); { // as a busy machine may have it
		mu.Unlock()
		time.Sleep(10 * time.Millisecond)
		mu.Lock()
	}
	s.out.Answered, s.out.CPU, s.out.Seconds = count, cpuTime(s.PID)-cpu, time.Since(from).Seconds()
	mu.Unlock()
	end.Store(true)
	group.Wait()
	if resumed := s.dtls.Stats().Resumed; s.Secure.Resume && resumed == 0 && count > 2*few {
		return fmt.Errorf("none of %d sessions was resumed", count)
	}
	return fail
}

// requests asks for a time, with Window requests of each session on the way.
func (s *secure) requests() error {
	all, err := s.sessions()
	if err != nil {
		return err
	}
	return s.ask(all, s.forTime())
}

// forTime returns a progress for ask: until the time is over, of which the beginning does not count.
func (s *secure) forTime() func(mids uint16) bool {
	began, warm := time.Now(), true
	var cpu time.Duration
	return func(mids uint16) bool {
		switch passed := time.Since(began); {
		case warm && passed >= s.Warm:
			warm, began = false, time.Now()
			s.out, s.times = outcome{}, histogram{}
			cpu = cpuTime(s.PID)
		case !warm && (passed >= s.Time && (s.out.Answered > 0 || passed > s.Time+5*time.Second) || mids >= midsOfAddress):
			s.out.CPU, s.out.Seconds = cpuTime(s.PID)-cpu, passed.Seconds()
			return false
		}
		return true
	}
}

// onceEach is a progress for ask: until each session has had an answer.
func (s *secure) onceEach(uint16) bool {
	return s.out.Answered+s.out.Bad < uint64(s.Clients)
}

// flying is a place for one request.
type flying struct {
	session    int
	sent       time.Time
	generation uint16
	answered   bool
}

// ask keeps Window requests of each session on the way while progress, which is told the highest message ID, reports true. One
// that is lost is not repeated: its place is lost, too.
func (s *secure) ask(sessions []*transport.Session, progress func(mids uint16) bool) error {
	stuck := time.AfterFunc(s.Warm+s.Time+10*time.Second, func() { s.conn.Close() })
	defer stuck.Stop()
	const most = 32
	slots, mids := make([]flying, len(sessions)*max(s.Window, 1)), make([]uint16, len(sessions))
	in, out := make([]transport.Datagram, most), make([]transport.Datagram, 0, most)
	inRoom, outRoom := make([][roomLen]byte, most), make([][roomLen]byte, most)
	options := pathOptions(s.Path, false)
	var highest uint16
	send := func() error {
		_, err := s.conn.WriteBatch(out)
		out = out[:0]
		return err
	}
	request := func(i int) error {
		f := &slots[i]
		f.session, f.sent, f.answered = i%len(sessions), time.Now(), false
		f.generation++
		mids[f.session]++
		highest = max(highest, mids[f.session])
		b := append(outRoom[len(out)][:0], 0x44, 1)
		b = binary.BigEndian.AppendUint16(b, mids[f.session])
		b = binary.BigEndian.AppendUint16(b, uint16(i))
		b = append(binary.BigEndian.AppendUint16(b, f.generation), options...)
		out = append(out, transport.Datagram{Data: b, Remote: member(f.session), Session: sessions[f.session]})
		if len(out) == most {
			return send()
		}
		return nil
	}
	next := 0 // the slot that has not asked yet; they begin slowly
	for progress(highest) {
		for range most {
			if next == len(slots) {
				break
			}
			if err := request(next); err != nil {
				return err
			}
			next++
		}
		if err := send(); err != nil {
			return err
		}
		for i := range in {
			in[i] = transport.Datagram{Data: inRoom[i][:]}
		}
		n, err := s.conn.ReadBatch(in)
		if err != nil {
			return fmt.Errorf("%d of %d are without an answer: %w", s.unanswered(slots), len(slots), err)
		}
		for _, d := range in[:n] {
			if i, ok := s.answer(slots, d); ok && s.Time > 0 {
				if err := request(i); err != nil {
					return err
				}
			}
		}
	}
	s.out.Lost = uint64(s.unanswered(slots))
	return nil
}

// answer takes in an answer and returns to which request.
func (s *secure) answer(slots []flying, d transport.Datagram) (i int, ok bool) {
	b := d.Data
	if d.Err != nil || len(b) < 8 || b[1] == 0 || b[0]&15 != 4 {
		return 0, false
	}
	if i = int(binary.BigEndian.Uint16(b[4:])); i >= len(slots) || slots[i].answered || binary.BigEndian.Uint16(b[6:]) != slots[i].generation {
		return 0, false
	}
	slots[i].answered = true
	if b[1] != 0x45 {
		s.out.Bad++
	} else {
		s.out.Answered++
		s.times.add(time.Since(slots[i].sent))
	}
	return i, true
}

func (s *secure) unanswered(slots []flying) (n int) {
	for i := range slots {
		if f := &slots[i]; !f.answered && !f.sent.IsZero() && time.Since(f.sent) > patience {
			n++
		}
	}
	return n
}

// flood begins handshakes that stay unfinished, then sees how long one more client has to wait for an answer.
func (s *secure) flood() error {
	datagrams := s.Clients
	if s.Secure.Proven {
		datagrams *= 2 // one more with the cookie
	}
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	for i := range s.Clients {
		go func() { _, _ = s.dial(ctx, i) }()
	}
	for s.crowd.sentSoFar() < datagrams && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond) // the server deals with them, and they do not yet send again
	good, err := newSecure(load{To: s.To, PID: s.PID, Path: s.Path, Clients: 1, Window: 1, Secure: s.Secure}, false)
	if err != nil {
		return err
	}
	defer good.crowd.Close()
	began, cpu := time.Now(), cpuTime(s.PID)
	for err = errors.New("not tried"); err != nil && ctx.Err() == nil; {
		var session *transport.Session
		if session, err = good.dial(ctx, s.Clients); err == nil {
			err = good.ask([]*transport.Session{session}, good.onceEach)
		}
	}
	s.times.add(time.Since(began))
	s.out.Answered, s.out.CPU = good.out.Answered, cpuTime(s.PID)-cpu
	return err
}
