package outbound

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"
)

// Bounds of the pool.
const (
	maxHops = 1024 // next hops that are remembered without a connection
	// crowdFor is how long it is remembered that a next hop takes no more
	// connections at once.
	crowdFor = time.Minute
	// growthFor is how long the number of connections is remembered when there
	// are none.
	growthFor = time.Minute
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
	max       int // of them, by the settings; negative: no bound
	turn      int // rotation of the next connection
	most      int // connections it takes, until crowdEnds
	crowdEnds time.Time
	growth    growth
	left      time.Time // the last connection
	idle      []*conn
	joinable  []*conn       // busy, and a delivery may go ahead on them
	pressed   bool          // a delivery has gone ahead for lack of a connection
	depth     int           // deliveries that one of its connections can have; 0: unknown
	trip      time.Duration // round trip, about; 0: unknown
	waits     []*seat       // each gets a connection, or nil for leave to make one
}

// get returns an idle connection, or nil for leave to make one: then either put
// or leave must follow. When max connections are open already, it goes ahead on
// one of them, which the seat then tells, or waits for one. No bound when max
// is negative.
func (p *pool) get(ctx context.Context, key hopKey, max int, s *seat) (*conn, error) {
	s.stand()
	p.mu.Lock()
	for {
		if p.closed {
			p.mu.Unlock()
			return nil, errClosed
		}
		h := p.at(key)
		if len(h.idle) == 0 {
			return p.place(ctx, h, key, max, s)
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

// opened counts the connections that some next hops have.
func (p *pool) opened(keys map[hopKey]bool) (open int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range keys {
		if h := p.hops[key]; h != nil {
			open += h.open
		}
	}
	return open
}

// at returns what is known of a next hop. The caller holds the lock.
func (p *pool) at(key hopKey) *places {
	h := p.hops[key]
	if h == nil {
		for range min(2, len(p.hops)-maxHops+1) { // two, to be fewer again
			p.forget()
		}
		h = new(places)
		h.growth.restart()
		p.hops[key] = h
	} else if h.open == 0 && time.Since(h.left) > growthFor {
		h.growth.restart()
	}
	return h
}

// forget makes room for another next hop. Smart hosts are few and their
// rotation is worth keeping; recipient domains have no end, so that one of them
// goes first, if the few looked at have one. The caller holds the lock.
func (p *pool) forget() {
	const few, most = 8, 256
	var victim hopKey
	found, n := false, 0
	for key, h := range p.hops {
		if h.open == 0 && len(h.waits) == 0 {
			victim, found = key, true
		}
		if n++; found && (victim.domain != "" || n >= few) || n == most {
			break
		}
	}
	if found {
		delete(p.hops, victim)
	}
}

// place gives leave to make a connection, or waits for one. The caller holds
// the lock, which is given up.
func (p *pool) place(
	ctx context.Context, h *places, key hopKey, max int, s *seat,
) (*conn, error) {
	if h.max = max; h.open < h.bound() {
		h.open++
		p.mu.Unlock()
		return nil, nil
	}
	if c := p.join(h, s); c != nil {
		p.mu.Unlock()
		return c, nil
	}
	h.waits = append(h.waits, s)
	p.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, p.patience, errNoPlace)
	defer cancel()
	select {
	case c := <-s.word:
		return c, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	if i := slices.Index(h.waits, s); i >= 0 {
		h.waits = slices.Delete(h.waits, i, i+1)
		p.mu.Unlock()
		return nil, context.Cause(ctx)
	}
	p.mu.Unlock()
	switch c := <-s.word; { // came at the same moment: pass it on
	case c == nil:
		p.leave(key)
	case s.behind:
		p.withdraw(c, s)
	default:
		p.put(c)
	}
	return nil, context.Cause(ctx)
}

// bound is how many connections there may be: no more than the settings say,
// than the next hop takes, and than are worth having.
func (h *places) bound() int { return min(h.roof(h.max), h.growth.target) }

// roof is max, or what the next hop takes if that is less.
func (h *places) roof(max int) int {
	if max < 0 {
		max = math.MaxInt
	}
	if !h.crowdEnds.IsZero() && !time.Now().Before(h.crowdEnds) {
		h.crowdEnds = time.Time{}
	}
	if h.crowdEnds.IsZero() {
		return max
	}
	return min(max, h.most)
}

// learn takes in how long a transaction with a next hop took, which may make
// room for others.
func (p *pool) learn(key hopKey, class int, ahead bool, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hops[key]
	wanted := len(h.waits) > 0 || h.pressed
	h.pressed = false
	h.growth.learn(class, ahead, took, wanted && h.growth.target < h.roof(h.max))
	for len(h.waits) > 0 && h.open < h.bound() {
		h.open++
		h.hand(nil)
	}
}

// hand gives a connection, or leave to make one, to whoever waits longest.
func (h *places) hand(c *conn) {
	h.waits[0].word <- c // which has room
	h.waits = slices.Delete(h.waits, 0, 1)
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
	h.growth.refused(h.open)
	return true
}

// scarce tells whether a next hop is known to take no more connections.
func (p *pool) scarce(key hopKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hops[key]
	return h != nil && !h.crowdEnds.IsZero()
}

// limit is how many deliveries to a next hop are worth beginning at once, on at
// most max connections.
func (p *pool) limit(key hopKey, max int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.hops[key]
	if h == nil || h.open == 0 && time.Since(h.left) > growthFor {
		var fresh growth
		fresh.restart()
		return min(max, fresh.worth())
	}
	return h.deliveries(max)
}

// release ends the use of a connection.
func (p *pool) release(c *conn) {
	switch {
	case !c.spent():
		p.put(c)
		return
	case p.scarce(c.pool.key):
		c.part() // first: the peer counts connections too
	default:
		c.quit()
	}
	p.leave(c.pool.key)
}

// put gives a connection back for others to use.
func (p *pool) put(c *conn) {
	key := c.pool.key
	p.mu.Lock()
	h := p.hops[key]
	if p.closed || h.open > h.bound() {
		p.leaveLocked(key)
		p.mu.Unlock()
		c.quit()
		return
	}
	if len(h.waits) > 0 {
		h.hand(c)
		p.mu.Unlock()
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
	if len(h.waits) > 0 && h.open <= h.bound() {
		h.hand(nil)
		return
	}
	if h.open--; h.open == 0 {
		h.left = time.Now()
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
