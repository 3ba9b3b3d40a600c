package outbound

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// pendingReply is how long a reply that may already be there is waited for
// after a write failed.
const pendingReply = 5 * time.Second

// conn is an established connection. One delivery at a time reads it, and one
// writes to it.
type conn struct {
	raw      net.Conn      // as dialled
	net      net.Conn      // raw, or TLS on it
	host     string        // for results: name [ip]:port
	addr     string        // as dialled
	ext      extensions    // of the last EHLO
	limit    int           // transactions the connection is good for; negative: no limit
	used     int           // transactions begun
	open     bool          // the peer may have a transaction open: RSET comes first
	bad      atomic.Bool   // not to be used again
	dead     bool          // nothing more can be read
	said421  bool          // the last that the peer has said: it is about to close
	skips    bool          // the peer has shown that it skips refused chunks
	runs     bool          // the peer has not shown it when it was asked to
	marks    marks         // of its replies
	order    order         // of the deliveries that use it
	out      []byte        // commands not yet written
	in       replyReader   // replies
	rep      reply         // the last reply
	peek     func() bool   // whether the peer is silent and there
	ack      func()        // acknowledges at once what has come
	times    *Config       // timeouts
	wait     time.Duration // for the next reply, until the clock is set
	fellBack bool          // in the clear because TLS failed
	pool     poolEntry     // the pool's
	ticket   *ticket       // for TLS

	interrupted atomic.Bool // the reader's context has ended
	mute        atomic.Bool // the writer's has
	wrote       atomic.Bool // something, since the peer was heard last
}

func newConn(raw net.Conn, host, addr string, cfg *Config) *conn {
	c := &conn{raw: raw, host: host, addr: addr, times: cfg, out: make([]byte, 0, 1024)}
	c.use(raw)
	if sc, ok := raw.(syscall.Conn); ok {
		if rc, err := sc.SyscallConn(); err == nil {
			c.peek, c.ack = peeker(rc), acker(rc)
		}
	}
	return c
}

// use makes nc the way to the peer and forgets what came over the one before.
func (c *conn) use(nc net.Conn) {
	c.net = nc
	c.in.src, c.in.r, c.in.w = c, 0, 0
}

// idle tells whether an unused connection is fit for use: still there, and
// nothing has been said on it. What a server says unasked is that it is about
// to close, or a reply too many that would be taken for the answer to something
// else.
func (c *conn) idle() bool {
	return !c.in.buffered() && (c.peek == nil || c.peek())
}

// outOfOrder tells whether a peer that offers PIPELINING answers as if the
// commands before had not come: it may manage one at a time.
func (c *conn) outOfOrder(rep *reply) bool { return c.ext.pipelining && rep.code == 503 }

// tlsBroke tells whether a connection that was lost before MAIL was answered
// may have been lost over TLS, and that it is worth another try without.
func (c *conn) tlsBroke(h *hop, why *delivery.Error) bool {
	e, ok := errors.AsType[net.Error](why.Err)
	return c.secure() && h.mayFallBack() && why.Reply.Code == 0 && !(ok && e.Timeout())
}

// write sends p within the timeout.
func (c *conn) write(p []byte, timeout time.Duration) error {
	if err := c.net.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return err
	}
	if c.mute.Load() {
		return os.ErrDeadlineExceeded
	}
	_, err := c.net.Write(p)
	c.wrote.Store(true)
	return err
}

// errUnasked tells that a peer is not in step: what it says next would answer
// another command than the one it is read for.
var errUnasked = errors.New("reply without a command")

// flush sends the commands gathered in out, when all before are answered or the
// replies are for others.
func (c *conn) flush(ahead bool) error {
	if !ahead && c.in.buffered() {
		return errUnasked
	}
	err := c.write(c.out, c.times.CommandTimeout)
	c.out = c.out[:0]
	return err
}

// read waits for a whole reply within the timeout. The reply is valid until the
// next read.
func (c *conn) read(timeout time.Duration, each func([]byte)) (*reply, error) {
	c.wait = timeout
	if err := c.in.read(&c.rep, each); err != nil {
		if c.dead = !c.interrupted.Load(); c.dead {
			c.bad.Store(true)
		}
		return nil, err
	}
	if c.said421 = c.rep.code == 421; c.said421 { // RFC 5321 section 3.8
		c.bad.Store(true)
	}
	return &c.rep, nil
}

// Read is for the reply reader. It sets the clock once for a reply, and not at
// all for one that came with another. Many peers keep a reply back until the
// one before is acknowledged (RFC 896), which takes 40 ms where nothing is
// written that could carry it.
func (c *conn) Read(p []byte) (int, error) {
	if c.wait > 0 {
		if err := c.net.SetReadDeadline(time.Now().Add(c.wait)); err != nil {
			return 0, err
		}
		c.wait = 0
	}
	if c.interrupted.Load() {
		return 0, os.ErrDeadlineExceeded
	}
	if c.ack != nil && !c.wrote.Load() {
		c.ack()
	}
	n, err := c.net.Read(p)
	c.wrote.Store(false)
	return n, err
}

// command sends one line and waits for its reply.
func (c *conn) command(line string, each func([]byte)) (*reply, error) {
	c.out = append(append(c.out[:0], line...), '\r', '\n')
	if err := c.flush(false); err != nil {
		return nil, err
	}
	return c.read(c.times.CommandTimeout, each)
}

// part says good-bye and waits a moment for the peer to close: it has no room
// for another connection before.
func (c *conn) part() {
	if !c.bad.Load() && c.write([]byte("QUIT\r\n"), time.Second) == nil {
		c.net.SetReadDeadline(time.Now().Add(time.Second))
		io.Copy(io.Discard, io.LimitReader(c.net, maxReplyBytes))
	}
	c.close()
}

// quit says good-bye without waiting for an answer, and closes.
func (c *conn) quit() {
	if !c.bad.Load() {
		c.write([]byte("QUIT\r\n"), time.Second)
	}
	c.close()
}

// close closes at once. Under TLS it sends no alert: that could block on a peer
// that does not read.
func (c *conn) close() { c.raw.Close() }

// secure tells whether TLS is on.
func (c *conn) secure() bool {
	_, ok := c.net.(*tls.Conn)
	return ok
}
