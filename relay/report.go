package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/dsn"
	"github.com/postern-mail/postern/relay/spool"
)

// failedRecipient is a recipient given up.
type failedRecipient struct {
	spool.Recipient
	failure failure
}

// report settles an attempt and, in the same step, queues the report on the
// recipients given up, if their sender wants one. It returns the report's
// queue id. Its id is derived from the attempt, so that a store without such a
// step still makes one report of one failure.
func (r *Relay) report(ctx context.Context, p *snapshot, l *spool.Lease, failed []failedRecipient, s spool.Settlement) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	rep := p.reportOf(l, failed)
	if rep == nil {
		return "", r.store.Settle(ctx, s)
	}
	now := time.Now()
	id := spool.DeriveID(l.Message.ID, fmt.Sprintf("report/%d/%d", l.Delivery.ID.Seq, s.Attempts))
	rep.ID, rep.Date = id.String(), now
	to, err := domains.Parse(l.Message.From)
	if err != nil {
		return "", r.store.Settle(ctx, s) // nobody to tell
	}
	target, refusal := p.decideRcpt(ctx, client{rights: allRights}, to)
	if refusal != nil && refusal.Code >= 500 {
		p.log.Warn("report dropped: its recipient does not exist", "queue_id", l.Message.ID.String(), "to", to.String())
		return "", r.store.Settle(ctx, s)
	}
	if refusal != nil {
		target = outward // asked again when it is delivered
	}
	err = r.commitReport(ctx, p, l, rep, id, to, target, s)
	if errors.Is(err, spool.ErrExists) {
		err = r.store.Settle(ctx, s)
	}
	if err != nil {
		return "", err
	}
	if p.cfg.Events != nil {
		p.cfg.Events(Event{
			Time: now, Kind: Accepted, QueueID: id.String(), To: []string{to.String()}, Labels: l.Message.Labels,
		})
	}
	r.sched.Wake()
	return id.String(), nil
}

// reportOf collects what the sender is to be told; nil if nothing.
func (p *snapshot) reportOf(l *spool.Lease, failed []failedRecipient) *dsn.Report {
	m := &l.Message
	rep := &dsn.Report{
		Hostname: p.cfg.Hostname, From: p.postmaster.String(), To: m.From,
		OriginalID: m.ID.String(), Arrival: m.Created, EnvelopeID: m.EnvelopeID,
		Return: m.Return, Size: m.Size, Body: m.Body, UTF8: m.UTF8,
	}
	now := time.Now()
	for _, f := range failed {
		if !dsn.Wanted(m.From, f.Notify, dsn.Failed) {
			continue
		}
		rcpt := dsn.Recipient{
			Address: f.Address, Original: f.Original, Action: dsn.Failed,
			Status: f.failure.enhanced, Host: f.failure.host, Diagnostic: diagnostic(f.failure), LastAttempt: now,
		}
		if f.failure.expired {
			rcpt.Status = "4.4.7" // RFC 3463: delivery time expired
		}
		rep.Recipients = append(rep.Recipients, rcpt)
	}
	if len(rep.Recipients) == 0 {
		return nil
	}
	return rep
}

func (r *Relay) commitReport(ctx context.Context, p *snapshot, l *spool.Lease, rep *dsn.Report, id spool.ID, to domains.Address, t target, s spool.Settlement) error {
	original, err := r.store.Open(ctx, l.Message.ID)
	if err != nil {
		return err
	}
	defer original.Close()
	w, err := r.store.Create(ctx, id)
	if err != nil {
		return err
	}
	size := counter{Writer: w}
	body, err := rep.Write(&size, original)
	if err != nil {
		_ = w.Abort()
		return err
	}
	return w.Commit(ctx, spool.Commit{
		Message: spool.Message{ID: id, Created: rep.Date, Body: body, UTF8: rep.UTF8, Labels: l.Message.Labels},
		Deliveries: p.deliveries([]recipient{{to: to, target: t, notify: spool.NotifyNever}},
			size.n, rep.Date),
		Settle: []spool.Settlement{s},
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
