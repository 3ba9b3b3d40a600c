package relaytest

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// window bounds the octets on their way in one direction, as a socket's
// buffers do: whoever writes more waits for the reader.
const window = 64 << 10

// conn is one end of a connection in memory.
type conn struct {
	in, out       *stream
	local, remote net.Addr
}

// pipe makes both ends of a connection.
func pipe(client, server net.Addr, f Fault) (atClient, atServer *conn) {
	up := newStream(f.Latency, 0, 0)
	down := newStream(f.Latency, f.CutAfter, f.StallAfter)
	return &conn{in: down, out: up, local: client, remote: server},
		&conn{in: up, out: down, local: server, remote: client}
}

func (c *conn) Read(b []byte) (int, error)  { return c.in.read(b) }
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b) }
func (c *conn) LocalAddr() net.Addr         { return c.local }
func (c *conn) RemoteAddr() net.Addr        { return c.remote }

// Close ends both directions. What was written before can still be read.
func (c *conn) Close() error {
	c.out.end()
	c.in.abandon()
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.reading, t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writing, t)
	return nil
}

// stream is one direction of a connection.
type stream struct {
	latency  time.Duration
	cut      int64 // octets until the connection ends; 0 for never
	stall    int64 // octets until nothing arrives any more; 0 for never
	mu       sync.Mutex
	changed  sync.Cond
	chunks   []chunk
	size     int   // of the chunks
	written  int64 // in all
	ended    bool  // by the writer
	left     bool  // by the reader
	reading  deadline
	writing  deadline
	arriving *time.Timer // for the first chunk
}

type chunk struct {
	data []byte
	at   time.Time // of arrival
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func newStream(latency time.Duration, cut, stall int64) *stream {
	s := &stream{latency: latency, cut: cut, stall: stall}
	s.changed.L = &s.mu
	return s
}

func (s *stream) wake() {
	s.mu.Lock()
	s.changed.Broadcast()
	s.mu.Unlock()
}

func (s *stream) setDeadline(d *deadline, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.at, d.timer = t, nil
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, s.wake)
	}
	s.changed.Broadcast()
}

func (s *stream) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.left:
			return 0, net.ErrClosed
		case s.reading.passed():
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		}
		if len(s.chunks) > 0 {
			if wait := time.Until(s.chunks[0].at); wait <= 0 {
				return s.take(b), nil
			} else if s.arriving == nil {
				s.arriving = time.AfterFunc(wait, s.arrive)
			}
		} else if s.ended {
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

func (s *stream) arrive() {
	s.mu.Lock()
	s.arriving = nil
	s.changed.Broadcast()
	s.mu.Unlock()
}

// take moves octets of the first chunk to b.
func (s *stream) take(b []byte) int {
	first := &s.chunks[0]
	n := copy(b, first.data)
	if first.data = first.data[n:]; len(first.data) == 0 {
		s.chunks = s.chunks[1:]
	}
	s.size -= n
	s.changed.Broadcast()
	return n
}

func (s *stream) write(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(b) > 0 {
		switch {
		case s.ended:
			return n, net.ErrClosed
		case s.left:
			return n, io.ErrClosedPipe
		case s.writing.passed():
			return n, os.ErrDeadlineExceeded
		case s.size >= window:
			s.changed.Wait()
			continue
		}
		part := min(len(b), window-s.size)
		s.send(b[:part])
		n, b = n+part, b[part:]
	}
	return n, nil
}

// send puts octets on their way, as far as the faults let them through.
func (s *stream) send(b []byte) {
	if s.stall > 0 {
		b = b[:max(0, min(int64(len(b)), s.stall-s.written))]
	}
	if s.cut > 0 && s.written+int64(len(b)) >= s.cut {
		b = b[:s.cut-s.written]
		s.ended = true
	}
	s.written += int64(len(b))
	if len(b) > 0 {
		data := append([]byte(nil), b...)
		s.chunks = append(s.chunks, chunk{data, time.Now().Add(s.latency)})
		s.size += len(data)
	}
	s.changed.Broadcast()
}

// end is the writer's close.
func (s *stream) end() {
	s.mu.Lock()
	s.ended = true
	s.changed.Broadcast()
	s.mu.Unlock()
}

// abandon is the reader's close.
func (s *stream) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.left, s.chunks, s.size = true, nil, 0
	for _, t := range []*time.Timer{s.reading.timer, s.writing.timer, s.arriving} {
		if t != nil {
			t.Stop()
		}
	}
	s.changed.Broadcast()
}
