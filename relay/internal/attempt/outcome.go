package attempt

import (
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/dsn"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/spool"
)

// outcome is what is to be settled in one step: of an attempt, or of a delivery
// that is overdue.
type outcome struct {
	lease      *spool.Lease
	about      event.Event // what all events tell
	attempt    int         // its number
	settlement spool.Settlement
	report     pendingReport
	fates      []fate
	// rest are those who have not got their copy: they stay if the report
	// cannot be queued.
	rest  []spool.Recipient
	crash error // the last one
	// throttled tells what the relay does because of the attempt, or of others
	// that could not be settled.
	throttled []event.Event
}

// waitsOn reports whether the delivery is due again by itself.
func (o *outcome) waitsOn() bool {
	return len(o.settlement.Remaining) > 0 && !o.settlement.Held
}

// pendingReport gathers what the sender of a message is to be told.
type pendingReport struct {
	cause   string    // of the report
	tried   time.Time // the last attempt; zero if nobody knows any more
	expires time.Time
	last    bool // there is no further attempt
	damaged bool // the original: nothing of it is shown
	rcpts   []dsn.Recipient
}

// fate is what a settlement comes to for a recipient: its event, which is made
// before the settlement, so that the store keeps it in the same step.
type fate struct {
	event.Event
	again bool // the recipient was deferred before
	told  bool // its sender, by the report
}

// outcomeOf gives each recipient its fate after an attempt.
func outcomeOf(
	s *settler, l *spool.Lease, a *delivery.Attempt, lent *routing.Loan,
	results []delivery.Result, failed []*failure,
) *outcome {
	now, expires := s.Now(), l.Delivery.Expires
	due := nextDue(&s.Retry, &l.Delivery, a.Number, failed, now)
	o := &outcome{
		lease: l, about: s.Events.About(a.QueueID, &l.Message), attempt: a.Number,
		settlement: spool.Settlement{
			ID: l.Delivery.ID, Token: l.Token, Wait: due.Sub(now), Attempts: a.Number,
		},
		report: pendingReport{cause: "report", tried: now, expires: expires},
		fates:  make([]fate, 0, len(results)),
	}
	o.report.last = !now.Before(expires)
	o.countCrash(failed)
	late := isLate(&s.Retry, &l.Message, now)
	if o.settlement.Held { // nothing later tells its sender
		late, o.report.expires = s.Retry.DelayNotification > 0, time.Time{}
	}
	for i, rcpt := range a.Recipients {
		f := failed[i]
		if f == nil {
			o.delivered(i, &rcpt, &results[i], lent.IsFinal(rcpt.Address))
			continue
		}
		if isDamaged(f.Err) {
			o.report.damaged = true
			tellDamaged(s.Log, a.QueueID, rcpt.Address, f.Err)
		}
		keep(&rcpt, f.Error)
		o.failed(i, &rcpt, f, due, late)
	}
	return o
}

// countCrash counts a crash of the attempt, after which the delivery is set
// aside if it was not the first in a row and all copies that wait share in it:
// one that only waits for its next hop is not to wait for an operator. Of what
// has expired no more than the copies that crash are left.
func (o *outcome) countCrash(failed []*failure) {
	some, all := crashesOf(failed)
	if !some {
		return
	}
	s := &o.settlement
	s.Crashes = o.lease.Delivery.Crashes + 1
	if o.report.last {
		all, s.Crashes = true, max(s.Crashes, spool.PoisonCrashes)
	}
	s.Held = all && s.Crashes >= spool.PoisonCrashes
}

// failed gives a recipient whose copy was not taken its fate, or lets it wait.
// What crashes does not expire of it: that is no answer of its next hop.
func (o *outcome) failed(
	i int, rcpt *spool.Recipient, f *failure, due time.Time, late bool,
) {
	crash := isCrash(f.Err)
	if crash {
		o.crash = f.Err
	}
	switch {
	case f.Permanent:
		o.ended(i, rcpt, f, event.Bounced, f.Reply.Enhanced)
	case o.report.last && !crash:
		o.ended(i, rcpt, f, event.Expired, enhancedExpired)
	default:
		o.waits(i, rcpt, f, due, late)
	}
}

// isLate reports whether a message has waited so long that its sender is told.
func isLate(r *delivery.Retry, m *spool.Message, now time.Time) bool {
	return r.DelayNotification > 0 && now.Sub(began(m)) >= r.DelayNotification
}

// began is since when a message waits.
func began(m *spool.Message) time.Time {
	if m.NotBefore.After(m.Created) {
		return m.NotBefore
	}
	return m.Created
}

// enhancedExpired is "delivery time expired" (RFC 3463 section 3.5).
const enhancedExpired = "4.4.7"

