package relay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/dsn"
	"github.com/postern-mail/postern/relay/internal/intake"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/spool"
)

// notice gathers what the sender of a message is to be told of an attempt.
type notice struct {
	from        string
	at, expires time.Time
	rcpts       []dsn.Recipient
	damaged     bool   // the original: nothing of it is shown
	cause       string // of the report, beside that of an attempt
}

// add tells what became of a recipient, and reports whether the sender wants to
// know.
func (n *notice) add(
	r *spool.Recipient, a dsn.Action, status, host, diagnostic string,
) bool {
	if !dsn.Wanted(n.from, r.Notify, a) {
		return false
	}
	last := n.at
	if n.cause != "" {
		last = time.Time{} // nobody knows any more
	}
	n.rcpts = append(n.rcpts, dsn.Recipient{
		Address: r.Address, Original: r.Original, Action: a, Status: status,
		Host: host, Diagnostic: diagnostic, LastAttempt: last, WillRetryUntil: n.expires,
	})
	return true
}

// succeeded is add for a recipient whose copy was taken.
func (n *notice) succeeded(r *spool.Recipient, final bool, res *delivery.Result) bool {
	a := dsn.Relayed // RFC 3461 sections 5.2.2 and 5.2.4
	if final {
		a = dsn.Delivered // RFC 3461 section 5.2.3
	}
	var reply delivery.Reply
	if res.Reply.Code != 0 { // else words of a transport, not meant for the sender
		reply = res.Reply
		reply.Text = oneLine(reply.Text)
	}
	text := reply.String()
	return n.add(r, a, reply.Enhanced, res.Host, text[:min(len(text), 512)])
}

// report settles an attempt and, in the same step, queues the report to the
// sender, if there is anything to tell. It returns the report's queue id, which
// is derived from the attempt: when the answer of the store was lost and the
// step is made again, there is still one report. Another outcome of the same
// attempt is not mistaken for it, since an attempt with a report is settled and
// the next has another number.
func (r *Relay) report(
	ctx context.Context, p *snapshot, l *spool.Lease, n *notice, fates []fate,
	s spool.Settlement,
) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	s.Events = r.eventLog.fates(fates, "")
	if len(n.rcpts) == 0 {
		return "", r.store.Settle(ctx, s)
	}
	to, err := domains.Parse(l.Message.From)
	if err != nil {
		return "", r.store.Settle(ctx, s) // nobody to tell
	}
	rcpt, exists := p.routes.Find(ctx, to)
	if !exists {
		p.log.Warn(
			"report dropped: its recipient does not exist", "queue_id", l.Message.ID.String(), "to",
			to.String(),
		)
		return "", r.store.Settle(ctx, s)
	}
	id := spool.DeriveID(l.Message.ID,
		fmt.Sprintf("%s/%d/%d", cmp.Or(n.cause, "report"), l.Delivery.ID.Seq, s.Attempts))
	s.Events = r.eventLog.fates(fates, id.String())
	defer r.events.forget(id.String())
	rep := p.reportOf(l, n, id)
	err = r.commitReport(ctx, p, l, rep, id, rcpt, s, !n.damaged)
	if errors.Is(err, errOriginal) && (damaged(err) || !n.at.Before(n.expires)) {
		// What is damaged stays so, and what has expired has waited long
		// enough.
		err = r.commitReport(ctx, p, l, rep, id, rcpt, s, false)
	}
	if errors.Is(err, spool.ErrExists) {
		err = r.store.Settle(ctx, s)
	}
	if err != nil {
		return "", err
	}
	if p.cfg.Events != nil {
		r.events.announce(id.String())
	}
	r.sched.Wake()
	return id.String(), nil
}

func (p *snapshot) reportOf(l *spool.Lease, n *notice, id spool.ID) *dsn.Report {
	m := &l.Message
	return &dsn.Report{
		ID: id.String(), Hostname: p.cfg.Hostname, From: p.rules.Postmaster.String(), To: m.From,
		Date:       time.Now(),
		OriginalID: m.ID.String(), Arrival: m.Created, EnvelopeID: m.EnvelopeID,
		Return: m.Return, Size: m.Size, Body: m.Body, UTF8: m.UTF8, Recipients: n.rcpts,
	}
}

// commitReport queues a report, which shows the original unless whole is false.
// An error of reading the original is an errOriginal.
func (r *Relay) commitReport(
	ctx context.Context, p *snapshot, l *spool.Lease, rep *dsn.Report, id spool.ID,
	to routing.Recipient, s spool.Settlement, whole bool,
) error {
	var shown io.Reader
	var source original
	if whole {
		content, err := r.store.Open(ctx, l.Message.ID)
		if err != nil {
			return fmt.Errorf("%w: %w", errOriginal, err)
		}
		defer content.Close()
		source.ReadCloser, shown = content, &source
	}
	w, err := r.store.Create(ctx, id)
	if err != nil {
		return err
	}
	size := counter{Writer: w}
	signed := signs{signer: p.signer, id: id.String()}
	body, err := rep.Write(io.MultiWriter(&size, &signed), shown)
	signature, serr := signed.close()
	if err = errors.Join(err, serr); err != nil {
		_ = w.Abort()
		if source.err != nil {
			err = fmt.Errorf("%w: %w", errOriginal, source.err)
		}
		return err
	}
	m := spool.Message{
		ID: id, Created: rep.Date, Body: body, UTF8: rep.UTF8, Labels: l.Message.Labels,
		Origin:     spool.Origin{Remote: l.Message.Origin.Remote},
		Signatures: intake.Signatures(signature), Size: size.n + int64(len(signature)),
		Stream: l.Message.Stream, ReportOf: l.Message.ID,
	}
	accepted := aboutMessage(&m, rep.Date)
	accepted.Kind, accepted.To = event.Accepted, []string{to.To.String()}
	accepted.Identify()
	if p.cfg.Events != nil {
		r.events.expect(p.cfg.Events, accepted)
	}
	return w.Commit(ctx, spool.Commit{
		Message: m,
		Deliveries: p.routes.Deliveries(
			[]routing.Recipient{to}, m.Stream, m.Size, rep.Date, p.retry.Expires,
		),
		Prepend: signature,
		Settle:  []spool.Settlement{s},
		Events:  r.eventLog.records(accepted),
	})
}

// counter counts what is written.
type counter struct {
	io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += int64(n)
	return n, err
}
