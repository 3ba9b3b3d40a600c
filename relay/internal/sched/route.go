package sched

import (
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	slowStart    = 5                // places a route begins with
	coolAfter    = 3                // failures in a row before a route rests
	coolFirst    = time.Second      // its first rest
	coolMax      = time.Minute      // its longest
	aheadFor     = time.Second      // leasing ahead goes on while nothing ends
	aheadLeast   = 8                // leased ahead where a route has fewer places
	stuckAfter   = 10 * time.Second // of a full route on which nothing ends
	maxIdleRoute = 1024             // routes remembered without work
)

// Health is what a delivery taught about its route.
type Health uint8

const (
	// Reached: the next hop answered, whatever it said.
	Reached Health = iota
	// Unreachable: no host of the next hop could be talked to.
	Unreachable
)

type route struct {
	group
	key      spool.Key      // without stream
	waiting  []*spool.Lease // leased ahead
	reached  bool           // when last tried
	local    bool
	skipped  bool // the store was asked for others last
	limit    int  // of slow start
	failures int
	until    time.Time // resting until then
}

// routes are those that something is known of.
type routes struct {
	byKey map[spool.Key]*route
	limit func(k spool.Key) int
	local []string
}

func (t *routes) get(k spool.Key) *route {
	k.Stream = ""
	r := t.byKey[k]
	if r == nil {
		if len(t.byKey) > maxIdleRoute {
			t.forget()
		}
		r = &route{
			key: k, limit: min(slowStart, t.most(k)), local: slices.Contains(t.local, k.Route),
		}
		t.byKey[k] = r
	}
	return r
}

func (t *routes) most(k spool.Key) int { return max(1, t.limit(k)) }

// lower sees that no route has more places than its limit is now.
func (t *routes) lower() {
	for k, r := range t.byKey {
		r.limit = min(r.limit, t.most(k))
	}
}

// forget drops the routes that nothing is known of, or that have rested and
// were not tried for a while.
func (t *routes) forget() {
	now := time.Now()
	for k, r := range t.byKey {
		rested := r.failures < coolAfter || now.Sub(r.until) > coolMax
		if r.active == 0 && len(r.waiting) == 0 && rested {
			delete(t.byKey, k)
		}
	}
}

// learn takes in what an attempt has taught about a route.
func (t *routes) learn(r *route, h Health, now time.Time) {
	r.reached = h == Reached
	if r.reached {
		r.failures, r.until = 0, time.Time{}
		r.limit = min(r.limit+1, t.most(r.key))
		return
	}
	r.failures++
	if r.failures >= coolAfter {
		rest := coolMax
		if n := r.failures - coolAfter; n < 6 {
			rest = min(coolMax, coolFirst<<n)
		}
		r.until = now.Add(rest)
		r.limit = 1
	}
}

// inTrouble are the routes on which little goes on: those that rest or wait for
// a place to try again, and those that are full of attempts that do not end.
func (t *routes) inTrouble(b *bounds, now time.Time) (keys []spool.Key) {
	for k, r := range t.byKey {
		stuck := r.active > 0 && now.Sub(r.done) > stuckAfter
		if (r.failures > 0 || stuck) && r.room(b, now) <= 0 {
			keys = append(keys, k)
		}
	}
	return keys
}

// room is how many deliveries of a route may be begun now, if nothing else
// keeps them.
func (r *route) room(b *bounds, now time.Time) int {
	switch {
	case r.failures > 0 && !r.local && b.troubled.active >= b.trouble:
		return 0
	case r.failures >= coolAfter:
		if r.active > 0 || r.until.After(now) {
			return 0
		}
		return 1 // may try
	}
	return r.limit - r.active
}

// goesOn tells whether attempts on a route have ended well of late.
func (r *route) goesOn(now time.Time) bool {
	return r.reached && r.active > 0 && now.Sub(r.done) < aheadFor
}

// ahead is how many deliveries of a route that goes on may be leased ahead.
func (r *route) ahead() int { return max(r.limit, aheadLeast) }

// capacity is how many deliveries of a route are worth leasing now, where so
// many more may be leased ahead.
func (r *route) capacity(b *bounds, more int, now time.Time) int {
	if len(r.waiting) > 0 {
		return 0
	}
	n := r.room(b, now)
	if !r.goesOn(now) {
		return n
	}
	return n + max(0, min(r.ahead(), more))
}
