package sched

import (
	"context"
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
		s.pace.next = now.Add(storeWait)
		return
	}
	for i := range leased.Leases {
		l := &leased.Leases[i]
		got[s.sites.get(l.Delivery.Key)]++
		s.take(work, l, now)
	}
	for r, n := range got {
		r.skipped = n >= request.MaxPerKey // or nothing more is due
	}
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
		r.dry = false
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
		ample = r.appendAmple(ample)
		total, each = total+n, min(each, n)
	}
	s.dry, s.busy = s.dry[:0], keys
	return got, spool.LeaseRequest{Max: total, Only: keys, Busy: ample, MaxPerKey: each}
}

// appendAmple appends the keys of streams that need nothing more now. A site
// with very many keys is left out.
func (r *site) appendAmple(keys []spool.Key) []spool.Key {
	if len(r.keys) > aheadMost {
		return keys
	}
	r.ample(r.each(), func(v *stream) {
		for _, e := range r.keys {
			keys = append(keys, spool.Key{Route: e.key.Route, Domain: e.key.Domain, Stream: v.name})
		}
	})
	return keys
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
		r.skipped = len(leased.Leases) == n
		if leased.Wait > 0 {
			wait = min(wait, leased.Wait+time.Millisecond)
		}
	}
	return wait
}

// markBusy collects the keys of sites that can take nothing now, and the routes
// that are left to others. It returns when the first site that rests wakes, and
// how much each of the others can take.
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
		if r.skipped = n <= 0; r.skipped {
			s.busy = r.appendKeys(s.busy)
		} else {
			r.emptied = 0
			each = min(each, n)
		}
	})
	return rest, each
}

// more is how many deliveries may be leased ahead now, of all sites: so many
// that at most twice as many wait as there are free places.
func (s *Scheduler) more() int {
	return min(2*s.places.free(), inAll-s.places.active) - s.behind
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
	r := s.sites.get(l.Delivery.Key)
	if r.waiting > 0 || s.sites.room(r, &s.places, now) <= 0 && r.waits(now) {
		if r.waiting < r.ahead() {
			s.wait(l, r)
			return
		}
	}
	s.begin(work, l, r, now)
}

// wait has a delivery wait for its turn at its site.
func (s *Scheduler) wait(l *spool.Lease, r *site) {
	if r.waiting == 0 {
		s.ahead = append(s.ahead, r)
	}
	r.push(r.stream(s.cfg.Stream, r.Site, l.Delivery.Key.Stream), l)
	s.behind++
}

// startWaiting begins what was leased ahead, as far as there is room. Each time
// another site is the first.
func (s *Scheduler) startWaiting(work context.Context) {
	now := time.Now()
	if n := len(s.ahead); n > 1 {
		first := s.ahead[0]
		copy(s.ahead, s.ahead[1:])
		s.ahead[n-1] = first
	}
	kept, gone := s.ahead[:0], s.gone[:0]
	for _, r := range s.ahead {
		s.serve(work, r, now)
		if !r.waits(now) {
			s.returnWaiting(r)
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

// serve begins what waits for a site, its streams in turn.
func (s *Scheduler) serve(work context.Context, r *site, now time.Time) {
	for r.waiting > 0 && s.sites.room(r, &s.places, now) > 0 {
		l := r.pop()
		s.behind--
		if s.leases.lost(l.Delivery.ID) {
			s.leases.drop(l.Delivery.ID)
			continue
		}
		s.begin(work, l, r, now)
	}
	if opens := r.opens(now); r.waiting > 0 && opens > 0 {
		s.pace.soon(opens)
	}
}

// returnWaiting gives back what was leased ahead.
func (s *Scheduler) returnWaiting(r *site) {
	s.behind -= r.waiting
	for _, l := range r.clear() {
		s.giveBack(l, 0)
	}
}

// begin starts an attempt, or gives back what is kept from that.
func (s *Scheduler) begin(work context.Context, l *spool.Lease, r *site, now time.Time) {
	if s.rests(work, l, r, now) {
		return
	}
	s.sites.heat(r)
	if s.sites.room(r, &s.places, now) <= 0 {
		s.giveBack(l, r.turn(now))
		return
	}
	v := r.stream(s.cfg.Stream, r.Site, l.Delivery.Key.Stream)
	if wait := v.keep(now); wait > 0 {
		s.giveBack(l, wait)
		return
	}
	var w owners
	if !r.local {
		w = s.places.ownersOf(l, s.cfg.Owner(l))
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
		// What runtime.Goexit ends says nothing of the site.
		f := finished{lease: l, run: u, lesson: Lesson{Health: Unreachable}, void: true}
		defer func() {
			if p := recover(); p != nil {
				f.void = false
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
