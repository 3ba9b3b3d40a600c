package sched

import (
	"context"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// Overdue is what a delivery has coming without an attempt.
type Overdue uint8

const (
	// OnTime: nothing.
	OnTime Overdue = iota
	// Late: its sender is to be told that it waits, if it goes on to wait.
	Late
	// Untried: it is to end after an attempt, which need not wait until its
	// route has rested.
	Untried
	// Expired: it is to end.
	Expired
)

const (
	sweepPause = time.Second      // from one sweep to the next
	sweepEach  = time.Millisecond // of pause for each delivery looked at
	leaveMin   = time.Second      // what was looked at is left alone
	leaveBusy  = 5 * time.Second  // the same, if its route does not rest
	leaveMax   = time.Minute
	stuckAfter = 10 * time.Second // of a full route on which nothing ends
)

// sweep looks through what waits for routes in trouble.
type sweep struct {
	active  int            // conclusions under way
	tries   group          // of them, those with an attempt
	over    int            // found no place for one, in this sweep
	waiting []*spool.Lease // for one, at most as many as may be under way
	on      bool
	looked  int // deliveries, in this sweep
	next    time.Time
}

// leave is until when what was looked at is left alone.
func (w *sweep) leave(r *route, changes, now time.Time) time.Time {
	least := max(time.Duration(w.looked)*sweepEach, leaveMin)
	rest := r.until.Sub(now)
	if rest <= 0 {
		rest = leaveBusy
	}
	until := now.Add(min(max(least, rest), leaveMax))
	if !changes.IsZero() && changes.Before(until) {
		return changes
	}
	return until
}

// conclude settles a delivery without an attempt, as soon as there is a place.
func (s *Scheduler) conclude(work context.Context, l *spool.Lease, now time.Time) {
	switch w := &s.sweep; {
	case w.active < s.bounds.conclusions:
		s.hold(l)
		s.startConclusion(work, l, false)
	case len(w.waiting) < s.bounds.conclusions:
		s.hold(l)
		w.waiting = append(w.waiting, l)
	default:
		s.giveBack(l, now.Add(turnLast))
	}
}

func (s *Scheduler) concludeWaiting(work context.Context) {
	w := &s.sweep
	for len(w.waiting) > 0 && w.active < s.bounds.conclusions {
		l := w.waiting[0]
		w.waiting = w.waiting[1:]
		s.startConclusion(work, l, false)
	}
}

func (s *Scheduler) startConclusion(work context.Context, l *spool.Lease, untried bool) {
	s.sweep.active++
	if untried {
		s.sweep.tries.begin(time.Now())
	}
	go func() {
		defer func() {
			if p := recover(); p != nil {
				s.cfg.Logger.Error(
					"conclusion panicked", "queue_id", l.Message.ID.String(), "panic", p,
				)
			}
			s.done <- finished{lease: l, untried: untried}
		}()
		s.cfg.Conclude(work, l)
	}()
}

// sweepRoutes looks at what is due of routes in trouble, as far as there are
// places to conclude it, and returns how long to wait before going on.
func (s *Scheduler) sweepRoutes(ctx, work context.Context) time.Duration {
	now := time.Now()
	w := &s.sweep
	if !w.on {
		if d := w.next.Sub(now); d > 0 {
			return d
		}
		w.on, w.looked, w.over = true, 0, 0
	}
	keys := s.inTrouble(now)
	for n := 0; len(keys) > 0; {
		most := 2*s.bounds.conclusions - w.active - len(w.waiting)
		if most <= 0 {
			return idleWait // until a conclusion ends
		}
		if n >= lookOnce/4 {
			return time.Millisecond
		}
		leased, err := s.lease(ctx, spool.LeaseRequest{
			Max: most, TTL: leaseTTL, Only: keys,
		})
		if err != nil {
			return storeWait
		}
		if len(leased.Leases) == 0 || w.over >= s.bounds.conclusions {
			for i := range leased.Leases {
				s.giveBack(&leased.Leases[i], now)
			}
			break
		}
		n += len(leased.Leases)
		for i := range leased.Leases {
			s.look(work, &leased.Leases[i], now)
		}
	}
	w.on, w.next = false, now.Add(sweepPause)
	if len(keys) == 0 {
		return idleWait
	}
	return sweepPause
}

// look concludes a delivery of a route in trouble, or gives it back.
func (s *Scheduler) look(work context.Context, l *spool.Lease, now time.Time) {
	if s.again(l) {
		return
	}
	s.sweep.looked++
	state, changes := s.cfg.Overdue(l)
	switch {
	case state == Untried:
		if w := &s.sweep; w.active < s.bounds.conclusions &&
			2*w.tries.active < s.bounds.conclusions {
			s.hold(l)
			s.startConclusion(work, l, true)
			return
		}
		s.sweep.over++
		s.giveBack(l, s.sweep.tries.turn(now)) // others are not kept waiting by attempts
		return
	case state != OnTime:
		s.conclude(work, l, now)
		return
	}
	s.giveBack(l, s.sweep.leave(s.route(l.Delivery.Key), changes, now))
}

// inTrouble are the routes on which little goes on: those that rest or wait for
// a place to try again, and those that are full of attempts that do not end.
func (s *Scheduler) inTrouble(now time.Time) (keys []spool.Key) {
	for k, r := range s.routes {
		stuck := r.active > 0 && now.Sub(r.done) > stuckAfter
		if (r.failures > 0 || stuck) && s.room(r, now) <= 0 {
			keys = append(keys, k)
		}
	}
	return keys
}
