package sched

import (
	"context"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/internal/callback"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	sweepPause = time.Second      // from one sweep to the next
	sweepEach  = time.Millisecond // of pause for each delivery looked at
	leaveMin   = time.Second      // what was looked at is left alone
	leaveBusy  = 5 * time.Second  // the same, if its route does not rest
	leaveMax   = time.Minute
)

// sweep looks through what waits for sites in trouble.
type sweep struct {
	active  int            // conclusions under way
	tries   group          // of them, those with an attempt
	over    int            // found no place for one, in this sweep
	waiting []*spool.Lease // for one, at most as many as may be under way
	on      bool
	looked  int // deliveries, in this sweep
	next    time.Time
}

// leave is how long what was looked at is left alone.
func (w *sweep) leave(r *site, changes, now time.Time) time.Duration {
	least := max(time.Duration(w.looked)*sweepEach, leaveMin)
	rest := r.until.Sub(now)
	if rest <= 0 {
		rest = leaveBusy
	}
	wait := min(max(least, rest), leaveMax)
	if !changes.IsZero() {
		wait = min(wait, max(changes.Sub(now), leaveMin)) // by another clock
	}
	return wait
}

// finish ends a conclusion.
func (w *sweep) finish(untried bool, now time.Time) {
	w.active--
	if !untried {
		return
	}
	w.tries.end(now)
	if w.over > 0 {
		w.next = time.Time{} // others wait for the place
	}
}

// conclude settles a delivery without an attempt, as soon as there is a place.
func (s *Scheduler) conclude(work context.Context, l *spool.Lease) {
	switch w, most := &s.sweep, s.places.bounds.conclusions; {
	case w.active < most:
		s.startConclusion(work, l, false)
	case len(w.waiting) < most:
		w.waiting = append(w.waiting, l)
	default:
		s.giveBack(l, turnLast)
	}
}

func (s *Scheduler) concludeWaiting(work context.Context) {
	w := &s.sweep
	for len(w.waiting) > 0 && w.active < s.places.bounds.conclusions {
		l := w.waiting[0]
		w.waiting = w.waiting[1:]
		if s.leases.lost(l.Delivery.ID) {
			s.leases.drop(l.Delivery.ID)
			continue
		}
		s.startConclusion(work, l, false)
	}
}

func (s *Scheduler) startConclusion(work context.Context, l *spool.Lease, untried bool) {
	s.sweep.active++
	if untried {
		s.sweep.tries.begin(time.Now())
	}
	go callback.Run(func() {
		defer func() {
			if p := recover(); p != nil {
				s.cfg.Logger.Error(
					"conclusion panicked", logkey.QueueID, l.Message.ID.String(), logkey.Panic, p,
				)
			}
			s.done <- finished{lease: l, untried: untried}
		}()
		s.attempt(work, l, func(ctx context.Context) { s.cfg.Conclude(ctx, l) })
	})
}

// sweepRoutes looks at what is due of sites in trouble, as far as there are
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
	keys := slices.DeleteFunc(s.sites.inTrouble(&s.places, now), s.cfg.Elsewhere)
	if len(keys) > 0 {
		if wait := s.lookThrough(ctx, work, keys, now); wait > 0 {
			return wait
		}
	}
	w.on, w.next = false, now.Add(sweepPause)
	if len(keys) == 0 {
		return idleWait
	}
	return sweepPause
}

// lookThrough looks at what is due of some routes. It returns how long to wait
// before going on, 0 at the end.
func (s *Scheduler) lookThrough(
	ctx, work context.Context, keys []spool.Key, now time.Time,
) time.Duration {
	w, places := &s.sweep, s.places.bounds.conclusions
	for n := 0; ; {
		most := 2*places - w.active - len(w.waiting)
		if most < places {
			return idleWait // until conclusions end
		}
		if n >= lookOnce/4 {
			return time.Millisecond
		}
		leased, err := s.lease(ctx, spool.LeaseRequest{Max: most, Only: keys})
		if err != nil {
			return storeWait
		}
		if len(leased.Leases) == 0 || w.over >= places {
			for i := range leased.Leases {
				s.back.add(&leased.Leases[i], 0)
			}
			return 0
		}
		n += len(leased.Leases)
		for i := range leased.Leases {
			s.look(work, &leased.Leases[i], now)
		}
	}
}

// look concludes a delivery of a site in trouble, or gives it back.
func (s *Scheduler) look(work context.Context, l *spool.Lease, now time.Time) {
	if !s.hold(l) || s.leave(l, now) {
		return
	}
	w, places := &s.sweep, s.places.bounds.conclusions
	w.looked++
	state, changes := s.cfg.Overdue(l)
	switch {
	case state == Untried && w.active < places && 2*w.tries.active < places:
		s.startConclusion(work, l, true)
	case state == Untried:
		w.over++
		s.giveBack(l, w.tries.turn(now)) // others are not kept waiting by attempts
	case state != OnTime:
		s.conclude(work, l)
	default:
		s.giveBack(l, w.leave(s.sites.get(l.Delivery.Key), changes, now))
	}
}

// rests gives a delivery back that a throttle keeps back, and reports whether
// one does. It grows old meanwhile: what is Late or Expired is concluded.
func (s *Scheduler) rests(work context.Context, l *spool.Lease, r *site, now time.Time) bool {
	until := s.cfg.Throttles.Until(l, r.Site)
	if !until.After(now) {
		return false
	}
	state, changes := s.cfg.Overdue(l)
	if state == Late || state == Expired {
		s.conclude(work, l)
		return true
	}
	wait := min(s.resting.turn(now), until.Sub(now))
	if !changes.IsZero() {
		wait = min(wait, max(changes.Sub(now), restLook)) // by another clock
	}
	s.giveBack(l, wait)
	return true
}
