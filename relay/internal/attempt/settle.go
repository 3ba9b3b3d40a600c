package attempt

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	// settleLimit bounds the settling of an attempt, also when the relay stops.
	settleLimit = 30 * time.Second
	// settlePause is the longest wait before a failed settling is tried again;
	// a second is the first.
	settlePause = 8 * time.Second
	// settlePatience is how long after its first failure a settling is tried
	// again: a database that fails over is back by then. After reportPatience
	// it is also tried without its report, which may be all that the store has
	// no room for.
	settlePatience = 2 * time.Minute
	reportPatience = 10 * time.Second
	// copiesRest is how long a delivery rests of which somebody has a copy that
	// the store does not know of.
	copiesRest = time.Hour
	// soon is a wait that may end before the scheduler asks the store anyway.
	soon = 5 * time.Second
)

// settle settles a delivery, with the report to its sender and the events in
// the same step, and publishes the events. It reports whether that is done.
// Once the lease is lost it tries no more than once.
func (s *settler) settle(ctx context.Context, o *outcome) bool {
	err, failed := s.step(ctx, o), time.Now()
	for wait := time.Second; mayPass(err) && !isCrash(err) &&
		time.Since(failed) < settlePatience && pause(ctx, wait); wait = min(2*wait, settlePause) {
		if err = s.step(ctx, o); mayPass(err) && time.Since(failed) >= reportPatience {
			err = s.withoutReport(ctx, o, err)
		}
	}
	if mayPass(err) {
		err = s.withoutReport(ctx, o, err)
	}
	if err != nil {
		s.unsettled(o.lease, s.restOf(o), err)
		return false
	}
	s.tell(o)
	if o.waitsOn() && o.settlement.Wait <= soon {
		s.Leases.Wake()
	}
	return true
}

// withoutReport settles without a report what could not be settled with it, for
// a cause that it returns where there is no report, or the lease is lost. What
// was delivered must not go out again, so it leaves, and its sender is never
// told of that success. What failed or waits is told of after another attempt.
// An outcome that could not be settled stays as it was.
func (s *settler) withoutReport(ctx context.Context, o *outcome, cause error) error {
	if len(o.report.rcpts) == 0 || leaseLost(ctx) {
		return cause
	}
	wait := waitAfter(&s.Retry, o.lease.Delivery.Key, o.attempt)
	plain := o.withoutReport(wait, s.Now(), cause)
	if err := s.plainly(ctx, plain); err != nil {
		return err
	}
	s.Log.Error(
		"report not queued", logkey.QueueID, o.lease.Message.ID.String(), logkey.Err, cause,
	)
	*o = *plain
	return nil
}

// restOf is how long a delivery rests whose outcome the store has not taken: as
// long as if it had, unless somebody has got a copy, who would get another each
// time.
func (s *settler) restOf(o *outcome) time.Duration {
	for i := range o.fates {
		if o.fates[i].Kind == event.Delivered {
			return copiesRest
		}
	}
	return min(waitAfter(&s.Retry, o.lease.Delivery.Key, o.attempt), copiesRest)
}

// tell tells of an outcome that is settled.
func (s *settler) tell(o *outcome) {
	if o.settlement.Held {
		s.tellAside(o)
	}
	first := o.attempt == 1
	for i := range o.fates {
		e := &o.fates[i].Event
		logFate(s.Log, e, first)
		first = first && e.Kind != event.Deferred
		s.Events.Publish(*e)
	}
	for i := range o.throttled {
		s.Events.Publish(o.throttled[i])
	}
}

// tellAside writes that a delivery was set aside, and why.
func (s *settler) tellAside(o *outcome) {
	attrs := []any{
		logkey.QueueID, o.lease.Message.ID.String(), logkey.Recipients,
		len(o.settlement.Remaining), logkey.Attempt, o.attempt,
	}
	if p, ok := errors.AsType[*delivery.Panic](o.crash); ok {
		attrs = append(attrs, logkey.Panic, fmt.Sprint(p.Value), logkey.Stack, p.Stack)
	} else {
		attrs = append(attrs, logkey.Err, o.crash) // with its stack
	}
	s.Log.Error("delivery set aside: attempts at it crash; release it by Reschedule", attrs...)
}

// plainly settles a delivery without a report.
func (s *settler) plainly(ctx context.Context, o *outcome) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	return s.settleOnly(ctx, o)
}

// settleOnly is a step that makes no report.
func (s *settler) settleOnly(ctx context.Context, o *outcome) error {
	o.settlement.Events = s.records(o, "")
	return s.Store.Settle(ctx, o.settlement)
}

