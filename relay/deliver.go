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
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/dsn"
	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	// attemptLimit ends an attempt before its lease ends.
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
	a := r.attemptOf(l)
	r.event(p, event.Event{Kind: event.Attempted, Attempt: a.Number}, a)
	attempt, cancel := context.WithTimeout(ctx, attemptLimit)
	results := p.routes.attempt(attempt, l.Delivery.Route, a)
	cancel()
	if ctx.Err() != nil && allTemporary(results) {
		err := r.settle(ctx, l, spool.Settlement{ // the relay stops: this was no attempt
			ID: l.Delivery.ID, Token: l.Token,
			Remaining: l.Delivery.Recipients, Due: l.Delivery.Due, Attempts: l.Delivery.Attempts,
		})
		if err != nil {
			p.log.Error(
				"attempt not settled; it will be made again", "queue_id", a.QueueID, "err", err,
			)
		}
		return sched.Reached
	}
	r.conclude(ctx, p, l, a, results)
	return health(results)
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
	err := r.settle(ctx, l, spool.Settlement{
		ID: l.Delivery.ID, Token: l.Token, Remaining: l.Delivery.Recipients,
		Due: time.Now().Add(jitter(p.retry.wait(attempts))), Attempts: attempts,
	})
	if err != nil {
		p.log.Error("attempt not settled; it will be made again", "queue_id", id, "err", err)
	}
}

// attemptOf makes the next attempt at a delivery.
func (r *Relay) attemptOf(l *spool.Lease) *Attempt {
	return &Attempt{
		QueueID:    l.Message.ID.String(),
		Number:     l.Delivery.Attempts + 1,
		Message:    l.Message,
		Recipients: l.Delivery.Recipients,
		Open: func(ctx context.Context) (io.ReadCloser, error) {
			return r.store.Open(ctx, l.Message.ID)
		},
	}
}

