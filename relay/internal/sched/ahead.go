package sched

import (
	"context"
	"time"
)

// aheadFor is how long deliveries are leased ahead for a route on which nothing
// ends.
const aheadFor = time.Second

// goesOn tells whether attempts on a route have ended well of late.
func (r *route) goesOn(now time.Time) bool {
	return r.reached && r.active > 0 && now.Sub(r.done) < aheadFor
}

// more is how many deliveries may be leased ahead now, of all routes.
func (s *Scheduler) more() int {
	n := 2 * s.free()
	for _, r := range s.ahead {
		n -= len(r.waiting)
	}
	return n
}

// capacity is how many deliveries of a route are worth leasing now, where so
// many more may be leased ahead.
func (s *Scheduler) capacity(r *route, more int, now time.Time) int {
	if len(r.waiting) > 0 {
		return 0
	}
	n := s.room(r, now)
	if !r.goesOn(now) {
		return n
	}
	return n + max(0, min(r.limit, more))
}

// startWaiting begins what was leased ahead, as far as there is room.
func (s *Scheduler) startWaiting(work context.Context) {
	now := time.Now()
	kept := s.ahead[:0]
	for _, r := range s.ahead {
		for len(r.waiting) > 0 && s.room(r, now) > 0 {
			l := r.waiting[0]
			r.waiting = r.waiting[1:]
			if by := s.begin(work, l, r, now); by != nil {
				s.returnHeld(l, by.turn(now))
			}
		}
		if !r.goesOn(now) {
			s.returnWaiting(r, now)
		}
		if len(r.waiting) > 0 {
			kept = append(kept, r)
		}
	}
	clear(s.ahead[len(kept):])
	s.ahead = kept
}

// returnWaiting gives back what was leased ahead.
func (s *Scheduler) returnWaiting(r *route, until time.Time) {
	for _, l := range r.waiting {
		s.returnHeld(l, until)
	}
	r.waiting = nil
}
