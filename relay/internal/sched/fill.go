package sched

import (
	"context"
	"errors"
	"time"

	"github.com/postern-mail/postern/relay/internal/callback"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/spool"
)

// fill starts what can be started and notes when to ask for more.
func (s *Scheduler) fill(ctx, work context.Context) {
	s.pace.ask(time.Now())
	s.failed = false
	wait := s.fillOpen(ctx, work)
	s.pace.next = time.Now().Add(wait)
	if s.failed {
		s.pace.rest(s.pace.next)
		return
	}
	s.expect()
}

// expect tells the store what there is room for.
func (s *Scheduler) expect() {
	now := time.Now()
	if !s.expecting.due(now) {
		return
	}
	not, _ := s.others.now(now)
	s.expecting.tell(spool.Expected{
		Max: max(s.more(), 0), TTL: s.leases.ttl, Others: slowStart,
		Keys:      s.sites.expected(&s.places, now),
		NotRoutes: not, NotStreams: s.lanes.fullStreams(s.window()),
	}, now)
}

// noteDry notes a site that was passed over and can take more now.
func (s *Scheduler) noteDry(r *site, now time.Time) {
	if r.skipped && !r.dry && s.sites.capacity(r, &s.places, s.more(), now) > 0 {
		r.dry = true
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
		if n := r.limit - r.active; n >= r.active && n <= s.places.spare(r, now) {
			return 0
		}
	}
	return max(s.dryFor.Add(s.pace.gather()).Sub(now), 0)
}

// fillDry starts deliveries of the sites that were passed over and can take
// more now.
func (s *Scheduler) fillDry(ctx, work context.Context) {
	now := time.Now()
	got, request := s.wantDry(now)
	if len(got) == 0 {
		return
	}
	leased, err := s.lease(ctx, request)
	if err != nil {
		s.pace.rest(time.Now().Add(storeWait))
		return
	}
	for i := range leased.Leases {
		l := &leased.Leases[i]
		got[s.sites.get(l.Delivery.Key)]++
		s.take(work, l, now)
	}
	s.startWaiting(work)
	for r, n := range got {
		r.skipped = n >= request.MaxPerKey // or nothing more is due
	}
	s.expect()
	if leased.Wait >= 0 {
		s.pace.soon(max(leased.Wait+time.Millisecond, s.pace.gather()))
	}
}

// wantDry is the request of fillDry, and for which sites it is.
func (s *Scheduler) wantDry(now time.Time) (map[*site]int, spool.LeaseRequest) {
	more := s.more()
	got := make(map[*site]int, len(s.dry))
	keys, ample := s.busy[:0], []spool.Key(nil)
	each, total := lookOnce, 0
	for _, r := range s.dry {
		if r.dry = false; len(r.keys) == 0 {
			continue // forgotten meanwhile; no keys would be all keys
		}
		free := s.places.free()
		if r.local {
			free = s.places.bounds.all - s.places.active
		}
		n := s.sites.capacity(r, &s.places, more, now)
		if n <= 0 || free <= 0 {
			s.pace.full = s.pace.full || free <= 0
			continue
		}
		got[r], r.emptied = 0, 0
		keys = r.appendKeys(keys)
		ample = r.appendAmple(ample, r.each())
		total, each = total+n, min(each, n, r.perLane())
	}
	s.dry, s.busy = s.dry[:0], keys
	return got, spool.LeaseRequest{
		Max: total, Only: keys, Busy: ample, MaxPerKey: each,
		NotStreams: s.lanes.fullStreams(s.window()),
	}
}

// fillOpen starts deliveries of all sites that have room, oldest due first. It
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
			NotStreams: s.lanes.fullStreams(s.window()),
		})
		if err != nil {
			return storeWait
		}
		back := len(s.back.list)
		for i := range leased.Leases {
			s.take(work, &leased.Leases[i], now)
		}
		s.startWaiting(work)
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
		r := s.sites.get(k)
		n := min(s.sites.room(r, &s.places, now), s.places.bounds.all-s.places.active)
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
		s.startWaiting(work)
		r.skipped = len(leased.Leases) == n
		if leased.Wait > 0 {
			wait = min(wait, leased.Wait+time.Millisecond)
		}
	}
	return wait
}

// markBusy collects the keys of sites that can take nothing now, or no more of
// some streams, and the routes that are left to others. It returns when the
// first site that rests wakes, and how much each of the others can take.
func (s *Scheduler) markBusy(now time.Time) (rest time.Duration, each int) {
	each = slowStart
	s.busy = s.busy[:0]
	s.not, rest = s.others.now(now)
	more := s.more()
	s.sites.look(&s.places, now, func(r *site) {
		if opens := r.opens(now); opens > 0 {
			rest = min(rest, opens)
		}
		n := s.sites.capacity(r, &s.places, more, now)
		if r.skipped = n <= 0; !r.skipped {
			r.emptied = 0
			each = min(each, n, r.perLane())
		}
		switch {
		case r.skipped && r.mayTakeOthers():
			s.busy = r.appendAmple(s.busy, 1)
		case r.skipped:
			s.busy = r.appendKeys(s.busy)
		}
	})
	return rest, each
}

// window is how many deliveries may wait now, of all sites: twice as many as
// there are free places.
func (s *Scheduler) window() int { return min(2*s.places.free(), inAll-s.places.active) }

// more is how many of them may be leased yet.
func (s *Scheduler) more() int { return s.window() - s.lanes.waiting }

