package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/spool"
)

// limit ends an attempt that would go on for ever.
const limit = 50 * time.Minute

// Deliverer makes attempts. Its methods may be called from many goroutines at
// once.
type Deliverer struct {
	cfg      Config
	tried    *tried
	untold   untold
	underWay atomic.Int32
}

// New returns a Deliverer.
func New(cfg Config) *Deliverer {
	return &Deliverer{cfg: cfg, tried: newTried(cfg.Now())}
}

// UnderWay counts the attempts under way.
func (d *Deliverer) UnderWay() int { return int(d.underWay.Load()) }

// Deliver makes one attempt and settles it. It calls left with what that has
// taught, before it settles; after a panic it may do so again.
func (d *Deliverer) Deliver(ctx context.Context, l *spool.Lease, left func(Lesson)) {
	d.underWay.Add(1)
	defer d.underWay.Add(-1)
	s, ended := d.settler(), false
	defer d.recoverLease(ctx, s, l, left, &ended)
	d.deliver(ctx, s, l, left)
	ended = true
}

func (d *Deliverer) deliver(
	ctx context.Context, s *settler, l *spool.Lease, left func(Lesson),
) {
	if l.Damaged != nil {
		left(Lesson{Reached: true})
		s.lose(ctx, l)
		return
	}
	a, lent := d.attemptOf(s.Settings, l)
	s.tellAttempted(l, a)
	results := try(ctx, s.Settings, l.Delivery.Key, lent, a)
	failed := failuresOf(results)
	if isNoAttempt(ctx, failed) {
		left(Lesson{Reached: true})
		s.giveBack(ctx, l)
		return
	}
	d.tried.note(l.Delivery.ID, true)
	o := outcomeOf(s, l, a, lent, results, failed)
	lesson := lessonOf(failed, s.Routes.Remote(l.Delivery.Key))
	s.learn(o, &lesson)
	left(lesson)
	d.settle(ctx, s, o)
}

// settle settles an outcome. What the relay does by itself it does however that
// ends: what no step has told of goes with the next.
func (d *Deliverer) settle(ctx context.Context, s *settler, o *outcome) {
	o.throttled = append(d.untold.take(), o.throttled...)
	settled := false
	defer func() {
		if !settled {
			d.untold.add(o.throttled)
		}
	}()
	settled = s.settle(ctx, o)
	if settled && !o.waitsOn() {
		d.tried.note(o.lease.Delivery.ID, false)
	}
}

// isNoAttempt reports whether an attempt was broken off before it came to
// anything: since the relay stops, or because its lease was lost. In the second
// case somebody else may have delivered the message meanwhile, so that its
// content is gone, and no failure counts.
func isNoAttempt(ctx context.Context, failed []*failure) bool {
	return ctx.Err() != nil && allMayPass(failed) || leaseLost(ctx) && !anyTaken(failed)
}

// leaseLost reports whether an attempt was ended because its lease was lost, or
// could not be renewed.
func leaseLost(ctx context.Context) bool {
	return errors.Is(context.Cause(ctx), spool.ErrLeaseLost)
}

func (d *Deliverer) settler() *settler {
	return &settler{Config: d.cfg, Settings: d.cfg.Settings()}
}

// Forget drops what is remembered of a delivery that has come to its end
// without an attempt.
func (d *Deliverer) Forget(id spool.DeliveryID) { d.tried.note(id, false) }

// Refused notes that a refusal of others speaks for a delivery, unless it came
// before the clock was set: then it expires by its age without an attempt. The
// time is of the steady clock.
func (d *Deliverer) Refused(id spool.DeliveryID, at time.Time) {
	d.tried.spokenFor(id, at, d.cfg.Now())
}

// attemptOf makes the next attempt at a delivery.
func (d *Deliverer) attemptOf(
	s *Settings, l *spool.Lease,
) (*delivery.Attempt, *routing.Loan) {
	lent := s.Routes.Lend()
	return &delivery.Attempt{
		QueueID:    l.Message.ID.String(),
		Number:     l.Delivery.Attempts + 1,
		Message:    l.Message,
		Recipients: l.Delivery.Recipients,
		Open: func(ctx context.Context) (io.ReadCloser, error) {
			return open(ctx, d.cfg.Store, l.Message.ID)
		},
		Sender: lent,
	}, lent
}

// try hands the message over. A panic counts as a failure that may pass.
func try(
	ctx context.Context, s *Settings, k spool.Key, lent *routing.Loan, a *delivery.Attempt,
) (results []delivery.Result) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			p := delivery.Recovered(v)
			s.Log.Error("panic in an attempt", logkey.QueueID, a.QueueID,
				logkey.Panic, fmt.Sprint(v), logkey.Stack, p.Stack)
			results = a.All(delivery.Failed(p))
		}
	}()
	return s.Routes.Deliver(ctx, k, lent, a)
}
