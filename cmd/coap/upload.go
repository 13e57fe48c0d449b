package main

import (
	"context"
	"io"
	"os"

	"github.com/coapkit/coap"
)

// source is the payload of a request as a stream.
type source struct {
	body   io.Reader // nil if there is none
	close  func() error
	replay *replay // body, if it cannot be read again
}

// openSource opens what -f names; in is standard input, which - stands for.
func openSource(ctx context.Context, name string, in io.Reader) (*source, error) {
	if name == "-" {
		return streamOf(ctx, in, func() error { return nil })
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, whyNotRead(name, err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		f.Close()
		return nil, usagef("-f %s: this is a folder, want a file", name)
	}
	return streamOf(ctx, f, f.Close)
}

func whyNotRead(name string, err error) error { return usagef("-f %s: %v", name, err) }

// streamOf makes r a source. The rest of a regular file is read at random access, so that the length is
// known and a transfer may start again; anything else is read once.
func streamOf(ctx context.Context, r io.Reader, closer func() error) (*source, error) {
	if f, ok := r.(*os.File); ok {
		info, err := f.Stat()
		if err == nil && info.Mode().IsRegular() {
			at, err := f.Seek(0, io.SeekCurrent)
			if err != nil {
				return nil, whyNotRead(f.Name(), err)
			}
			return &source{body: io.NewSectionReader(f, at, max(info.Size()-at, 0)), close: closer}, nil
		}
	}
	replay := &replay{r: &patient{ctx: ctx, r: r}}
	return &source{body: replay, close: closer, replay: replay}, nil
}

// again prepares the source for being read from the start. It reports whether that is possible.
func (s *source) again() bool { return s == nil || s.replay == nil || s.replay.rewind() }

// replay is a stream that can be read again as long as little of it was read: while it is not
// known yet which address of a server answers.
type replay struct {
	r    io.Reader
	kept []byte // the beginning of r
	at   int    // how much of kept was read since
	gone bool   // more was read than is kept
}

// replayed is more than the first block and one byte, which tells whether others follow.
const replayed = 2 << 10

func (s *replay) Read(b []byte) (int, error) {
	if s.at < len(s.kept) {
		n := copy(b, s.kept[s.at:])
		s.at += n
		return n, nil
	}
	n, err := s.r.Read(b)
	if len(s.kept)+n > replayed {
		s.gone = true
	}
	if !s.gone {
		s.kept = append(s.kept, b[:n]...)
		s.at = len(s.kept)
	}
	return n, err
}

func (s *replay) rewind() bool {
	s.at = 0
	return !s.gone
}

// patient is a reader whose reads end with ctx. A read may go on behind it until the program ends.
type patient struct {
	ctx  context.Context
	r    io.Reader
	room []byte
	left []byte // of room
	err  error
}

// Read waits for data or the end of the context.
func (p *patient) Read(b []byte) (int, error) {
	if len(p.left) == 0 && p.err == nil {
		p.fill()
	}
	if len(p.left) == 0 {
		return 0, p.err
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	return n, nil
}

// fill reads once.
func (p *patient) fill() {
	if p.room == nil {
		p.room = make([]byte, 32<<10)
	}
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	r, room := p.r, p.room
	go func() {
		n, err := r.Read(room)
		done <- result{n, err}
	}()
	select {
	case got := <-done:
		p.left, p.err = p.room[:got.n], got.err
	case <-p.ctx.Done():
		p.err = p.ctx.Err() // and room belongs to the one that still reads
	}
}

// readAll is io.ReadAll that ends with ctx; the reader may go on until the program ends.
func readAll(ctx context.Context, r io.Reader) ([]byte, error) {
	return io.ReadAll(&patient{ctx: ctx, r: r})
}

// attach makes what -p and -f say the body of req. A group gets it in one message.
func (f *requestFlags) attach(ctx context.Context, in io.Reader, req *coap.Request, toGroup bool) (*source, error) {
	if !f.fromFile {
		req.Payload = []byte(f.payload)
		return nil, nil
	}
	src, err := openSource(ctx, f.file, in)
	if err != nil {
		return nil, err
	}
	if !toGroup {
		req.Body = src.body
		return src, nil
	}
	defer src.close()
	req.Payload, err = io.ReadAll(io.LimitReader(src.body, longestDatagram))
	switch stop := interrupted(ctx); {
	case stop != nil:
		return nil, stop
	case err != nil:
		return nil, whyNotRead(f.file, err)
	}
	return nil, nil
}
