package auth

import (
	"context"
	"math"
	"strings"
)

// tally is one of the counts that a failure belongs to.
type tally struct {
	table *failureTable
	key   uint64  // 0 for none
	free  float32 // failures that cost nothing
}

// tallies are those of the attempt, but for that of its pair: of the source, of
// the networks around it, and of the user, whose failures cost others than the
// source (see strangerDelay).
func (a *attempt) tallies() [4]tally {
	t := a.Throttle
	return [...]tally{
		{t.sources, a.source, float32(t.opt.SourceFree)},
		{t.wider[0].table, a.wider[0], t.wider[0].free},
		{t.wider[1].table, a.wider[1], t.wider[1].free},
		{t.users, a.user, math.MaxFloat32},
	}
}

// counters names the counters of the tallies.
func (a *attempt) counters() [4]string {
	network := func(bits int) string {
		p, _ := a.from.Prefix(bits) // an IPv4 address has none of these
		return counterKey("logon-source", p.String())
	}
	return [...]string{
		counterKey("logon-source", a.from.String()),
		network(a.Throttle.wider[0].bits), network(a.Throttle.wider[1].bits),
		counterKey("logon-user", strings.ToLower(a.username)),
	}
}

// share counts a failure for all processes, and learns what they have seen of
// the source and of the user. How a pair of both does stays here: what a source
// may do is bounded without it.
func (a *attempt) share(ctx context.Context) {
	t := a.Throttle
	if t.common.counter == nil {
		return
	}
	began, counters := t.now(), a.counters()
	for i, c := range a.tallies() {
		if c.key == 0 {
			continue
		}
		total, err := t.common.count(ctx, counters[i], t.opt.HalfLife)
		if err != nil {
			return // it goes on with what it knows
		}
		t.learn(c, total)
		if t.now()-began > counterLimit {
			return // slow as it is, it counts the source at least
		}
	}
}

// learn raises a count to that of all processes.
func (t *Throttle) learn(c tally, total int64) {
	now := t.now()
	t.mu.Lock()
	defer t.mu.Unlock()
	f := c.table.find(c.key, now)
	if f == nil || float32(total) <= f.count {
		return
	}
	f.count = float32(total)
	f.delay(now, t.delay(f.count-c.free, t.opt.MaxDelay))
}
