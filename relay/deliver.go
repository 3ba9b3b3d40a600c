package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/dsn"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	// attemptLimit ends an attempt that would go on for ever.
	attemptLimit = 50 * time.Minute
	// settleLimit bounds the settling of an attempt, also when the relay stops.
	settleLimit = 30 * time.Second
	// settlePause is the longest wait before a failed settling is tried again;
	// a second is the first.
	settlePause = 8 * time.Second
)

// deliver makes one attempt and settles it.
func (r *Relay) deliver(ctx context.Context, l *spool.Lease) sched.Health {
	r.attempts.Add(1)
	defer r.attempts.Add(-1)
	p := r.snap.Load()
	defer r.recoverLease(ctx, p, l)
	if l.Damaged != nil {
		r.lose(ctx, p, l)
		return sched.Reached
	}
	a, lent := r.attemptOf(p, l)
	r.tellAttempted(p, a)
	attempt, cancel := context.WithTimeout(ctx, attemptLimit)
	results := p.try(attempt, l.Delivery.Key, lent, a)
	cancel()
	if ctx.Err() != nil && allTemporary(results) {
		r.giveBack(ctx, p, l) // the relay stops: this was no attempt
		return sched.Reached
	}
	r.conclude(ctx, p, l, lent, a, results)
	return health(results)
}

// giveBack ends a lease without an attempt.
func (r *Relay) giveBack(ctx context.Context, p *snapshot, l *spool.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	held := spool.Held{ID: l.Delivery.ID, Token: l.Token}
	if err := r.store.Return(ctx, 0, []spool.Held{held}); err != nil {
		p.log.Error("delivery not given back; it waits for the end of its lease",
			"queue_id", l.Message.ID.String(), "err", err)
	}
}

// recoverLease ends a lease after a panic, of a store for example, so that the
// message does not wait for the lease's own end.
func (r *Relay) recoverLease(ctx context.Context, p *snapshot, l *spool.Lease) {
	v := recover()
	if v == nil {
		return
	}
	id := l.Message.ID.String()
	p.log.Error("panic in a delivery", "queue_id", id,
		"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	defer func() {
		if v := recover(); v != nil {
			p.log.Error("panic in the store", "queue_id", id,
				"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
		}
	}()
	attempts := l.Delivery.Attempts + 1
	err := r.settle(ctx, spool.Settlement{
		ID: l.Delivery.ID, Token: l.Token, Remaining: l.Delivery.Recipients,
		Wait: jitter(p.retry.Wait(attempts)), Attempts: attempts,
	})
	if err != nil {
		r.unsettled(p, l, err)
	}
}

// attemptOf makes the next attempt at a delivery.
func (r *Relay) attemptOf(p *snapshot, l *spool.Lease) (*delivery.Attempt, *routing.Loan) {
	lent := p.routes.Lend()
	return &delivery.Attempt{
		QueueID:    l.Message.ID.String(),
		Number:     l.Delivery.Attempts + 1,
		Message:    l.Message,
		Recipients: l.Delivery.Recipients,
		Open: func(ctx context.Context) (io.ReadCloser, error) {
			return r.store.Open(ctx, l.Message.ID)
		},
		Sender: lent,
	}, lent
}

// try hands the message over. A panic counts as a temporary failure.
func (p *snapshot) try(
	ctx context.Context, k spool.Key, lent *routing.Loan, a *delivery.Attempt,
) (results []delivery.Result) {
	defer func() {
		if v := recover(); v != nil {
			p.log.Error("panic in an attempt", "queue_id", a.QueueID,
				"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			results = a.All(delivery.Failed(
				&delivery.Error{Op: delivery.OpContent, Err: errPanicked},
			))
		}
	}()
	return p.routes.Deliver(ctx, k, lent, a)
}

var (
	errPanicked = errors.New("relay: the attempt panicked")
	errNoResult = errors.New("relay: the transport gave no result")
	errYesAndNo = errors.New("relay: the transport says that it was taken, and refused")
)

