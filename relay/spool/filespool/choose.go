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
	aside   []*route      // of which no more is wanted
	turns   []*route      // those of several streams, which have had a turn
	counts  map[*route]int
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
	if len(r.Only) > 0 {
		defer c.x.widen(c.x.narrow(r.Only))
	}
	c.leaveOut()
	c.choose()
	if len(c.turns) > 0 {
		c.takeTurns()
		slices.SortFunc(c.picks, func(a, b pick) int {
			if s.index.before(a.l.delivery, b.l.delivery) {
				return -1
			}
			return 1
		})
	}
	for _, v := range c.aside {
		c.x.routes.push(v)
	}
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

// leaveOut takes the busy routes out of the order of leasing.
func (c *chooser) leaveOut() {
	for _, k := range c.r.Busy {
		c.x.matching(k, func(v *route) {
			if v.at >= 0 {
				c.putAside(v)
			}
		})
	}
	if len(c.r.NotRoutes) == 0 {
		return
	}
	for _, v := range slices.Clone(c.x.routes.items) {
		if slices.Contains(c.r.NotRoutes, v.group.route.Value()) {
			c.putAside(v)
		}
	}
}

func (c *chooser) putAside(v *route) {
	c.x.routes.remove(v.at)
	c.aside = append(c.aside, v)
}

// choose takes what is due, oldest first, but of several streams of one route
// and domain one each.
func (c *chooser) choose() {
	if c.r.MaxPerKey > 0 {
		c.counts = make(map[*route]int)
	}
	for c.x.routes.len() > 0 {
		v := c.x.routes.top()
		due := c.x.deliveries.get(v.queue.top()).due
		if due > c.now || len(c.picks) >= c.r.Max {
			c.soonest(time.Duration(max(due, c.now) - c.now))
			return
		}
		if c.full(v) {
			c.putAside(v)
			continue
		}
		if c.take(v) && len(c.x.groups[v.group]) > 1 {
			c.x.routes.remove(v.at)
			c.turns = append(c.turns, v)
		}
	}
}

// takeTurns goes on with the streams that have had a turn.
func (c *chooser) takeTurns() {
	for turns := c.turns; len(turns) > 0; {
		v := turns[0]
		turns = turns[1:]
		due := c.x.deliveries.get(v.queue.top()).due
		if due > c.now || len(c.picks) >= c.r.Max || c.full(v) {
			c.soonest(time.Duration(max(due, c.now) - c.now))
			c.aside = append(c.aside, v)
			continue
		}
		if c.take(v) {
			turns = append(turns, v)
		}
	}
}

// full reports whether the request wants no more of a key, of which there is
// more.
func (c *chooser) full(v *route) bool {
	if c.r.MaxPerKey <= 0 || c.counts[v] < c.r.MaxPerKey {
		return false
	}
	c.soonest(0)
	return true
}

// take leases the oldest delivery of a route, and reports whether there are
// more.
func (c *chooser) take(v *route) (more bool) {
	if c.counts != nil {
		c.counts[v]++
	}
	more = v.queue.len() > 1
	h := c.x.unqueue(v)
	p := c.s.reach(h)
	p.l = c.s.newLease(h, c.elapsed+c.r.TTL)
	p.token = p.l.token
	c.picks = append(c.picks, p)
	return more
}

// newLease leases a delivery that is not queued. The caller holds the lock.
func (s *Store) newLease(h uint32, until time.Duration) *lease {
	l := &lease{delivery: h, token: newToken(), until: until}
	s.leases[h] = l
	s.ends.push(l)
	return l
}
