package main

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A subject is one of those that are compared.
type subject struct {
	name  string
	start func(*bench) (*process, error)
}

// The names of those who are compared.
const (
	nameOurs    = "coapkit"
	nameGoCoAP  = "go-coap"
	nameLibcoap = "libcoap"
	nameBatch   = "c-mmsg64"
	nameOne     = "c-one"
	nameFan     = "c-fan"
)

// ours is this library; what is not said in t is the default.
func ours(name string, t serveTask) subject {
	t.Who = "ours"
	return subject{name, func(b *bench) (*process, error) { return b.startServer(t) }}
}

func goCoAP() subject {
	return subject{nameGoCoAP, func(b *bench) (*process, error) { return b.startServer(serveTask{Who: "gocoap"}) }}
}

func (b *bench) startServer(t serveTask) (*process, error) {
	return b.listening(startSelf(b.ctx, b.serverCore, "serve", t))
}

// listening waits until a server says where, and gives it the same buffers as all others.
func (b *bench) listening(p *process, err error) (*process, error) {
	if err != nil {
		return nil, err
	}
	if p, err = p.awaitListening(); err == nil {
		enlargeOf(p.pid())
	}
	return p, err
}

// limits returns the limits of the kernel that are to be had, of those named: one, batch, fan.
func (b *bench) limits(length int, modes ...string) []subject {
	if b.limit != nil {
		return nil
	}
	names := map[string]string{"one": nameOne, "batch": nameBatch, "fan": nameFan}
	var all []subject
	for _, mode := range modes {
		all = append(all, subject{names[mode], func(b *bench) (*process, error) {
			return b.listening(start(b.ctx, b.serverCore, filepath.Join(b.dir, "echo"), mode, strconv.Itoa(length)))
		}})
	}
	return all
}

// libcoap returns the server of libcoap, if it is installed, with a resource of some content.
func (b *bench) libcoap(path, content string) []subject {
	server, client := firstProgram("coap-server-notls", "coap-server"), firstProgram("coap-client-notls", "coap-client")
	if server == "" || client == "" {
		return nil
	}
	return []subject{{nameLibcoap, func(b *bench) (*process, error) {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		p, err := start(b.ctx, b.serverCore, server, "-A", "127.0.0.1", "-p", fmt.Sprint(port), "-d", "10", "-v", "0")
		if err != nil {
			return nil, err
		}
		p.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)
		if err = awaitAnswer(p.addr); err == nil {
			enlargeOf(p.pid())
			err = b.putByLibcoap(client, "coap://"+p.addr.String()+path, content)
		}
		if err != nil {
			p.stop()
			return nil, err
		}
		return p, nil
	}}}
}

// putByLibcoap makes a resource: the server of libcoap has none that fits.
func (b *bench) putByLibcoap(client, uri, content string) error {
	file := filepath.Join(b.dir, "content")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		return err
	}
	if out, err := exec.CommandContext(b.ctx, client, "-b", "1024", "-m", "put", "-f", file, uri).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", client, err, out)
	}
	return nil
}

func firstProgram(names ...string) string {
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return path
		}
	}
	return ""
}

// results are the medians of each subject, and what went wrong with the others.
type results struct {
	of     map[string]figures
	failed map[string]error
}

// get returns a figure of a subject, NaN if there is none.
func (r *results) get(name, figure string) float64 { return r.of[name].get(figure) }

// compare lets subjects take turns for some rounds, each time with a fresh server.
func (b *bench) compare(what string, rounds int, subjects []subject, run func(s subject, p *process) (figures, error)) *results {
	runs, r := map[string][]figures{}, &results{map[string]figures{}, map[string]error{}}
	for round := range rounds {
		for i := range subjects {
			s := subjects[i]
			if round%2 == 1 {
				s = subjects[len(subjects)-1-i]
			}
			if b.ctx.Err() != nil {
				return r
			}
			b.say("%s, round %d of %d: %s", what, round+1, rounds, s.name)
			f, err := b.runOne(s, run)
			if err != nil {
				b.say("%s: %s: %v", what, s.name, err)
				r.failed[s.name] = err
				continue
			}
			runs[s.name] = append(runs[s.name], f)
		}
	}
	for name, f := range runs {
		r.of[name] = medians(f)
	}
	for name := range r.failed {
		if strings.HasPrefix(name, nameOurs) {
			b.failed = append(b.failed, what+": "+name)
		}
	}
	return r
}

func (b *bench) runOne(s subject, run func(s subject, p *process) (figures, error)) (figures, error) {
	p, err := s.start(b)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	return run(s, p)
}

// put puts a load on a server and returns what came of it.
func (b *bench) put(p *process, l load) (*outcome, error) {
	l.To, l.PID = p.addr, p.pid()
	if l.Most == 0 {
		l.Most = b.most
	}
	if l.Time == 0 && !l.Once && !l.Observe {
		l.Time = b.time()
		l.Warm = min(l.Time/4, 300*time.Millisecond)
	}
	var out outcome
	if err := runSelf(b.ctx, b.loadCore, "load", l, &out); err != nil {
		return nil, err
	}
	if out.Error != "" {
		return nil, fmt.Errorf("load: %s", out.Error)
	}
	if out.Answered+out.Notes == 0 && !(l.Observe && l.Time == 0) {
		return nil, fmt.Errorf("nothing was answered well, %d otherwise, %d not at all", out.Bad, out.Lost)
	}
	return &out, nil
}

// putFigures is put for a load whose figures are all that matters.
func (b *bench) putFigures(l load) func(subject, *process) (figures, error) {
	return func(_ subject, p *process) (figures, error) {
		out, err := b.put(p, l)
		if err != nil {
			return nil, err
		}
		return out.figures(), nil
	}
}