// classify reads what a result says of a failure; nil for a copy that was
// taken. What it leaves out is filled in, and what contradicts itself may pass.
func classify(res *delivery.Result) *delivery.Error {
	if res.OK() {
		return nil
	}
	f := &delivery.Error{Op: delivery.OpContent, Host: res.Host, Err: res.Err}
	if e, ok := errors.AsType[*delivery.Error](res.Err); ok && e != nil {
		f.Op, f.Reply, f.Permanent = e.Op, e.Reply, e.Permanent
		f.Host = cmp.Or(e.Host, res.Host)
	}
	switch {
	case res.Delivered && res.Err == nil:
		f.Err = errYesAndNo
	case res.Err == nil:
		f.Err = errNoResult
	case damaged(res.Err):
		f.Permanent, f.Reply = true, delivery.Reply{Enhanced: enhancedDamaged}
	}
	f.Permanent = f.Permanent && !res.Delivered
	f.Reply.Text = oneLine(f.Reply.Text)
	f.Reply.Enhanced = enhanced(f)
	return f
}

// enhanced returns the enhanced code of a failure, which is of its class.
func enhanced(f *delivery.Error) string {
	class := byte('4')
	if f.Permanent {
		class = '5'
	}
	if e := f.Reply.Enhanced; len(e) >= 5 && e[0] == class {
		return e
	}
	return string(class) + ".0.0"
}

// textOf is what the log and the events say of a failure.
func textOf(f *delivery.Error) string {
	if f.Reply.Code != 0 || f.Reply.Text != "" || f.Err == nil {
		return f.Reply.Text
	}
	return oneLine(f.Err.Error())
}

func oneLine(s string) string {
	if strings.ContainsAny(s, "\r\n") {
		s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
			return r == '\r' || r == '\n'
		}), " ")
	}
	return s
}

// pending stands in an event for the id of a report that is yet to be queued.
const pending = "pending"

// conclude settles an attempt: delivered recipients leave, temporary failures
// wait for the next attempt, permanent and expired ones leave too. In the same
// step the sender is told what it wants to know.
func (r *Relay) conclude(
	ctx context.Context, p *snapshot, l *spool.Lease, lent *routing.Loan, a *delivery.Attempt,
	results []delivery.Result,
) {
	now := time.Now()
	r.tried.note(l.Delivery.ID, true)
	expired := !now.Before(l.Delivery.Expires)
	late := isLate(&p.retry, &l.Message, now)
	due := now.Add(jitter(p.retry.Wait(a.Number)))
	if due.After(l.Delivery.Expires) {
		due = l.Delivery.Expires
	}
	s := spool.Settlement{
		ID: l.Delivery.ID, Token: l.Token, Wait: due.Sub(now), Attempts: a.Number,
	}
	n := notice{from: l.Message.From, at: now, expires: l.Delivery.Expires}
	fates := make([]fate, 0, len(results))
	for i := range a.Recipients {
		rcpt, res := a.Recipients[i], &results[i]
		f := classify(res)
		if f != nil && damaged(f.Err) {
			n.damaged = true
			p.log.Error("message cannot be read any more", "queue_id", a.QueueID,
				"to", rcpt.Address, "err", f.Err)
		}
		e := event.Event{To: []string{rcpt.Address}}
		told := false
		if f == nil {
			e.Host, e.Code, e.Enhanced = res.Host, res.Reply.Code, res.Reply.Enhanced
			e.Text = res.Reply.Text
		} else {
			e.Host, e.Code, e.Enhanced = f.Host, f.Reply.Code, f.Reply.Enhanced
			e.Text = textOf(f)
		}
		switch {
		case f == nil:
			e.Kind = event.Delivered
			told = !res.DSN && n.succeeded(&rcpt, lent.IsFinal(rcpt.Address), res)
		case f.Permanent:
			e.Kind = event.Bounced
			told = n.add(&rcpt, dsn.Failed, f.Reply.Enhanced, f.Host, diagnostic(f))
		case expired:
			e.Kind = event.Expired
			// RFC 3463: delivery time expired
			told = n.add(&rcpt, dsn.Failed, "4.4.7", f.Host, diagnostic(f))
		default:
			e.Kind, e.Next = event.Deferred, due
			if late && !rcpt.Delayed { // RFC 3461 section 5.2.5
				told = n.add(&rcpt, dsn.Delayed, f.Reply.Enhanced, f.Host, diagnostic(f))
				rcpt.Delayed = told
			}
			keep(&rcpt, f)
			s.Remaining = append(s.Remaining, rcpt)
		}
		if told {
			e.Report = pending
		}
		fates = append(fates, fate{e, a.Recipients[i].Status != ""})
	}
	r.finish(ctx, p, l, a, &n, s, fates, func() []spool.Recipient {
		return undelivered(a, results)
	})
}

