package attempt

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/dsn"
	"github.com/postern-mail/postern/relay/spool"
)

// Overdue is what a delivery has coming without an attempt.
type Overdue uint8

// What may come.
const (
	OnTime  Overdue = iota // nothing
	Late                   // its sender is told of the delay
	Expired                // its end
	Untried                // its end, but for one attempt
)

// lastWait is how far behind its end a delivery may be due by itself: its last
// wait is to end there, and is reckoned from when that was settled.
const lastWait = 5 * time.Minute

// Overdue tells what a delivery has coming without an attempt, and when that
// changes. Its end is not due before it was attempted once since the relay
// began or the clock was set, or is spoken for, nor where somebody has released
// it past its end: nothing else makes it due so far behind that.
func (d *Deliverer) Overdue(l *spool.Lease) (state Overdue, changes time.Time) {
	if l.Damaged != nil {
		return OnTime, time.Time{} // the attempt makes the loss known
	}
	now := d.cfg.Now()
	tried := d.tried.has(l.Delivery.ID, now)
	switch expires := l.Delivery.Expires; {
	case now.Before(expires):
		changes = expires
	case tried && l.Delivery.Due.Sub(expires) <= lastWait:
		return Expired, time.Time{}
	default:
		return Untried, time.Time{}
	}
	retry := &d.cfg.Settings().Retry
	if retry.DelayNotification <= 0 || !slices.ContainsFunc(l.Delivery.Recipients,
		func(rcpt spool.Recipient) bool { return hearsOfDelay(&l.Message, &rcpt) }) {
		return OnTime, changes
	}
	if isLate(retry, &l.Message, now) {
		return Late, changes
	}
	late := began(&l.Message).Add(retry.DelayNotification)
	if changes.IsZero() || late.Before(changes) {
		changes = late
	}
	return OnTime, changes
}

func hearsOfDelay(m *spool.Message, rcpt *spool.Recipient) bool {
	return !rcpt.Delayed && dsn.Wanted(m.From, rcpt.Notify, dsn.Delayed)
}

// Conclude settles a delivery without an attempt: what has expired ends, and
// the sender of what is late is told, by what the last attempt has said.
func (d *Deliverer) Conclude(ctx context.Context, l *spool.Lease) {
	s, ended := d.settler(), false
	defer d.recoverLease(ctx, s, l, ignored, &ended)
	d.conclude(ctx, s, l)
	ended = true
}

func ignored(Lesson) {}

func (d *Deliverer) conclude(ctx context.Context, s *settler, l *spool.Lease) {
	state, _ := d.Overdue(l)
	if state == Untried {
		d.Deliver(ctx, l, ignored)
		return
	}
	d.settle(ctx, s, s.overdue(l, state))
}

// overdue gives each recipient its fate without an attempt.
func (s *settler) overdue(l *spool.Lease, state Overdue) *outcome {
	o := &outcome{
		lease: l, about: s.Events.About(l.Message.ID.String(), &l.Message),
		attempt: l.Delivery.Attempts,
		settlement: spool.Settlement{
			ID: l.Delivery.ID, Token: l.Token, Due: l.Delivery.Due, Attempts: l.Delivery.Attempts,
			Crashes: l.Delivery.Crashes,
		},
		report: pendingReport{cause: "delay", expires: l.Delivery.Expires},
	}
	if state == Expired {
		o.report.cause, o.report.last = "expiry", true
	}
	for i, rcpt := range l.Delivery.Recipients {
		f := failureOf(lastFailure(&rcpt))
		switch {
		case state == Expired && f.Reply.Enhanced[0] == '5':
			// its report could not be queued then
			o.ended(i, &rcpt, f, event.Bounced, f.Reply.Enhanced)
		case state == Expired:
			o.ended(i, &rcpt, f, event.Expired, enhancedExpired)
		case state == Late && hearsOfDelay(&l.Message, &rcpt):
			o.waits(i, &rcpt, f, l.Delivery.Due, true)
		default:
			o.rest = append(o.rest, rcpt)
			o.settlement.Remaining = append(o.settlement.Remaining, rcpt)
		}
	}
	return o
}

// lastFailure is what the last attempt has said of a recipient, as the queue
// keeps it.
func lastFailure(rcpt *spool.Recipient) *delivery.Error {
	reply := delivery.ParseReply(rcpt.Diagnostic)
	reply.Enhanced = cmp.Or(rcpt.Status, reply.Enhanced)
	f := &delivery.Error{Host: rcpt.Host, Reply: reply}
	if reply.Enhanced == "" { // there was none
		f.Op, f.Reply.Enhanced = delivery.OpDial, "4.4.1"
		f.Reply.Text = "The message could not be handed to a mail host"
	}
	return f
}

// Class returns the class of what the queue keeps of a recipient's last
// failure; "" is none. The step is not kept, so that it may be another than
// that of the event.
func Class(rcpt *spool.Recipient) bounce.Class {
	if rcpt.Status == "" {
		return ""
	}
	return classOf(lastFailure(rcpt))
}
