package smtpd

import (
	"net"
	"sync"
	"time"
)

const writeTimeout = time.Minute

// clock keeps the deadlines of a connection.
type clock struct {
	ends       time.Time // end of the connection timeout; zero when off
	writeUntil time.Time // write deadline in force

	mu      sync.Mutex
	idle    bool // may be told to go: set when the last read began
	closing bool // the server shuts down
}

// limit starts the connection timeout. d <= 0 is none.
func (k *clock) limit(d time.Duration) {
	k.ends = time.Time{}
	if d > 0 {
		k.ends = time.Now().Add(d)
	}
}

// over reports whether the connection timeout has ended.
func (k *clock) over() bool { return !k.ends.IsZero() && !time.Now().Before(k.ends) }

// deadline returns the time d from now, but not after the end of the connection
// timeout. d <= 0 is no limit of its own.
func (k *clock) deadline(d time.Duration) time.Time {
	if d <= 0 {
		return k.ends
	}
	t := time.Now().Add(d)
	if !k.ends.IsZero() && k.ends.Before(t) {
		return k.ends
	}
	return t
}

// armRead sets the deadline of the next read. idle says that a server that
// shuts down may cut the wait short.
func (k *clock) armRead(c net.Conn, t time.Time, idle bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.idle = idle
	if idle && k.closing {
		t = time.Unix(1, 0)
	}
	_ = c.SetReadDeadline(t)
}

// armWrite sets the deadline of the next write. It keeps one that is good for
// half the time: setting it costs more than looking.
func (k *clock) armWrite(c net.Conn) {
	if now := time.Now(); k.writeUntil.Sub(now) < writeTimeout/2 {
		k.writeUntil = now.Add(writeTimeout)
		_ = c.SetWriteDeadline(k.writeUntil)
	}
}

// armBoth sets both deadlines, for what reads and writes.
func (k *clock) armBoth(c net.Conn, t time.Time) {
	_ = c.SetWriteDeadline(t)
	k.writeUntil = time.Time{}
	k.armRead(c, t, true)
}

// interrupt ends an idle wait on c, and those to come, since the server shuts
// down.
func (k *clock) interrupt(c net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closing = true
	if k.idle {
		_ = c.SetReadDeadline(time.Unix(1, 0))
	}
}

func (k *clock) dismissed() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.closing
}