// finish settles a delivery, with the report to its sender in the same step,
// and publishes the events. rest are those to be kept if the report cannot be
// queued.
func (r *Relay) finish(
	ctx context.Context, p *snapshot, l *spool.Lease, a *delivery.Attempt, n *notice,
	s spool.Settlement,
	fates []fate, rest func() []spool.Recipient,
) {
	settled(fates, l, a.Number)
	report, err := r.report(ctx, p, l, n, fates, s)
	for wait := time.Second; mayPass(err) && wait <= settlePause && pause(ctx, wait); wait *= 2 {
		report, err = r.report(ctx, p, l, n, fates, s)
	}
	if mayPass(err) && len(n.rcpts) > 0 {
		// What was delivered must not go out again, so it leaves, and its
		// sender is never told of that success. What failed or waits is told of
		// after another attempt.
		p.log.Error("report not queued", "queue_id", a.QueueID, "err", err)
		s.Remaining, s.Wait, s.Due = rest(), jitter(p.retry.Wait(a.Number)), time.Time{}
		next := time.Now().Add(s.Wait)
		for i := range fates {
			if e := &fates[i]; e.Kind != event.Delivered {
				e.Kind, e.Next = event.Deferred, next
				e.Identify()
			}
		}
		s.Events = r.eventLog.fates(fates, "")
		err = r.settle(ctx, s)
	}
	if err != nil {
		r.unsettled(p, l, err)
		return
	}
	if len(s.Remaining) == 0 {
		r.tried.note(l.Delivery.ID, false)
	}
	first := a.Number == 1
	for _, e := range reported(fates, report) {
		logFate(p.log, &e, a, first)
		first = first && e.Kind != event.Deferred
		r.tell(p, e)
	}
}

// logFate writes the line of what an attempt came to for a recipient, which is
// at Info for a failure, and for the first deferral of a message.
func logFate(log *slog.Logger, e *event.Event, a *delivery.Attempt, first bool) {
	level := slog.LevelDebug
	if e.Kind == event.Bounced || e.Kind == event.Expired || e.Kind == event.Deferred && first {
		level = slog.LevelInfo
	}
	ctx := context.Background()
	if !log.Enabled(ctx, level) {
		return
	}
	line := make(attributes, 0, 12)
	line = line.text("queue_id", a.QueueID)
	line = line.text("connector", a.Message.Origin.Connector)
	line = line.text("from", a.Message.From)
	line = line.text("to", e.To[0])
	line = line.number("attempt", e.Attempt)
	line = line.text("host", e.Host)
	line = line.number("code", e.Code)
	line = line.text("enhanced", e.Enhanced)
	if e.Code != 0 || e.Kind == event.Delivered {
		line = line.text("reply", e.Text)
	} else {
		line = line.text("err", e.Text)
	}
	if !e.Next.IsZero() {
		line = append(line, slog.Time("next", e.Next))
	}
	line = line.text("report", e.Report)
	log.LogAttrs(ctx, level, e.Kind.String(), line...)
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

// undelivered are the recipients that nobody has taken.
func undelivered(a *delivery.Attempt, results []delivery.Result) []spool.Recipient {
	var rest []spool.Recipient
	for i, rcpt := range a.Recipients {
		if f := classify(&results[i]); f != nil {
			keep(&rcpt, f)
			rest = append(rest, rcpt)
		}
	}
	return rest
}

// keep puts a failure into the queue, for the report at expiry.
func keep(rcpt *spool.Recipient, f *delivery.Error) {
	rcpt.Status, rcpt.Diagnostic, rcpt.Host = f.Reply.Enhanced, diagnostic(f), f.Host
}

// settle ends a lease, also when the relay stops.
func (r *Relay) settle(ctx context.Context, s spool.Settlement) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	return r.store.Settle(ctx, s)
}