// records are what the store keeps of an outcome: each fate, each recipient's
// first deferral, that it was set aside, and what the relay does because of it.
func (s *settler) records(o *outcome, report string) []spool.Record {
	o.withReport(report)
	var records []spool.Record
	for i := range o.fates {
		if f := &o.fates[i]; f.Kind.Fate() || f.Kind == event.Poisoned || !f.again {
			records = s.Events.Record(records, &f.Event)
		}
	}
	for i := range o.throttled {
		records = s.Events.Record(records, &o.throttled[i])
	}
	return records
}

// tellAttempted publishes that an attempt begins.
func (s *settler) tellAttempted(l *spool.Lease, a *delivery.Attempt) {
	e := s.Events.About(a.QueueID, &l.Message)
	e.Kind, e.Attempt = event.Attempted, a.Number
	s.Events.Publish(e)
}

// giveBack ends a lease without an attempt.
func (s *settler) giveBack(ctx context.Context, l *spool.Lease) {
	if leaseLost(ctx) {
		s.Log.Warn("attempt ended with its lease; it is made again, here or by another relay",
			logkey.QueueID, l.Message.ID.String(), logkey.Attempt, l.Delivery.Attempts+1)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	held := spool.Held{ID: l.Delivery.ID, Token: l.Token}
	if err := s.Store.Return(ctx, 0, []spool.Held{held}); err != nil {
		s.Log.Error("delivery not given back; it waits for the end of its lease",
			logkey.QueueID, l.Message.ID.String(), logkey.Err, err)
	}
}

// errGoexit is what runtime.Goexit says, as t.Fatal of a test does.
var errGoexit = errors.New("runtime.Goexit was called")

// recoverLease ends a lease after a panic, of a store for example, or after
// runtime.Goexit, so that the message does not wait for the lease's own end. It
// counts as an attempt that crashed.
func (d *Deliverer) recoverLease(
	ctx context.Context, s *settler, l *spool.Lease, left func(Lesson), ended *bool,
) {
	v := recover()
	switch {
	case v == nil && *ended:
		return
	case v == nil: // it says nothing of the site
		v = errGoexit
	default:
		left(Lesson{Reached: true})
	}
	p := delivery.Recovered(v)
	id := l.Message.ID.String()
	s.Log.Error("panic in a delivery", logkey.QueueID, id,
		logkey.Panic, fmt.Sprint(v), logkey.Stack, p.Stack)
	defer func() {
		if v := recover(); v != nil {
			s.Log.Error("panic in the store", logkey.QueueID, id,
				logkey.Panic, fmt.Sprint(v), logkey.Stack, string(debug.Stack()))
		}
	}()
	if l.Damaged != nil {
		s.unsettled(l, copiesRest, p)
		return
	}
	a, lent := d.attemptOf(s.Settings, l)
	results := a.All(delivery.Failed(p))
	d.settle(ctx, s, outcomeOf(s, l, a, lent, results, failuresOf(results)))
}

// lose ends a delivery of which the store does not know any more whom it is
// for. There is nobody to send a report to: the event and the log tell of it.
func (s *settler) lose(ctx context.Context, l *spool.Lease) {
	id := l.Message.ID.String()
	var to []string
	for _, rcpt := range l.Delivery.Recipients {
		to = append(to, rcpt.Address)
	}
	attrs := []any{logkey.QueueID, id, logkey.Err, l.Damaged}
	if len(to) > 0 {
		attrs = append(attrs, logkey.From, l.Message.From, logkey.To, to)
	}
	s.Log.Error("message lost: its envelope is damaged", attrs...)
	e := s.Events.About(id, &l.Message)
	e.Kind, e.To, e.Attempt = event.Removed, to, l.Delivery.Attempts
	e.Enhanced, e.Text = enhancedDamaged, oneLine(l.Damaged.Error())
	err := s.plainly(ctx, &outcome{
		lease: l, settlement: spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
		fates: []fate{{Event: e}},
	})
	if err != nil {
		s.unsettled(l, copiesRest, err)
		return
	}
	s.Events.Publish(e)
}

// unsettled tells that the store did not take the outcome of an attempt, and
// how long the delivery is to rest.
func (s *settler) unsettled(l *spool.Lease, rest time.Duration, err error) {
	s.Log.Error("attempt not settled; it will be made again",
		logkey.QueueID, l.Message.ID.String(), logkey.Err, err)
	s.Leases.Unsettled(l.Delivery.ID, rest)
}

// mayPass reports whether a failure of the store is worth another try under the
// same lease.
func mayPass(err error) bool {
	return err != nil && !errors.Is(err, spool.ErrLeaseLost) && !errors.Is(err, spool.ErrFailed) &&
		!errors.Is(err, spool.ErrClosed)
}

// pause waits, unless the relay stops.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
