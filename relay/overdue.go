package relay

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/dsn"
	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
)

// overdue tells what a delivery has coming without an attempt, and when that
// changes. Its end is not due before it was attempted once since the relay
// began or the clock was set.
func (r *Relay) overdue(l *spool.Lease) (state sched.Overdue, changes time.Time) {
	if l.Damaged != nil {
		return sched.OnTime, time.Time{} // the attempt makes the loss known
	}
	now := time.Now()
	p := r.snap.Load()
	tried := r.tried.has(l.Delivery.ID, now)
	switch expires := l.Delivery.Expires; {
	case now.Before(expires):
		changes = expires
	case tried:
		return sched.Expired, time.Time{}
	default:
		return sched.Untried, time.Time{}
	}
	if p.retry.DelayNotification <= 0 || !slices.ContainsFunc(l.Delivery.Recipients,
		func(rcpt spool.Recipient) bool { return hearsOfDelay(l.Message.From, &rcpt) }) {
		return sched.OnTime, changes
	}
	if isLate(&p.retry, &l.Message, now) {
		return sched.Late, changes
	}
	late := l.Message.Created.Add(p.retry.DelayNotification)
	if changes.IsZero() || late.Before(changes) {
		changes = late
	}
	return sched.OnTime, changes
}

func hearsOfDelay(from string, rcpt *spool.Recipient) bool {
	return !rcpt.Delayed && dsn.Wanted(from, rcpt.Notify, dsn.Delayed)
}

// concludeOverdue settles a delivery without an attempt: what has expired ends,
// and the sender of what is late is told, by what the last attempt has said.
func (r *Relay) concludeOverdue(ctx context.Context, l *spool.Lease) {
	p := r.snap.Load()
	defer r.recoverLease(ctx, p, l)
	state, _ := r.overdue(l)
	if state == sched.Untried {
		r.deliver(ctx, l)
		return
	}
	expired := state == sched.Expired
	a, _ := r.attemptOf(p, l)
	a.Number = l.Delivery.Attempts
	n := notice{from: l.Message.From, at: time.Now(), expires: l.Delivery.Expires, cause: "delay"}
	s := spool.Settlement{
		ID: l.Delivery.ID, Token: l.Token, Due: l.Delivery.Due, Attempts: l.Delivery.Attempts,
	}
	if expired {
		n.cause = "expiry"
	}
	var fates []fate
	for i := range l.Delivery.Recipients {
		rcpt := l.Delivery.Recipients[i]
		f := lastFailure(&rcpt)
		e := event.Event{
			To: []string{rcpt.Address}, Code: f.Reply.Code, Enhanced: f.Reply.Enhanced,
			Text: f.Reply.Text, Host: f.Host,
		}
		told := false
		if expired {
			status := "4.4.7" // RFC 3463: delivery time expired
			if e.Kind = event.Expired; f.Reply.Enhanced[0] == '5' {
				// its report could not be queued then
				e.Kind, status = event.Bounced, f.Reply.Enhanced
			}
			told = n.add(&rcpt, dsn.Failed, status, f.Host, diagnostic(f))
		} else {
			e.Kind, e.Next = event.Deferred, s.Due
			if state == sched.Late && !rcpt.Delayed {
				// RFC 3461 section 5.2.5
				told = n.add(&rcpt, dsn.Delayed, f.Reply.Enhanced, f.Host, diagnostic(f))
				rcpt.Delayed = told
			}
			s.Remaining = append(s.Remaining, rcpt)
		}
		if told {
			e.Report = pending
		}
		if told || expired {
			fates = append(fates, fate{e, rcpt.Status != ""})
		}
	}
	r.finish(ctx, p, l, a, &n, s, fates, func() []spool.Recipient { return l.Delivery.Recipients })
}

// lastFailure is what the last attempt has said of a recipient, as the queue
// keeps it.
func lastFailure(rcpt *spool.Recipient) *delivery.Error {
	reply := delivery.ParseReply(rcpt.Diagnostic)
	reply.Enhanced = cmp.Or(rcpt.Status, reply.Enhanced)
	f := &delivery.Error{Host: rcpt.Host, Reply: reply}
	if reply.Enhanced == "" { // there was none
		f.Op, f.Reply.Enhanced = delivery.OpDial, "4.4.1"
		f.Reply.Text = localCause(f)
	}
	return f
}