// take has a delivery that was leased wait for its turn, or finds something
// else to do with it.
func (s *Scheduler) take(work context.Context, l *spool.Lease, now time.Time) {
	if !s.hold(l) || s.leave(l, now) {
		return
	}
	if state, _ := s.cfg.Overdue(l); state == Expired {
		s.conclude(work, l)
		return
	}
	r := s.sites.get(l.Delivery.Key)
	var o Owner
	if !r.local {
		o = s.cfg.Owner(l)
	}
	if !s.wait(l, r, o, now) {
		s.begin(work, l, r, o, now)
	}
}

// wait has a delivery wait for its turn, if there is room for it and something
// may come of it.
func (s *Scheduler) wait(l *spool.Lease, r *site, o Owner, now time.Time) bool {
	name := laneOf(l, o)
	switch {
	case r.failures > 0 || !s.lanes.takes(name, r, s.window()):
		return false
	case s.sites.room(r, &s.places, now) <= 0 && !r.waits(now):
		return false
	case s.places.full(r, o.Connector) != nil && !s.places.goOn(o.Connector, now):
		return false
	}
	if r.waiting == 0 {
		s.ahead = append(s.ahead, r)
	}
	v := r.stream(s.cfg.Stream, l.Delivery.Key.Stream)
	s.lanes.push(name, r, v.weight, waiting{l, o})
	s.sites.heat(r)
	r.by = o.Connector
	return true
}

// startWaiting begins what was leased ahead, as far as there is room, in the
// order of turns. What waits for a site or a connector on which nothing ends
// goes back.
func (s *Scheduler) startWaiting(work context.Context) {
	if s.lanes.waiting == 0 {
		return
	}
	now := time.Now()
	ready := func(q *queue) bool { return s.ready(q, now) }
	begin := func(q *queue) {
		w := s.lanes.pop(q)
		s.begin(work, w.lease, q.site, w.owner, now)
	}
	for s.lanes.serve(ready, begin) {
	}
	kept, gone := s.ahead[:0], s.gone[:0]
	for _, r := range s.ahead {
		if !r.waits(now) && !s.places.goOn(r.by, now) {
			s.returnWaiting(r, now)
		}
		if r.waiting > 0 {
			kept = append(kept, r)
		}
		if r.waiting == 0 || r.lacks() {
			gone = append(gone, r)
		}
	}
	clear(s.ahead[len(kept):])
	s.ahead = kept
	for _, r := range gone {
		s.noteDry(r, now)
	}
	clear(gone)
	s.gone = gone[:0]
}

// ready reports whether the first delivery of a queue can begin. It takes away
// those before it that cannot wait here.
func (s *Scheduler) ready(q *queue, now time.Time) bool {
	for r := q.site; len(q.list) > 0; {
		w := &q.list[0]
		switch {
		case s.leases.lost(w.lease.Delivery.ID):
			s.leases.drop(w.lease.Delivery.ID)
			s.lanes.pop(q)
		case s.sites.room(r, &s.places, now) <= 0:
			if opens := r.opens(now); opens > 0 {
				s.pace.soon(opens)
			}
			return false
		default:
			return s.places.full(r, w.owner.Connector) == nil
		}
	}
	return false
}

// returnWaiting gives back what was leased ahead. It comes again at once,
// unless it is places that are missing.
func (s *Scheduler) returnWaiting(r *site, now time.Time) {
	by := s.places.full(r, r.by)
	for _, w := range s.lanes.clear(r) {
		wait := time.Duration(0)
		if by != nil {
			wait = by.turn(now)
		}
		s.giveBack(w.lease, wait)
	}
}

// begin starts an attempt, or gives back what is kept from that.
func (s *Scheduler) begin(
	work context.Context, l *spool.Lease, r *site, o Owner, now time.Time,
) {
	if s.rests(work, l, r, now) {
		return
	}
	s.sites.heat(r)
	if s.sites.room(r, &s.places, now) <= 0 {
		s.giveBack(l, r.turn(now))
		return
	}
	v := r.stream(s.cfg.Stream, l.Delivery.Key.Stream)
	if wait := v.keep(now); wait > 0 {
		s.giveBack(l, wait)
		return
	}
	var w owners
	if !r.local {
		w = s.places.ownersOf(l, o)
	}
	if by := s.places.keptBy(r, w); by != nil {
		s.places.release(w)
		r.left(v, now)
		s.giveBack(l, by.turn(now))
		return
	}
	s.run(work, l, s.places.begin(r, v, l.Delivery.Key, w, now))
}

func (s *Scheduler) run(work context.Context, l *spool.Lease, u *run) {
	go callback.Run(func() {
		gone := false
		leave := func(lesson Lesson, void bool) {
			if !gone {
				gone = true
				s.done <- finished{run: u, lesson: lesson, void: void}
			}
		}
		defer func() {
			if p := recover(); p != nil {
				s.cfg.Logger.Error(
					"delivery panicked", logkey.QueueID, l.Message.ID.String(), logkey.Panic, p,
				)
				leave(Lesson{Health: Unreachable}, false)
			}
			// What was not begun, or runtime.Goexit ends, says nothing.
			leave(Lesson{}, true)
			s.done <- finished{lease: l, run: u}
		}()
		s.attempt(work, l, func(ctx context.Context) {
			s.cfg.Deliver(ctx, l, func(lesson Lesson) {
				leave(lesson, errors.Is(context.Cause(ctx), spool.ErrLeaseLost))
			})
		})
	})
}