// delivered lets a recipient leave whose copy was taken. final tells that it is
// in its mailbox, and not on its way there over another host.
func (o *outcome) delivered(
	i int, rcpt *spool.Recipient, res *delivery.Result, final bool,
) {
	action := dsn.Relayed // RFC 3461 sections 5.2.2 and 5.2.4
	if final {
		action = dsn.Delivered // RFC 3461 section 5.2.3
	}
	var reply delivery.Reply
	if res.Reply.Code != 0 { // else words of a transport, not meant for the sender
		reply = res.Reply
		reply.Text = oneLine(reply.Text)
	}
	told := !res.DSN && o.tell(rcpt, action, reply.Enhanced, res.Host, reply)
	e := o.about
	e.Kind, e.Host, e.Text = event.Delivered, res.Host, res.Reply.Text
	e.Code, e.Enhanced = res.Reply.Code, res.Reply.Enhanced
	o.add(i, told, e)
}

// ended lets a recipient leave whose copy has failed.
func (o *outcome) ended(
	i int, rcpt *spool.Recipient, f *failure, kind event.Kind, status string,
) {
	told := o.tell(rcpt, dsn.Failed, status, f.Host, shown(f.Error))
	o.rest = append(o.rest, *rcpt)
	o.add(i, told, o.failure(f, kind))
}

// waits keeps a recipient for another attempt, or for an operator. Of a late
// message its sender is told so, once.
func (o *outcome) waits(
	i int, rcpt *spool.Recipient, f *failure, due time.Time, late bool,
) {
	o.rest = append(o.rest, *rcpt)
	told := false
	if late && !rcpt.Delayed { // RFC 3461 section 5.2.5
		told = o.tell(rcpt, dsn.Delayed, f.Reply.Enhanced, f.Host, shown(f.Error))
		rcpt.Delayed = told
	}
	o.settlement.Remaining = append(o.settlement.Remaining, *rcpt)
	e := o.failure(f, event.Deferred)
	if e.Next = due; o.settlement.Held {
		e.Kind, e.Next = event.Poisoned, time.Time{}
	}
	o.add(i, told, e)
}

// tell puts a recipient into the report, and tells whether its sender wants to
// know.
func (o *outcome) tell(
	rcpt *spool.Recipient, action dsn.Action, status, host string, reply delivery.Reply,
) bool {
	if !dsn.Wanted(o.lease.Message.From, rcpt.Notify, action) {
		return false
	}
	o.report.rcpts = append(o.report.rcpts, dsn.Recipient{
		Address: rcpt.Address, Original: rcpt.Original, Action: action, Status: status,
		Host: host, Reply: reply, LastAttempt: o.report.tried,
		WillRetryUntil: o.report.expires,
	})
	return true
}

// add notes the event of the recipient at a place of the delivery.
func (o *outcome) add(i int, told bool, e event.Event) {
	rcpt := &o.lease.Delivery.Recipients[i]
	e.To, e.Attempt = []string{rcpt.Address}, o.attempt
	o.fates = append(o.fates, fate{Event: e, again: rcpt.Status != "", told: told})
}

// failure is the event of a failure.
func (o *outcome) failure(f *failure, kind event.Kind) event.Event {
	e := o.about
	e.Kind, e.Host, e.Text = kind, f.Host, textOf(f.Error)
	e.Code, e.Enhanced, e.Class = f.Reply.Code, f.Reply.Enhanced, f.class
	return e
}

// keep puts a failure into the queue, for the report at expiry.
func keep(rcpt *spool.Recipient, f *delivery.Error) {
	rcpt.Status, rcpt.Diagnostic, rcpt.Host = f.Reply.Enhanced, diagnostic(f), f.Host
}

// withReport puts the id of the report where it was pending; empty for none.
func (o *outcome) withReport(id string) {
	for i := range o.fates {
		f := &o.fates[i]
		if f.Report = ""; f.told {
			f.Report = id
		}
	}
}

// withoutReport is the same outcome without a report: those who have not got
// their copy wait. A report that crashed counts as the attempt itself.
func (o *outcome) withoutReport(
	wait time.Duration, now time.Time, cause error,
) *outcome {
	plain := *o
	plain.fates = slices.Clone(o.fates)
	s := &plain.settlement
	s.Remaining, s.Wait, s.Due, s.Held = o.rest, wait, time.Time{}, false
	if isCrash(cause) {
		plain.crash, s.Crashes = cause, o.lease.Delivery.Crashes+1
		s.Held = s.Crashes >= spool.PoisonCrashes
	}
	for i := range plain.fates {
		f := &plain.fates[i]
		f.told, f.Report = false, ""
		switch {
		case f.Kind == event.Delivered:
		case s.Held:
			f.ID, f.Kind, f.Next = "", event.Poisoned, time.Time{}
		default:
			f.ID, f.Kind, f.Next = "", event.Deferred, now.Add(wait)
		}
	}
	return &plain
}