// unsettled tells that the store did not take the outcome of an attempt.
func (r *Relay) unsettled(p *snapshot, l *spool.Lease, err error) {
	p.log.Error("attempt not settled; it will be made again",
		"queue_id", l.Message.ID.String(), "err", err)
	r.sched.Unsettled(l.Delivery.ID)
}

// tell publishes an event to the application.
func (r *Relay) tell(p *snapshot, e event.Event) {
	if p.cfg.Events != nil {
		r.events.publish(p.cfg.Events, e)
	}
}

// tellAttempted publishes that an attempt begins.
func (r *Relay) tellAttempted(p *snapshot, a *delivery.Attempt) {
	if p.cfg.Events == nil {
		return
	}
	e := aboutMessage(&a.Message, time.Now())
	e.Kind, e.Attempt = event.Attempted, a.Number
	e.Identify()
	r.tell(p, e)
}

// jitter spreads retries by up to a tenth, so that what failed together is not
// tried together.
func jitter(d time.Duration) time.Duration {
	return d + rand.N(max(d/10, 1))
}

// diagnostic is what a sender may read: the remote reply as received, the words
// of the application, or a constant text for a local cause, whose details
// belong in the log and the events.
func diagnostic(f *delivery.Error) string {
	text := f.Reply.Text
	switch {
	case f.Reply.Code != 0:
		text = f.Reply.String()
	case text == "":
		text = localCause(f)
	}
	return text[:min(len(text), 512)]
}

func localCause(f *delivery.Error) string {
	if damaged(f.Err) {
		return "The message was damaged while it waited on this server, and cannot be sent any more"
	}
	switch f.Reply.Enhanced {
	case "5.6.3":
		return "The mail host does not take such 8-bit or binary content, and the message cannot " +
			"be converted"
	case "5.6.11":
		return "The message has a CR, an LF or a NUL on its own where it cannot be sent"
	case "5.6.7":
		return "The mail host takes no 8-bit headers or addresses, and the message cannot be " +
			"converted"
	}
	switch f.Op {
	case delivery.OpDNS:
		return "The mail hosts of the domain could not be found"
	case delivery.OpDial, delivery.OpGreeting, delivery.OpEHLO:
		return "No mail host could be reached"
	case delivery.OpSTARTTLS:
		return "No secure connection could be made"
	case delivery.OpAuth:
		return "The mail host did not let this server log on"
	case delivery.OpRoute:
		return "No route leads to the recipient's domain"
	default:
		return "The connection with the mail host broke off, or it could not take the message"
	}
}

func allTemporary(results []delivery.Result) bool {
	for i := range results {
		if f := classify(&results[i]); f == nil || f.Permanent {
			return false
		}
	}
	return true
}

// health tells whether the next hop could be talked to at all.
func health(results []delivery.Result) sched.Health {
	for i := range results {
		f := classify(&results[i])
		if f == nil || f.Permanent || !unreached(f) {
			return sched.Reached
		}
	}
	return sched.Unreachable
}

// unreached tells whether a failure came before the message: it says that
// others would fare no better now. So do the replies by which a host refuses
// the connection.
func unreached(f *delivery.Error) bool {
	switch f.Op {
	case delivery.OpDNS, delivery.OpDial, delivery.OpGreeting, delivery.OpSTARTTLS,
		delivery.OpAuth:
		return true
	case delivery.OpEHLO, delivery.OpMail:
		return f.Reply.Code == 0 || f.Reply.Code == 421 || f.Reply.Code == 432
	}
	return false
}