// attempt hands the message to the route's transport. A panic counts as a
// temporary failure.
func (p *routes) attempt(ctx context.Context, route string, a *Attempt) (results []Result) {
	defer func() {
		if v := recover(); v != nil {
			p.lent.log.Error("panic in an attempt", "queue_id", a.QueueID,
				"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			results = failAll(a, &DeliveryError{Op: "content", Err: errPanicked})
		}
		for len(results) < len(a.Recipients) {
			results = append(results, Result{Err: &DeliveryError{Op: "content", Err: errNoResult}})
		}
	}()
	switch {
	case route == routeMailbox && p.mailboxes != nil:
		return p.mailboxes.Deliver(ctx, a)
	case route == routeTransport && p.transport != nil:
		return p.transport.Deliver(ctx, a)
	}
	if h, domain := p.sender(route); h != nil {
		return p.transact(ctx, h, domain, a)
	}
	return p.reroute(ctx, a)
}

var (
	errPanicked = errors.New("relay: the attempt panicked")
	errNoResult = errors.New("relay: the transport gave no result")
	errNoRoute  = errors.New("relay: no send connector matches the recipient's domain")
	errTooLarge = errors.New("relay: the message is too large for every matching send connector")
)

// transact makes one transaction over a send connector.
func (p *routes) transact(ctx context.Context, h *hop, domain string, a *Attempt) []Result {
	t := smtpTransport{client: p.lent.client, hop: h.to(domain), signer: p.lent.signer}
	return t.Deliver(ctx, a)
}

// to is the next hop for a domain; empty for smart hosts.
func (h *hop) to(domain string) *outbound.NextHop {
	if domain == "" {
		return &h.next
	}
	next := h.next
	next.Domain = domain
	next.Key = routeMX + domain + "/" + h.next.Key
	return &next
}

// reroute serves recipients whose stored route leads nowhere: none matched when
// they were accepted, or the configuration has changed since.
func (p *routes) reroute(ctx context.Context, a *Attempt) []Result {
	results := make([]Result, len(a.Recipients))
	groups := make(map[string][]int)
	for i, rcpt := range a.Recipients {
		to, err := domains.Parse(rcpt.Address)
		if err != nil {
			results[i].Err = &DeliveryError{
				Op: "route", Err: err, Permanent: true, Enhanced: "5.1.3",
			}
			continue
		}
		t, refusal := p.lent.rules.findNow(ctx, to)
		if refusal != nil {
			results[i].Err = replyError(refusal)
			continue
		}
		route := p.routeOf(t, to, a.Message.Size)
		groups[route] = append(groups[route], i)
	}
	for route, members := range groups {
		part := *a
		part.Recipients = make([]spool.Recipient, len(members))
		for j, i := range members {
			part.Recipients[j] = a.Recipients[i]
		}
		var got []Result
		switch route {
		case routeUnreachable:
			got = failAll(&part, &DeliveryError{Op: "route", Err: errNoRoute, Enhanced: "4.4.4"})
		case routeTooLarge:
			got = failAll(
				&part,
				&DeliveryError{Op: "route", Err: errTooLarge, Enhanced: "5.3.4", Permanent: true},
			)
		default:
			got = p.attempt(ctx, route, &part)
		}
		for j, i := range members {
			results[i] = got[j]
			results[i].arrived = p.isFinal(route)
		}
	}
	return results
}

func failAll(a *Attempt, err error) []Result {
	results := make([]Result, len(a.Recipients))
	for i := range results {
		results[i].Err = err
	}
	return results
}

// answer is what a result says.
type answer struct {
	permanent bool
	code      int    // remote reply; 0 for a local cause
	enhanced  string // enhanced status code, never empty of a failure
	text      string // remote reply or local cause, one line
	op        string // of a local cause
	host      string
}

// answerOf reads a result.
func answerOf(res Result) answer {
	if res.Err != nil {
		return failureOf(res)
	}
	f := answer{host: res.Host}
	f.code, f.enhanced, f.text = splitReply(res.Reply)
	return f
}

// failureOf reads the error of a result.
func failureOf(res Result) answer {
	f := answer{host: res.Host, text: oneLine(res.Err.Error())}
	if d, ok := errors.AsType[*DeliveryError](res.Err); ok {
		f.permanent, f.code, f.enhanced = d.Permanent, d.Code, d.Enhanced
		if d.Host != "" {
			f.host = d.Host
		}
		if d.Code != 0 {
			f.text = oneLine(d.Text)
		} else {
			f.op = cmp.Or(d.Op, "content")
		}
	} else if e, ok := errors.AsType[*ReplyError](res.Err); ok {
		f.permanent, f.enhanced, f.text = e.Code >= 500, e.Enhanced, oneLine(e.Text)
	} else {
		f.op = "content" // an application's error, not meant for the sender
	}
	if damaged(res.Err) {
		f.permanent, f.code, f.op, f.enhanced = true, 0, "damaged", enhancedDamaged
	}
	class := byte('4')
	if f.permanent {
		class = '5'
	}
	if len(f.enhanced) < 5 || f.enhanced[0] != class {
		f.enhanced = string(class) + ".0.0"
	}
	return f
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
	ctx context.Context, p *snapshot, l *spool.Lease, a *Attempt, results []Result,
) {
	now := time.Now()
	r.tried.note(l.Delivery.ID, true)
	expired := !now.Before(l.Delivery.Expires)
	late := p.retry.isLate(&l.Message, now)
	arrived := p.routes.isFinal(l.Delivery.Route)
	due := now.Add(jitter(p.retry.wait(a.Number)))
	if due.After(l.Delivery.Expires) {
		due = l.Delivery.Expires
	}
	s := spool.Settlement{ID: l.Delivery.ID, Token: l.Token, Due: due, Attempts: a.Number}
	n := notice{from: l.Message.From, at: now, expires: l.Delivery.Expires}
	events := make([]event.Event, 0, len(results))
	for i := range a.Recipients {
		rcpt, res := a.Recipients[i], results[i]
		f := answerOf(res)
		if damaged(res.Err) {
			n.damaged = true
			p.log.Error("message cannot be read any more", "queue_id", a.QueueID,
				"to", rcpt.Address, "err", res.Err)
		}
		e := event.Event{
			To: []string{rcpt.Address}, Code: f.code, Enhanced: f.enhanced, Text: f.text,
			Host: f.host,
		}
		told := false
		switch {
		case res.Err == nil:
			e.Kind = event.Delivered
			told = !res.DSN && n.succeeded(&rcpt, arrived || res.arrived, f)
		case f.permanent:
			e.Kind = event.Bounced
			told = n.add(&rcpt, dsn.Failed, f.enhanced, f)
		case expired:
			e.Kind = event.Expired
			told = n.add(&rcpt, dsn.Failed, "4.4.7", f) // RFC 3463: delivery time expired
		default:
			e.Kind, e.Next = event.Deferred, due
			if late && !rcpt.Delayed {
				told = n.add(&rcpt, dsn.Delayed, f.enhanced, f) // RFC 3461 section 5.2.5
				rcpt.Delayed = told
			}
			rcpt.Status, rcpt.Diagnostic, rcpt.Host = f.enhanced, diagnostic(f), f.host
			s.Remaining = append(s.Remaining, rcpt)
		}
		if told {
			e.Report = pending
		}
		events = append(events, e)
	}
	r.finish(ctx, p, l, a, &n, s, events, func() []spool.Recipient {
		return undelivered(a, results)
	})
}

// finish settles a delivery, with the report to its sender in the same step,
// and publishes the events. rest are those to be kept if the report cannot be
// queued.
func (r *Relay) finish(
	ctx context.Context, p *snapshot, l *spool.Lease, a *Attempt, n *notice, s spool.Settlement,
	events []event.Event, rest func() []spool.Recipient,
) {
	report, err := r.report(ctx, p, l, n, s)
	if r.renewed(err, l, &s) {
		report, err = r.report(ctx, p, l, n, s)
	}
	for wait := time.Second; mayPass(err) && wait <= settlePause && pause(ctx, wait); wait *= 2 {
		report, err = r.report(ctx, p, l, n, s)
	}
	if mayPass(err) && len(n.rcpts) > 0 {
		// What was delivered must not go out again, so it leaves, and its
		// sender is never told of that success. What failed or waits is told of
		// after another attempt.
		p.log.Error("report not queued", "queue_id", a.QueueID, "err", err)
		s.Remaining, s.Due = rest(), time.Now().Add(jitter(p.retry.wait(a.Number)))
		err = r.settle(ctx, l, s)
		for i := range events {
			if e := &events[i]; e.Kind != event.Delivered {
				e.Kind, e.Next = event.Deferred, s.Due
			}
		}
	}
	if err != nil {
		p.log.Error("attempt not settled; it will be made again", "queue_id", a.QueueID, "err", err)
		return
	}
	if len(s.Remaining) == 0 {
		r.tried.note(l.Delivery.ID, false)
	}
	first := a.Number == 1
	for _, e := range events {
		if e.Report != "" {
			e.Report = report
		}
		e.Attempt = a.Number
		logFate(p.log, &e, a, first)
		first = first && e.Kind != event.Deferred
		r.event(p, e, a)
	}
}

// logFate writes the line of what an attempt came to for a recipient, which is
// at Info for a failure, and for the first deferral of a message.
func logFate(log *slog.Logger, e *event.Event, a *Attempt, first bool) {
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
func undelivered(a *Attempt, results []Result) []spool.Recipient {
	var rest []spool.Recipient
	for i, rcpt := range a.Recipients {
		if results[i].Err != nil {
			f := failureOf(results[i])
			rcpt.Status, rcpt.Diagnostic, rcpt.Host = f.enhanced, diagnostic(f), f.host
			rest = append(rest, rcpt)
		}
	}
	return rest
}

// settle ends a lease, also when the relay stops.
func (r *Relay) settle(ctx context.Context, l *spool.Lease, s spool.Settlement) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	err := r.store.Settle(ctx, s)
	if r.renewed(err, l, &s) {
		err = r.store.Settle(ctx, s)
	}
	return err
}

// event completes and publishes an event about an attempt.
func (r *Relay) event(p *snapshot, e event.Event, a *Attempt) {
	if p.cfg.Events == nil {
		return
	}
	e.QueueID = a.QueueID
	e.Connector = a.Message.Origin.Connector
	e.User = a.Message.Origin.User
	e.From = a.Message.From
	e.Size = a.Message.Size
	e.Labels = a.Message.Labels
	r.events.publish(p.cfg.Events, e)
}

// jitter spreads retries by up to a tenth, so that what failed together is not
// tried together.
func jitter(d time.Duration) time.Duration {
	return d + rand.N(max(d/10, 1))
}

// diagnostic is what a sender may read: the remote reply as received, the words
// of the application, or a constant text for a local cause, whose details
// belong in the log and the events.
func diagnostic(f answer) string {
	text := f.text
	switch {
	case f.code != 0:
		text = fmt.Sprintf("%d %s %s", f.code, f.enhanced, f.text)
	case f.op != "":
		text = localCause(f.op, f.enhanced)
	}
	return text[:min(len(text), 512)]
}

func localCause(op, enhanced string) string {
	switch enhanced {
	case "5.6.3":
		return "The mail host does not take such 8-bit or binary content, and the message cannot " +
			"be converted"
	case "5.6.11":
		return "The message has a CR, an LF or a NUL on its own where it cannot be sent"
	case "5.6.7":
		return "The mail host takes no 8-bit headers or addresses, and the message cannot be " +
			"converted"
	}
	switch op {
	case "damaged":
		return "The message was damaged while it waited on this server, and cannot be sent any more"
	case "dns":
		return "The mail hosts of the domain could not be found"
	case "dial", "greeting", "ehlo":
		return "No mail host could be reached"
	case "starttls":
		return "No secure connection could be made"
	case "auth":
		return "The mail host did not let this server log on"
	case "route":
		return "No route leads to the recipient's domain"
	default:
		return "The connection with the mail host broke off, or it could not take the message"
	}
}

// splitReply parts a transport's reply into code, enhanced code and text, as
// far as it has them.
func splitReply(reply string) (code int, enhanced, text string) {
	head, rest, _ := strings.Cut(reply, " ")
	code, err := strconv.Atoi(head)
	if err != nil || len(head) != 3 {
		return 0, "", reply
	}
	if e, after, _ := strings.Cut(rest, " "); strings.HasPrefix(e, head[:1]+".") {
		return code, e, after
	}
	return code, "", strings.TrimPrefix(rest, " ")
}

func allTemporary(results []Result) bool {
	for _, r := range results {
		if r.Err == nil || failureOf(r).permanent {
			return false
		}
	}
	return true
}

// health tells whether the next hop could be talked to at all.
func health(results []Result) sched.Health {
	for _, r := range results {
		d, ok := errors.AsType[*DeliveryError](r.Err)
		if !ok || d.Permanent || !unreached(d) {
			return sched.Reached
		}
	}
	return sched.Unreachable
}

// unreached tells whether a failure came before the message: it says that
// others would fare no better now. So do the replies by which a host refuses
// the connection.
func unreached(d *DeliveryError) bool {
	switch d.Op {
	case "dns", "dial", "greeting", "starttls", "auth":
		return true
	case "ehlo", "mail":
		return d.Code == 0 || d.Code == 421 || d.Code == 432
	}
	return false
}
