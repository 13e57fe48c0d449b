package blockwise

import (
	"errors"
	"io"
)

// source is a body to be cut into blocks.
type source interface {
	// block returns at most size bytes from off on, a view that is valid until the next call,
	// and whether more follow. errOutOfOrder says that off cannot be reached any more.
	block(off int64, size int) (p []byte, more bool, err error)
	// length returns the number of bytes, -1 if unknown.
	length() int64
	// restarts reports whether block can go back to 0.
	restarts() bool
}

var errOutOfOrder = errors.New("the body is a stream, whose blocks come one after the other")

// errOutside is about a block that starts behind the end of the body.
var errOutside = errors.New("the block starts behind the end of the body")

// memory is a body of bytes.
type memory []byte

func (m memory) block(off int64, size int) ([]byte, bool, error) {
	if off > int64(len(m)) || off == int64(len(m)) && off > 0 {
		return nil, false, errOutside
	}
	rest := m[off:]
	if len(rest) <= size {
		return rest, false, nil
	}
	return rest[:size:size], true, nil
}

func (m memory) length() int64  { return int64(len(m)) }
func (m memory) restarts() bool { return true }

// random is a body that is read at random access.
type random struct {
	r     io.ReadSeeker
	total int64
	buf   []byte
}

// newRandom finds out how long the body is.
func newRandom(r io.ReadSeeker) (random, error) {
	total, err := r.Seek(0, io.SeekEnd)
	return random{r: r, total: total}, err
}

func (s *random) block(off int64, size int) ([]byte, bool, error) {
	if off > s.total || off == s.total && off > 0 {
		return nil, false, errOutside
	}
	if _, err := s.r.Seek(off, io.SeekStart); err != nil {
		return nil, false, err
	}
	n := int(min(int64(size), s.total-off))
	if cap(s.buf) < n {
		s.buf = make([]byte, size)
	}
	// A body that has become shorter is an error, not the end.
	if _, err := io.ReadFull(s.r, s.buf[:n]); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, false, err
	}
	return s.buf[:n], off+int64(n) < s.total, nil
}

func (s *random) length() int64  { return s.total }
func (s *random) restarts() bool { return true }

// stream is a body that is read once, from beginning to end. It keeps the last block that was
// asked for and one byte, which tells whether more follow; so the last block may be asked for
// again, in smaller blocks too.
type stream struct {
	r     io.Reader
	size  int64  // as claimed, -1 if unknown
	start int64  // offset of buf
	buf   []byte // what was read and may still be asked for
	eof   bool
}

// newStream makes a source of a reader that stands at byte start.
func newStream(r io.Reader, start, size int64) *stream {
	return &stream{r: r, start: start, size: size}
}

func (s *stream) block(off int64, size int) ([]byte, bool, error) {
	if off < s.start || off > s.start+int64(len(s.buf)) {
		return nil, false, errOutOfOrder
	}
	n := copy(s.buf, s.buf[off-s.start:])
	s.start, s.buf = off, s.buf[:n]
	if err := s.fill(size + 1); err != nil {
		return nil, false, err
	}
	if len(s.buf) == 0 && off > 0 {
		return nil, false, errOutside
	}
	if len(s.buf) <= size {
		return s.buf, false, nil
	}
	return s.buf[:size:size], true, nil
}

// fill reads until buf holds n bytes or the reader is at its end.
func (s *stream) fill(n int) error {
	if cap(s.buf) < n {
		s.buf = append(make([]byte, 0, n), s.buf...)
	}
	for len(s.buf) < n && !s.eof {
		got, err := io.ReadAtLeast(s.r, s.buf[len(s.buf):n], n-len(s.buf))
		s.buf = s.buf[:len(s.buf)+got]
		switch {
		case err == io.EOF, err == io.ErrUnexpectedEOF:
			s.eof = true
		case err != nil:
			return err
		}
	}
	return nil
}

func (s *stream) length() int64  { return s.size }
func (s *stream) restarts() bool { return false }

// closeBody closes a body that was given as a reader.
func closeBody(body io.Reader) {
	if c, ok := body.(io.Closer); ok {
		c.Close()
	}
}
