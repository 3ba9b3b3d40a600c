package sched

import (
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	soonFor     = aheadFor / 2         // what begins in that time is expected
	expectEvery = 5 * time.Millisecond // at most: it looks at all busy sites
)

// expecting tells a store that can lease what is committed in the same step
// what there is room for.
type expecting struct {
	store spool.Expecter // nil if it cannot
	last  time.Time
}

func expectingOf(s spool.Store) expecting {
	store, _ := s.(spool.Expecter)
	return expecting{store: store}
}

// due reports whether it is worth telling again.
func (e *expecting) due(now time.Time) bool {
	return e.store != nil && now.Sub(e.last) >= expectEvery
}

func (e *expecting) tell(x spool.Expected, now time.Time) {
	e.last = now
	e.store.Expect(x)
}

// nothing has nothing leased before it is asked for.
func (e *expecting) nothing() {
	if e.store != nil {
		e.store.Expect(spool.Expected{})
	}
}

// expected tells how many of the keys of busy sites would be asked for if they
// were due already, and begin soon where attempts end well.
func (t *sites) expected(p *places, now time.Time) map[spool.Key]int {
	keys := make(map[spool.Key]int, len(t.hot))
	t.look(p, now, func(r *site) {
		n := max(0, t.room(r, p, now)-r.waiting)
		if r.waits(now) {
			n += max(0, r.soon(now)-r.waiting)
		}
		shares := len(r.keys) * max(1, r.lanes())
		for _, k := range r.keys {
			keys[k.key] = (n + shares - 1) / shares
		}
	})
	return keys
}

// soon is how many deliveries of a site begin in soonFor, about: few where
// nothing has ended for a while.
func (r *site) soon(now time.Time) int {
	n := inAll
	if gap := max(r.gap, now.Sub(r.done)); gap > 0 {
		n = min(n, int(soonFor/gap))
	}
	for _, g := range r.gates {
		if g.Every > 0 {
			n = min(n, int(soonFor/g.Every))
		}
	}
	return n
}
