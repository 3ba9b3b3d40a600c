package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/callback"
	"github.com/postern-mail/postern/relay/internal/dsn"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/spool"
)

// step settles a delivery and, in the same step, queues the report to the
// sender, if there is anything to tell.
func (s *settler) step(ctx context.Context, o *outcome) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	to, ok := s.reader(ctx, o)
	if !ok {
		return s.settleOnly(ctx, o)
	}
	err := s.queueReport(ctx, o, to, !o.report.damaged)
	if errors.Is(err, errOriginal) && (isDamaged(err) || o.report.last) {
		// What is damaged stays so, and what has expired has waited long
		// enough.
		err = s.queueReport(ctx, o, to, false)
	}
	if errors.Is(err, spool.ErrExists) {
		err = s.Store.Settle(ctx, o.settlement)
	}
	return err
}

// reader is whom a report is for; false if there is nothing to tell or nobody
// to tell it to.
func (s *settler) reader(ctx context.Context, o *outcome) (routing.Recipient, bool) {
	if len(o.report.rcpts) == 0 {
		return routing.Recipient{}, false
	}
	address, err := domains.Parse(o.lease.Message.From)
	if err != nil {
		return routing.Recipient{}, false
	}
	to, exists := s.Routes.Find(ctx, address)
	if !exists {
		s.Log.Warn("report dropped: its recipient does not exist",
			logkey.QueueID, o.lease.Message.ID.String(), logkey.To, address.String())
	}
	return to, exists
}

// queueReport queues a report with the settlement. It shows the original unless
// whole is false; an error of reading that is an errOriginal. A crash of what
// the application has given is an error too.
func (s *settler) queueReport(
	ctx context.Context, o *outcome, to routing.Recipient, whole bool,
) error {
	result := make(chan error, 1)
	// In a goroutine of its own, which runtime.Goexit may end.
	go callback.Run(func() {
		err := errGoexit
		defer func() {
			v := recover()
			if v == nil && err == errGoexit {
				v = errGoexit
			}
			if v != nil {
				err = delivery.Recovered(v)
			}
			result <- err
		}()
		err = s.writeReport(ctx, o, to, whole)
	})
	return <-result
}

func (s *settler) writeReport(
	ctx context.Context, o *outcome, to routing.Recipient, whole bool,
) error {
	m := &o.lease.Message
	shown, err := s.original(ctx, m.ID, whole)
	if err != nil {
		return err
	}
	defer shown.Close()
	id := reportID(o)
	w, err := s.Store.Create(ctx, id)
	if err != nil {
		return err
	}
	r := s.reportOf(o, id)
	size := counter{Writer: w}
	signed := signs{signer: s.Signer, id: r.ID}
	body, err := r.Write(io.MultiWriter(&size, &signed), shown.reader())
	signature, serr := signed.close()
	if err = errors.Join(err, serr); err != nil {
		_ = w.Abort()
		return shown.because(err)
	}
	report := spool.Message{
		ID: id, Created: r.Date, Body: body, UTF8: r.UTF8,
		Size:       size.n + int64(len(signature)),
		Origin:     spool.Origin{Remote: m.Origin.Remote},
		Signatures: signatures(signature),
		Stream:     m.Stream, ReportOf: m.ID,
	}
	return s.commit(ctx, o, w, &report, to, signature)
}

// commit makes a report durable, together with the settlement of what it is
// about.
func (s *settler) commit(
	ctx context.Context, o *outcome, w spool.Writer, m *spool.Message, to routing.Recipient,
	signature []byte,
) error {
	id := m.ID.String()
	accepted := s.Events.About(id, m)
	accepted.Kind, accepted.To = event.Accepted, []string{to.To.String()}
	o.settlement.Events = s.records(o, id)
	s.Events.Expect(accepted)
	defer s.Events.Forget(id)
	err := w.Commit(ctx, spool.Commit{
		Message: *m,
		Deliveries: s.Routes.Deliveries(
			[]routing.Recipient{to}, m.Stream, m.Size, m.Created, s.Retry.Expires,
		),
		Prepend: signature,
		Settle:  []spool.Settlement{o.settlement},
		Events:  s.Events.Record(nil, &accepted),
	})
	if err != nil {
		return err
	}
	s.Events.Announce(id)
	s.Leases.Wake()
	return nil
}

// reportID derives the id of a report from what it tells of. Recipients tell
// the deliveries of a message apart; their numbers change in a move to another
// store.
func reportID(o *outcome) spool.ID {
	purpose := fmt.Appendf(nil, "%s/%d", o.report.cause, o.settlement.Attempts)
	for i := range o.lease.Delivery.Recipients {
		purpose = fmt.Appendf(purpose, "/%q", o.lease.Delivery.Recipients[i].Address)
	}
	return spool.DeriveID(o.lease.Message.ID, string(purpose))
}

func (s *settler) reportOf(o *outcome, id spool.ID) *dsn.Report {
	m := &o.lease.Message
	return &dsn.Report{
		ID: id.String(), Hostname: s.Hostname, From: s.Postmaster, To: m.From, Date: s.Now(),
		OriginalID: m.ID.String(), Arrival: m.Created, EnvelopeID: m.EnvelopeID,
		Return: m.Return, Size: m.Size, Body: m.Body, UTF8: m.UTF8, Recipients: o.report.rcpts,
	}
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
