package sched

import (
	"context"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/internal/callback"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/spool"
)

// fill starts what can be started and notes when to ask for more.
func (s *Scheduler) fill(ctx, work context.Context) {
	s.pace.ask(time.Now())
	wait := s.fillOpen(ctx, work)
	s.pace.next = time.Now().Add(wait)
}

// noteDry notes a route that was passed over and can take more now.
func (s *Scheduler) noteDry(r *route, now time.Time) {
	if r.skipped && r.capacity(&s.places.bounds, s.more(), now) > 0 &&
		!slices.Contains(s.dry, r) {
		if s.dry = append(s.dry, r); len(s.dry) == 1 {
			s.dryFor = now
		}
	}
}

// dryWait is how long to wait before fillDry: what is left under way may last
// until others have run dry as well.
func (s *Scheduler) dryWait(now time.Time) time.Duration {
	if len(s.dry) == 0 {
		return idleWait
	}
	for _, r := range s.dry {
		if 2*r.active <= r.limit {
			return 0
		}
	}
	return max(s.dryFor.Add(s.pace.gather()).Sub(now), 0)
}

// fillDry starts deliveries of the routes that were passed over and can take
// more now.
func (s *Scheduler) fillDry(ctx, work context.Context) {
	now, more := time.Now(), s.more()
	each, total := lookOnce, 0
	got := make(map[*route]int, len(s.dry))
	keys := s.busy[:0]
	for _, r := range s.dry {
		free := s.places.free()
		if r.local {
			free = s.places.bounds.all - s.places.active
		}
		n := r.capacity(&s.places.bounds, more, now)
		if n <= 0 || free <= 0 {
			s.pace.full = s.pace.full || free <= 0
			continue
		}
		got[r] = 0
		keys = append(keys, r.key)
		total, each = total+n, min(each, n)
	}
	s.dry, s.busy = s.dry[:0], keys
	if len(keys) == 0 {
		return
	}
	leased, err := s.lease(ctx, spool.LeaseRequest{Max: total, Only: keys, MaxPerKey: each})
	if err != nil {
		s.pace.next = now.Add(storeWait)
		return
	}
	for i := range leased.Leases {
		l := &leased.Leases[i]
		got[s.routes.get(l.Delivery.Key)]++
		s.take(work, l, now)
	}
	for r, n := range got {
		r.skipped = n >= each // or nothing more is due
	}
	if leased.Wait >= 0 {
		s.pace.soon(max(leased.Wait+time.Millisecond, s.pace.gather()))
	}
}

// fillOpen starts deliveries of all routes that have room, oldest due first. It
// returns how long to wait for more.
func (s *Scheduler) fillOpen(ctx, work context.Context) time.Duration {
	for looked := 0; ; {
		now := time.Now()
		rest, each := s.markBusy(now)
		want := s.places.free()
		if want <= 0 {
			s.pace.full = true
			return s.fillLocal(ctx, work)
		}
		leased, err := s.lease(ctx, spool.LeaseRequest{
			Max: want, Busy: s.busy, NotRoutes: s.not, MaxPerKey: each,
		})
		if err != nil {
			return storeWait
		}
		back := len(s.back.list)
		for i := range leased.Leases {
			s.take(work, &leased.Leases[i], now)
		}
		looked += len(leased.Leases)
		back = len(s.back.list) - back
		switch {
		case looked >= lookOnce:
			return time.Millisecond
		case 2*back > len(leased.Leases) && s.pace.gather() > 0: // most would go back
			return s.pace.gather()
		case len(leased.Leases) == want: // those of local routes may stand behind
			if wait := s.fillLocal(ctx, work); s.failed {
				return wait
			}
		case len(leased.Leases) > 0 && leased.Wait == 0: // more is due of routes that may take it
		case leased.Wait < 0:
			return min(idleWait, rest)
		default:
			return min(leased.Wait+time.Millisecond, idleWait, rest)
		}
	}
}

// fillLocal starts deliveries of local routes, which have places of their own.
func (s *Scheduler) fillLocal(ctx, work context.Context) time.Duration {
	now, wait := time.Now(), idleWait
	for _, name := range s.cfg.Local {
		k := spool.Key{Route: name}
		r := s.routes.get(k)
		n := min(r.room(&s.places.bounds, now), s.places.bounds.all-s.places.active)
		if n <= 0 || s.others.has(name, now) {
			r.skipped = n <= 0
			continue
		}
		leased, err := s.lease(ctx, spool.LeaseRequest{Max: n, Only: []spool.Key{k}})
		if err != nil {
			return storeWait
		}
		for i := range leased.Leases {
			s.take(work, &leased.Leases[i], now)
		}
		r.skipped = len(leased.Leases) == n
		if leased.Wait > 0 {
			wait = min(wait, leased.Wait+time.Millisecond)
		}
	}
	return wait
}

