package sched

import (
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	soonFor     = aheadFor / 2         // what begins in that time is expected
	expectEvery = 5 * time.Millisecond // at most: it looks at all busy sites
)

// expect tells a store that can lease what is committed in the same step what
// there is room for.
func (s *Scheduler) expect(now time.Time) {
	if s.expecter == nil || now.Sub(s.expected) < expectEvery {
		return
	}
	s.expected = now
	s.expecter.Expect(s.wanted(now))
}

// expectNothing has nothing leased before it is asked for.
func (s *Scheduler) expectNothing() {
	if s.expecter != nil {
		s.expecter.Expect(spool.Expected{})
	}
}

// wanted is as much as would be asked for if it was due already, and what sites
// on which attempts end well begin soon.
func (s *Scheduler) wanted(now time.Time) spool.Expected {
	e := spool.Expected{
		Max: s.more(), TTL: s.leases.ttl, Keys: make(map[spool.Key]int), Others: slowStart,
		NotStreams: s.lanes.fullStreams(s.window()),
	}
	e.NotRoutes, _ = s.others.now(now)
	s.sites.look(&s.places, now, func(r *site) {
		n := max(0, s.sites.room(r, &s.places, now)-r.waiting)
		if r.waits(now) {
			n += max(0, r.soon()-r.waiting)
		}
		shares := len(r.keys) * max(1, r.lanes())
		for _, k := range r.keys {
			e.Keys[k.key] = (n + shares - 1) / shares
		}
	})
	return e
}

// soon is how many deliveries of a site begin in soonFor, about.
func (r *site) soon() int {
	n := inAll
	if r.gap > 0 {
		n = min(n, int(soonFor/r.gap))
	}
	for _, g := range r.gates {
		if g.Every > 0 {
			n = min(n, int(soonFor/g.Every))
		}
	}
	return n
}
