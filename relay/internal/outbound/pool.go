package outbound

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Bounds of the pool.
const (
	maxHops = 1024 // next hops whose rotation is remembered without a connection
	// crowdFor is how long it is remembered that a next hop takes no more
	// connections at once.
	crowdFor = time.Minute
)

var errClosed = errors.New("client is closed")

// pool keeps idle connections and counts those in use. It is safe for
// concurrent use.
type pool struct {
	patience time.Duration // with which a place is waited for

	mu     sync.Mutex
	hops   map[hopKey]*places
	shelf  shelf
	timer  *time.Timer // runs while there are idle connections
	rings  time.Time   // when it does
	closed bool
}

// places are what the pool knows of a next hop.
type places struct {
	open      int // connections, idle ones included, and those being made
	turn      int // rotation of the next connection
	most      int // connections it takes, until crowdEnds
	crowdEnds time.Time
	idle      []*conn
	waits     []chan *conn // each gets a connection, or nil for leave to make one
}

// get returns an idle connection, or nil for leave to make one: then either put
// or leave must follow. When max connections are open already, it waits for one
// of them. No bound when max is negative.
func (p *pool) get(ctx context.Context, key hopKey, max int) (*conn, error) {
	p.mu.Lock()
	for {
		if p.closed {
			p.mu.Unlock()
			return nil, errClosed
		}
		h := p.at(key)
		if len(h.idle) == 0 {
			return p.place(ctx, h, key, max)
		}
		c := h.idle[len(h.idle)-1]
		h.idle = h.idle[:len(h.idle)-1]
		p.shelf.remove(c)
		p.mu.Unlock()
		switch {
		case !c.idle():
			c.close()
		case c.spent():
			c.quit()
		default:
			return c, nil
		}
		p.mu.Lock()
		p.leaveLocked(key)
	}
}

// at returns what is known of a next hop. The caller holds the lock.
func (p *pool) at(key hopKey) *places {
	if p.hops[key] == nil {
		p.hops[key] = new(places)
	}
	return p.hops[key]
}

// place gives leave to make a connection, or waits for one. The caller holds
// the lock, which is given up.
func (p *pool) place(ctx context.Context, h *places, key hopKey, max int) (*conn, error) {
	if n := h.bound(max); n < 0 || h.open < n {
		h.open++
		p.mu.Unlock()
		return nil, nil
	}
	wait := make(chan *conn, 1)
	h.waits = append(h.waits, wait)
	p.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, p.patience, errNoPlace)
	defer cancel()
	select {
	case c := <-wait:
		return c, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	if i := slices.Index(h.waits, wait); i >= 0 {
		h.waits = slices.Delete(h.waits, i, i+1)
		p.mu.Unlock()
		return nil, context.Cause(ctx)
	}
	p.mu.Unlock()
	if c := <-wait; c != nil { // came at the same moment: pass it on
		p.put(c)
	} else {
		p.leave(key)
	}
	return nil, context.Cause(ctx)
}

// bound is max, or what is known of the next hop if that is less.
func (h *places) bound(max int) int {
	if h.crowdEnds.IsZero() {
		return max
	}
	if !time.Now().Before(h.crowdEnds) {
		h.crowdEnds = time.Time{}
		return max
	}
	if max < 0 {
		return h.most
	}
	return min(max, h.most)
}

// crowd takes the place of a connection away that the next hop would not serve
// beside the others, and reports whether there are others: then one of them is
// worth waiting for. Else the place is still held.
func (p *pool) crowd(key hopKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hops[key]
	if h.open < 2 {
		return false
	}
	h.open--
	h.most, h.crowdEnds = h.open, time.Now().Add(crowdFor)
	return true
}

// scarce tells whether a next hop is known to take no more connections.
func (p *pool) scarce(key hopKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hops[key]
	return h != nil && !h.crowdEnds.IsZero()
}

// limit is the number of connections that a next hop is known to take at once,
// at most max.
func (p *pool) limit(key hopKey, max int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h := p.hops[key]; h != nil {
		return h.bound(max)
	}
	return max
}

// put gives a connection back for others to use.
func (p *pool) put(c *conn) {
	key := c.pool.key
	p.mu.Lock()
	h := p.hops[key]
	if p.closed {
		p.leaveLocked(key)
		p.mu.Unlock()
		c.quit()
		return
	}
	if len(h.waits) > 0 {
		wait := h.waits[0]
		h.waits = slices.Delete(h.waits, 0, 1)
		p.mu.Unlock()
		wait <- c
		return
	}
	var old *conn
	if p.shelf.n == maxIdle {
		old = p.shelf.oldest
		p.expel(old)
	}
	p.shelf.add(c)
	h.idle = append(h.idle, c)
	if p.timer == nil || c.pool.until.Before(p.rings) {
		p.wind(c.pool.until)
	}
	p.mu.Unlock()
	if old != nil {
		old.quit()
	}
}

// leave tells that a connection has gone, or was not made.
func (p *pool) leave(key hopKey) {
	p.mu.Lock()
	p.leaveLocked(key)
	p.mu.Unlock()
}

func (p *pool) leaveLocked(key hopKey) {
	h := p.hops[key]
	if len(h.waits) > 0 {
		h.waits[0] <- nil
		h.waits = slices.Delete(h.waits, 0, 1)
		return
	}
	h.open--
	// Smart hosts are few and their rotation is worth keeping; recipient
	// domains have no end.
	if h.open == 0 && (key.domain != "" || len(p.hops) > maxHops) {
		delete(p.hops, key)
	}
}

// rotate returns 0 for the first connection to a next hop, 1 for the second and
// so on.
func (p *pool) rotate(key hopKey) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hops[key]
	h.turn++
	return h.turn - 1
}

// expel takes an idle connection out of the pool. The caller holds the lock.
func (p *pool) expel(c *conn) {
	h := p.hops[c.pool.key]
	i := slices.Index(h.idle, c)
	h.idle = slices.Delete(h.idle, i, i+1)
	p.shelf.remove(c)
	p.leaveLocked(c.pool.key)
}

// wind sets the timer. The caller holds the lock.
func (p *pool) wind(at time.Time) {
	if p.timer != nil {
		p.timer.Stop()
	}
	p.rings = at
	p.timer = time.AfterFunc(time.Until(at), p.reap)
}

// reap closes the connections that have been idle for too long, or are too old.
func (p *pool) reap() {
	p.mu.Lock()
	gone, next := p.shelf.overdue(time.Now())
	for _, c := range gone {
		p.expel(c)
	}
	p.timer = nil
	if !next.IsZero() && !p.closed {
		p.wind(next)
	}
	p.mu.Unlock()
	for _, c := range gone {
		c.quit()
	}
}

// close closes the idle connections and lets no others in.
func (p *pool) close() {
	var gone []*conn
	p.mu.Lock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	for c := p.shelf.oldest; c != nil; c = p.shelf.oldest {
		gone = append(gone, c)
		p.expel(c)
	}
	p.mu.Unlock()
	for _, c := range gone {
		c.quit()
	}
}
