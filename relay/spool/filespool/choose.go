package filespool

import (
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// chooser answers one LeaseRequest, with the store locked.
type chooser struct {
	s       *Store
	x       *index
	r       *spool.LeaseRequest
	now     int64
	elapsed time.Duration
	wait    time.Duration // until something else can be had; negative is unknown
	aside   []uint32      // lines of which no more is wanted
	turns   []uint32      // those of several streams, which have had a turn
	counts  map[uint32]int
	picks   []pick
}

// pick chooses deliveries and leases them; it appends them to picks. The caller
// holds the lock.
func (s *Store) pick(r *spool.LeaseRequest, picks []pick) ([]pick, time.Duration) {
	s.index.told = never // those whose lease ends are chosen from at once
	c := &chooser{
		s: s, x: s.index, r: r, now: nanos(s.now()), elapsed: s.elapsed(), wait: -1, picks: picks,
	}
	s.endLeases(c.elapsed)
	busy, busyLines := c.x.cutOut(c.without())
	out := c.x.leaveOut(r.NotStreams)
	if len(r.Only) > 0 {
		w := c.x.narrow(r.Only)
		c.pickDue()
		c.x.widen(w)
	} else {
		c.pickDue()
	}
	c.x.putBack(busy, busyLines)
	c.x.putBack(nil, c.aside)
	c.x.takeIn(out)
	if s.ends.len() > 0 {
		c.soonest(s.ends.top().until - c.elapsed)
	}
	s.index.told = always
	if c.wait >= 0 {
		s.index.told = nanos(fromNanos(c.now).Add(c.wait))
	}
	return c.picks, c.wait
}

func (c *chooser) soonest(d time.Duration) {
	if d = max(d, 0); c.wait < 0 || d < c.wait {
		c.wait = d
	}
}

// without returns the keys that have no part in the answer.
func (c *chooser) without() []spool.Key {
	if len(c.r.NotRoutes) == 0 {
		return c.r.Busy
	}
	keys := slices.Clone(c.r.Busy)
	for _, t := range c.x.order.items {
		if route := t.route.Value(); slices.Contains(c.r.NotRoutes, route) {
			keys = append(keys, spool.Key{Route: route, Domain: t.domain.Value()})
		}
	}
	return keys
}

// pickDue takes what is due, in the order in which that was.
func (c *chooser) pickDue() {
	c.choose()
	if len(c.turns) == 0 {
		return
	}
	c.takeTurns()
	slices.SortFunc(c.picks, func(a, b pick) int {
		if c.x.before(a.l.delivery, b.l.delivery) {
			return -1
		}
		return 1
	})
}

func (c *chooser) putAside(n uint32) {
	c.x.leave(n)
	c.aside = append(c.aside, n)
}

// choose takes what is due, oldest first, but of several streams of one route
// and domain one each.
func (c *chooser) choose() {
	if c.r.MaxPerKey > 0 {
		c.counts = make(map[uint32]int)
	}
	for n := c.x.next(); n != none; n = c.x.next() {
		l := c.x.lines.get(n)
		switch several := l.to.lines > 1; {
		case c.x.isOut(l):
			c.x.setApart(n)
		case c.isLeftOut(l):
			c.putAside(n)
		case !c.wanted(n):
			return
		case c.full(n):
			c.putAside(n)
		case several:
			if c.x.leave(n); c.take(n) {
				c.turns = append(c.turns, n)
			}
		default:
			c.take(n)
		}
	}
}

// takeTurns goes on with the streams that have had a turn.
func (c *chooser) takeTurns() {
	for turns := c.turns; len(turns) > 0; {
		n := turns[0]
		turns = turns[1:]
		if !c.wanted(n) || c.full(n) {
			c.aside = append(c.aside, n)
		} else if c.take(n) {
			turns = append(turns, n)
		}
	}
}

// wanted reports whether what is first in a line is due and one of the number
// asked for.
func (c *chooser) wanted(n uint32) bool {
	due := c.x.deliveries.get(c.x.lines.get(n).first).due
	if due <= c.now && len(c.picks) < c.r.Max {
		return true
	}
	c.soonest(time.Duration(max(due, c.now) - c.now))
	return false
}

// isLeftOut reports whether a line is of a route of which nothing is wanted:
// without has not seen those that are apart.
func (c *chooser) isLeftOut(l *line) bool {
	return len(c.r.NotRoutes) > 0 && slices.Contains(c.r.NotRoutes, l.to.route.Value())
}

// full reports whether the request wants no more of a key, of which there is
// more.
func (c *chooser) full(n uint32) bool {
	if c.r.MaxPerKey <= 0 || c.counts[n] < c.r.MaxPerKey {
		return false
	}
	c.soonest(0)
	return true
}

// take leases the first delivery of a line, and reports whether there are more.
func (c *chooser) take(n uint32) (more bool) {
	if c.counts != nil {
		c.counts[n]++
	}
	h := c.x.unqueue(n)
	p := c.s.reach(h)
	p.l = c.s.newLease(h, c.elapsed+c.r.TTL)
	p.token = p.l.token
	c.picks = append(c.picks, p)
	return c.x.lines.get(n).first != none
}

// newLease leases a delivery that is not queued. The caller holds the lock.
func (s *Store) newLease(h uint32, until time.Duration) *lease {
	l := &lease{delivery: h, token: newToken(), until: until}
	s.leases[h] = l
	s.ends.push(l)
	return l
}
