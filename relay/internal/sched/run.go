package sched

import (
	"context"
	"errors"
	"time"

	"github.com/postern-mail/postern/relay/internal/callback"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/spool"
)

// finished is a step of a delivery: an attempt leaves its site and then is
// settled.
type finished struct {
	lease   *spool.Lease // of what is settled; nil for what has left
	run     *run         // nil for a conclusion
	untried bool         // a conclusion with an attempt
	void    bool         // it was not begun, or ended with its lease
	lesson  Lesson
}

// run begins an attempt, which has a place.
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

// attempt calls f with a context that ends with the lease, unless that has
// ended.
func (s *Scheduler) attempt(work context.Context, l *spool.Lease, f func(context.Context)) {
	if ctx, ok := s.leases.begin(work, l.Delivery.ID); ok {
		f(ctx)
	}
}

// drainDone takes what else has finished, so that one lease call fills all free
// places.
func (s *Scheduler) drainDone() {
	for {
		select {
		case f := <-s.done:
			s.finish(f)
		default:
			return
		}
	}
}

func (s *Scheduler) finish(f finished) {
	now := time.Now()
	switch {
	case f.lease == nil:
		s.leaveSite(f, now)
		return
	case f.run == nil:
		s.sweep.finish(f.untried, now)
	default:
		s.pace.finished++
		r := f.run.site
		s.places.end(f.run, now)
		s.noteDry(r, now)
	}
	s.leases.drop(f.lease.Delivery.ID)
}

// leaveSite ends an attempt at its site, and takes in what it has taught.
func (s *Scheduler) leaveSite(f finished, now time.Time) {
	r := f.run.site
	// Another site may take the place that it leaves.
	s.pace.woken = s.pace.woken || f.run.troubled || len(f.run.gates) > 0
	s.places.leave(f.run, now)
	if !f.void {
		r.learn(f.lesson, s.sites.roof(f.run.key), r.active, now)
	}
	s.noteDry(r, now)
}
