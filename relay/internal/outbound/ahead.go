package outbound

import (
	"slices"
	"time"
)

// Bounds of what goes ahead on a connection.
const (
	// aheadDepth is how many deliveries a connection can have whose peer skips
	// refused chunks. Each of those under way has written less than a buffer.
	aheadDepth = 8
	// maxUnread bounds their recipients: replies to them must fit into the
	// buffers between the two sides (RFC 2920 section 3.1).
	maxUnread = 64
	// quickReply is how soon the last reply must come for others to go ahead.
	quickReply = time.Second
	// nearby is the round trip of which a connection loses nothing: others gain
	// nothing by going ahead.
	nearby = 2 * time.Millisecond
)

// join takes the writing turn of a busy connection, if one is to be had and
// nobody has waited for it before. The caller holds the lock.
func (p *pool) join(h *places, s *seat) *conn {
	if !s.may || len(h.joinable) == 0 || len(h.waits) > 0 {
		return nil
	}
	c := h.joinable[0]
	p.follow(h, c, s)
	return c
}

// follow puts a delivery behind those of a connection.
func (p *pool) follow(h *places, c *conn, s *seat) {
	p.shun(h, c)
	h.pressed = true
	s.behind, c.order.writing = true, true
	c.order.behind = append(c.order.behind, s)
}

// shun lets nobody go ahead on a connection for now.
func (p *pool) shun(h *places, c *conn) {
	if c.order.open {
		c.order.open = false
		i := slices.Index(h.joinable, c)
		h.joinable = slices.Delete(h.joinable, i, i+1)
	}
}

// depth is how many deliveries a connection can have at once.
func (c *conn) depth() int {
	switch {
	case !c.ext.pipelining || c.order.alone:
		return 1
	case c.skips:
		return aheadDepth
	}
	return 2
}

// deliveries is how many are worth beginning at once, on at most so many
// connections.
func (h *places) deliveries(connections int) int {
	n := min(h.roof(connections), h.growth.worth())
	if h.near() {
		return n
	}
	return n * max(1, h.depth)
}

// near tells whether a next hop is so near that nothing is won by going ahead
// of others on a connection.
func (h *places) near() bool { return 0 < h.trip && h.trip < nearby }

// tripped takes in the time from an envelope to the replies. The shortest
// is the round trip, and counts less with each that comes after it.
func (h *places) tripped(d time.Duration) {
	if h.trip += h.trip / 32; h.trip == 0 || d < h.trip {
		h.trip = d
	}
}

// offer gives up the writing turn: the end of the content is written.
func (p *pool) offer(c *conn, s *seat) {
	if !c.ext.pipelining {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.sent, s.since = s.behind, time.Now()
	c.order.writing = false
	c.mute.Store(false) // if its context has ended, that came too late
	p.offerLocked(c)
}

// offerLocked lets a delivery go ahead on a connection: the first that waits
// for one, or whoever comes.
func (p *pool) offerLocked(c *conn) {
	h := p.hops[c.pool.key]
	switch {
	case p.closed || !c.mayBeJoined(h):
	case len(h.waits) == 0:
		c.order.open = true
		h.joinable = append(h.joinable, c)
	case h.waits[0].may:
		s := h.waits[0]
		h.waits = slices.Delete(h.waits, 0, 1)
		p.follow(h, c, s)
		s.word <- c
	}
}

// mayBeJoined tells whether one more delivery may go ahead on a connection. A
// new one is as quick as those before.
func (c *conn) mayBeJoined(h *places) bool {
	o := &c.order
	if o.writing || o.open || o.shut || o.slow || !o.timed && h.depth < 2 || c.spent() {
		return false
	}
	if 1+len(o.behind) >= c.depth() || h.near() {
		return false
	}
	unread := 0
	for _, s := range o.behind {
		unread += s.recipients
	}
	return unread < maxUnread
}

// pass hands the reading turn on, and with it the connection's place in the
// pool. It reports false if nobody takes it. With keep the place is not given
// away, unless somebody behind has sent all and waits for the replies. The
// others learn that the connection is gone.
func (p *pool) pass(c *conn, s *seat, keep bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	o, h := &c.order, p.hops[c.pool.key]
	p.timed(h, c, s)
	if c.dead || len(o.behind) == 0 || keep && !o.behind[0].sent {
		p.shun(h, c)
		for _, w := range o.behind {
			w.word <- nil
		}
		clear(o.behind)
		o.behind, o.front, o.writing = o.behind[:0], nil, false
		o.shut = o.shut || c.dead || keep
		return false
	}
	next := o.behind[0]
	o.behind = slices.Delete(o.behind, 0, 1)
	next.debt += s.debt + s.owed
	o.front, s.gone = next, true
	c.interrupted.Store(false)
	next.word <- c
	p.offerLocked(c)
	return true
}

// timed notes how the host answers.
func (p *pool) timed(h *places, c *conn, s *seat) {
	c.marks.settle()
	if s.trip > 0 {
		h.tripped(s.trip)
	}
	if s.since.IsZero() || c.dead {
		return
	}
	c.order.alone = c.order.alone || c.marks.odd
	c.order.timed, c.order.slow = true, time.Since(s.since) >= quickReply
	switch {
	case c.order.slow:
		h.depth = 1
	case c.runs:
		h.depth = c.depth()
	default:
		h.depth = max(h.depth, c.depth())
	}
}

// withdraw leaves a connection on which nothing was said. Replies to those in
// front that have left would be taken for the answers to whoever comes next.
func (p *pool) withdraw(c *conn, s *seat) {
	p.mu.Lock()
	c.mute.Store(false) // its context may have ended
	if s.debt > 0 {
		c.bad.Store(true)
	}
	i := slices.Index(c.order.behind, s)
	if i >= 0 {
		c.order.behind = slices.Delete(c.order.behind, i, i+1)
		c.order.writing, s.gone = false, true
		p.offerLocked(c)
	}
	p.mu.Unlock()
	if i < 0 && <-s.word != nil && !p.pass(c, s, false) {
		p.release(c)
	}
}

// drop leaves the line behind others; replies may be still to come. It reports
// false when word of the turn is on its way.
func (p *pool) drop(c *conn, s *seat) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := &c.order
	i := slices.Index(o.behind, s)
	if i < 0 {
		return false
	}
	h := p.hops[c.pool.key]
	o.behind, s.gone = slices.Delete(o.behind, i, i+1), true
	if s.sent && i < len(o.behind) {
		o.behind[i].debt += s.debt + s.owed
		return true
	}
	c.bad.Store(true) // nobody is there to read what comes
	p.shun(h, c)
	if !s.sent {
		h.depth = 1
	}
	return true
}

// interrupt is for a context that has ended in one use of a seat. A connection
// that others use goes on.
func (p *pool) interrupt(c *conn, s *seat, use uint32) {
	if p.cut(c, s, use) {
		c.close() // the application's may wait, and the lock is everybody's
	}
}

// cut breaks off what a seat does; true if the connection is to be closed.
func (p *pool) cut(c *conn, s *seat, use uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.uses.Load() != use {
		return false
	}
	o := &c.order
	past := time.Unix(1, 0)
	switch {
	case o.front == s && len(o.behind) > 0:
		c.interrupted.Store(true)
		c.net.SetReadDeadline(past)
	case o.front == s:
		o.shut = true
		p.shun(p.hops[c.pool.key], c)
		return true
	case o.writing && slices.Index(o.behind, s) == len(o.behind)-1 && len(o.behind) > 0:
		c.mute.Store(true)
		c.net.SetWriteDeadline(past)
	}
	return false
}
