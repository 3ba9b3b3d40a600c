package smtpd

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

const (
	maxOutput     = 4096 // replies kept back while commands are waiting
	lingerTimeout = 2 * time.Second
	lingerOctets  = 1 << 20
)

var errEnd = errors.New("smtpd: session ended")

// wire is the socket, with what is on its way in and out.
type wire struct {
	raw net.Conn // the socket
	rw  net.Conn // the socket, or TLS on it
	clock
	in     input
	out    []byte // replies not yet written
	deaf   bool   // a write failed: there is nobody to talk to
	hangup bool   // end after flushing
	linger bool   // the client may still be sending: let it read the last reply first
}

// fill reads more input. Replies are written first: the client may be waiting
// for them (RFC 2920 section 3.2).
func (w *wire) fill(until time.Time, idle bool) error {
	if err := w.flush(); err != nil {
		return err
	}
	room := w.in.room()
	if len(room) == 0 {
		return errEnd // callers keep their limits below the size of the buffer
	}
	w.armRead(w.raw, until, idle)
	n, err := w.rw.Read(room)
	w.in.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// say queues a reply.
func (w *wire) say(code int, enhanced, text string) {
	w.out = appendReply(w.out, code, enhanced, text)
	if len(w.out) > maxOutput {
		_ = w.flush()
	}
}

// flush writes the replies.
func (w *wire) flush() error {
	if w.deaf {
		return errEnd
	}
	if len(w.out) == 0 {
		return nil
	}
	w.armWrite(w.raw)
	_, err := w.rw.Write(w.out)
	if w.out = w.out[:0]; cap(w.out) > 1024 {
		w.out = nil
	}
	if err != nil {
		w.deaf, w.hangup = true, true
	}
	return err
}

// last lets the client read the reply that ends the session, though it may
// still be sending.
func (w *wire) last() { w.hangup, w.linger = true, true }

// dismiss tells the session that the server shuts down. It may be called from
// any goroutine.
func (w *wire) dismiss() { w.interrupt(w.raw) }

// drain lets the last reply arrive: closing a socket with unread input resets
// the connection, and the client loses what it has not read.
func (w *wire) drain() {
	if c, ok := w.rw.(*tls.Conn); ok {
		_ = c.CloseWrite()
	}
	half, ok := w.raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = w.raw.SetReadDeadline(time.Now().Add(lingerTimeout))
	_, _ = io.Copy(io.Discard, io.LimitReader(w.raw, lingerOctets))
}