// markBusy collects the routes that can take nothing now, or are left to
// others. It returns when the first resting one wakes, and how much each of the
// others can take.
func (s *Scheduler) markBusy(now time.Time) (rest time.Duration, each int) {
	each = slowStart
	s.busy = s.busy[:0]
	s.not, rest = s.others.now(now)
	more := s.more()
	for k, r := range s.routes.byKey {
		if s.others.has(k.Route, now) {
			continue
		}
		if r.until.After(now) {
			rest = min(rest, r.until.Sub(now))
		}
		n := r.capacity(&s.places.bounds, more, now)
		if r.skipped = n <= 0; r.skipped {
			s.busy = append(s.busy, k)
		} else {
			each = min(each, n)
		}
	}
	return rest, each
}

// more is how many deliveries may be leased ahead now, of all routes.
func (s *Scheduler) more() int {
	n := 2 * s.places.free()
	for _, r := range s.ahead {
		n -= len(r.waiting)
	}
	return n
}

// take begins a delivery that was leased, or finds something else to do with
// it.
func (s *Scheduler) take(work context.Context, l *spool.Lease, now time.Time) {
	if !s.hold(l) || s.leave(l, now) {
		return
	}
	if state, _ := s.cfg.Overdue(l); state == Expired {
		s.conclude(work, l)
		return
	}
	r := s.routes.get(l.Delivery.Key)
	if r.room(&s.places.bounds, now) <= 0 && r.goesOn(now) && len(r.waiting) < r.ahead() {
		if r.waiting = append(r.waiting, l); len(r.waiting) == 1 {
			s.ahead = append(s.ahead, r)
		}
		return
	}
	if by := s.begin(work, l, r, now); by != nil {
		s.giveBack(l, by.turn(now))
	}
}

// startWaiting begins what was leased ahead, as far as there is room.
func (s *Scheduler) startWaiting(work context.Context) {
	now := time.Now()
	kept := s.ahead[:0]
	for _, r := range s.ahead {
		for len(r.waiting) > 0 && r.room(&s.places.bounds, now) > 0 {
			l := r.waiting[0]
			r.waiting = r.waiting[1:]
			if s.leases.lost(l.Delivery.ID) {
				s.leases.drop(l.Delivery.ID)
			} else if by := s.begin(work, l, r, now); by != nil {
				s.giveBack(l, by.turn(now))
			}
		}
		if !r.goesOn(now) {
			s.returnWaiting(r, 0)
		}
		if len(r.waiting) > 0 {
			kept = append(kept, r)
		}
	}
	for _, r := range s.ahead[len(kept):] {
		s.noteDry(r, now)
	}
	clear(s.ahead[len(kept):])
	s.ahead = kept
}

// returnWaiting gives back what was leased ahead.
func (s *Scheduler) returnWaiting(r *route, wait time.Duration) {
	for _, l := range r.waiting {
		s.giveBack(l, wait)
	}
	r.waiting = nil
}

// begin starts an attempt, or returns whose bound keeps it from that.
func (s *Scheduler) begin(work context.Context, l *spool.Lease, r *route, now time.Time) *group {
	var w owners
	if !r.local {
		w = s.places.ownersOf(l, s.cfg.Owner(l))
	}
	if by := s.places.keptBy(r, w, now); by != nil {
		s.places.release(w)
		return by
	}
	if s.rests(work, l, now) {
		s.places.release(w)
		return nil
	}
	s.run(work, l, s.places.begin(r, w, now))
	return nil
}

func (s *Scheduler) run(work context.Context, l *spool.Lease, u *run) {
	go callback.Run(func() {
		f := finished{lease: l, run: u, lesson: Lesson{Health: Unreachable}}
		defer func() {
			if p := recover(); p != nil {
				s.cfg.Logger.Error(
					"delivery panicked", logkey.QueueID, l.Message.ID.String(), logkey.Panic, p,
				)
			}
			s.done <- f
		}()
		f.void = !s.attempt(work, l, func(ctx context.Context) {
			f.lesson = s.cfg.Deliver(ctx, l)
		})
	})
}
