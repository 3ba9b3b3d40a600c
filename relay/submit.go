package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/intake"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/spool"
)

// Submit queues a message of the application. When it returns nil the message
// is durable: it survives the loss of the process and of power, as far as the
// spool does. It is all or nothing: if one recipient is refused, nothing is
// queued. Submit works before [Relay.Run]; the message then waits.
//
// # Limits
//
// The header may have 256 KiB and 30 Received fields, of which 8 by this relay,
// the labels 1 KiB in all. The content may have any size, and so may the list
// of recipients.
//
// # Repetition
//
// A message with a Key may be submitted again, such as after an error that
// leaves open whether it was queued. For 24 hours the same message, by the same
// Identity in the same Stream, is queued once: the Receipt is that of the first
// time, with Duplicate. It is the same if sender, recipients, Notify, Return,
// EnvelopeID and the content as given are: the labels, NotBefore and Expires of
// the first time stay, and content that is composed again, with another date or
// boundary, is another message. Another one is refused with [ErrKeyReused]. The
// spool keeps at most [spool.MaxClaims] keys, and forgets the oldest first;
// without a [spool.Keys] the error is [errors.ErrUnsupported].
//
// # Errors
//
// The error holds every fault that was found, of these classes; errors.Is and
// errors.As tell them:
//
//   - Invalid: a *[postern.FieldError] for each field of the message that is
//     not what it must be, "To[2]" for one of the recipients. The same message
//     will never be taken. A recipient's has a *RecipientError in it: look for
//     the FieldError first.
//   - Refused: a *[RecipientError] for each recipient that is refused, or a
//     *[ReplyError] for the message as a whole; its Temporary tells whether
//     another time may do.
//   - Pressure: [ErrPressure], also a *ReplyError. There is no room now.
//   - Store: [ErrStore], which wraps what the spool said, such as
//     [spool.ErrFull]. Nothing is queued, but where the answer of the store was
//     lost.
//   - [ErrKeyReused], [ErrClosed], the context's error, and any other from the
//     content's reader, as it is.
func (r *Relay) Submit(ctx context.Context, m *Message) (*Receipt, error) {
	p := r.snap.Load()
	in, err := r.intakeOf(ctx, p, m)
	if err != nil {
		return nil, err
	}
	content := p.intake.SetKey(&in.Message, m.Key, m.Content)
	if err := r.accept(ctx, p, in, intake.NewCRLFReader(content)); err != nil {
		return nil, submitError(err)
	}
	return in.receipt(), nil
}

func (a *arrival) receipt() *Receipt {
	return &Receipt{QueueID: a.Trace.ID, Duplicate: a.Duplicate}
}

// SubmitIn is Submit with a commit in a step of somebody else, such as the
// transaction of the application that the queue's store makes a Committer of:
// the message is queued if, and only if, that step happens. The content is held
// in memory. With [Config].EventLog the Accepted event is in the log with the
// step; Config.Events does not hear of it, since the relay does not learn of
// the outcome. While the step is open nothing is asked of the store, but once
// in two seconds, for a second at most, how long the queue is.
func (r *Relay) SubmitIn(ctx context.Context, c spool.Committer, m *Message) (*Receipt, error) {
	if c == nil {
		return nil, errNoCommitter
	}
	p := r.snap.Load()
	in, err := r.intakeOf(ctx, p, m)
	if err != nil {
		return nil, err
	}
	in.InStep = true
	content := p.intake.SetKey(&in.Message, m.Key, m.Content)
	err = r.submitIn(ctx, p, c, in, intake.NewCRLFReader(content))
	if err != nil && !in.IsRepetition(err) {
		return nil, submitError(err)
	}
	return in.receipt(), nil
}

var errNoCommitter = errors.New("relay: nil Committer")

func (r *Relay) submitIn(
	ctx context.Context, p *snapshot, c spool.Committer, in *arrival, content io.Reader,
) error {
	var w memory
	commit, _, err := r.prepare(ctx, p, in, content,
		func(context.Context, spool.ID) (spool.Writer, error) { return &w, nil })
	if err != nil {
		return err
	}
	err = in.Commit(func() error {
		return storeError(c.Commit(ctx, &spool.Prepared{Commit: commit, Content: w.Bytes()}))
	})
	if err == nil {
		r.sched.Wake()
	}
	return err
}

// memory is the writer of SubmitIn.
type memory struct{ bytes.Buffer }

func (*memory) Commit(context.Context, spool.Commit) error { return nil }
func (*memory) Abort() error                               { return nil }

// intakeOf checks the envelope of a submitted message, all faults at once.
func (r *Relay) intakeOf(ctx context.Context, p *snapshot, m *Message) (*arrival, error) {
	switch {
	case ctx == nil:
		return nil, errNoContext
	case m == nil:
		return nil, errNoMessage
	case r.isClosed():
		return nil, ErrClosed
	}
	in := &arrival{Message: intake.Message{
		Client: policy.Client{Rights: policy.AllRights},
		Spool: spool.Message{
			EnvelopeID: m.EnvelopeID, Return: m.Return, Labels: m.Labels, Stream: m.Stream,
		},
		Schedule: intake.Schedule{NotBefore: m.NotBefore, Expires: m.Expires},
		Limits:   connector.Limits{}.WithDefaults(connector.Custom),
		Trace:    header.Received{By: p.cfg.Hostname, With: "LOCAL"},
	}}
	errs := m.check(r.now())
	if m.Identity != nil {
		in.Client.Identity = m.Identity
		in.Client.Rights &^= connector.AcceptAnySender
		in.Spool.Origin.User = m.Identity.User
	}
	if err := in.submitFrom(p, m.From); err != nil {
		errs = append(errs, err)
	}
	if refusal := policy.DecideLoad(r.monitor.Current(ctx), in.Client); refusal != nil {
		errs = append(errs, submitError(refusal))
	}
	for i, s := range m.To {
		if err := in.submitTo(ctx, p.rules, i, s, m.Notify); err != nil {
			errs = append(errs, err)
		}
	}
	return in, errors.Join(errs...)
}

// submitFrom takes the sender.
func (a *arrival) submitFrom(p *snapshot, s string) error {
	if s == "" {
		return nil
	}
	from, err := domains.Parse(intake.CompleteAddress(p.rules, s))
	if err != nil {
		return invalid("From", s, notMailbox(err))
	}
	a.From, a.Spool.From, a.Spool.UTF8 = from, from.String(), from.UTF8()
	if refusal := p.rules.DecideMail(a.Client, from); refusal != nil {
		return replyError(refusal)
	}
	return nil
}

// notMailbox tells of an address that cannot be read what it has to be.
func notMailbox(err error) error {
	return fmt.Errorf("is not an address alone, such as anna@example.com: %w", err)
}

// submitTo takes one recipient.
func (a *arrival) submitTo(
	ctx context.Context, p *policy.Rules, i int, s string, notify spool.Notify,
) error {
	to, err := domains.Parse(intake.CompleteAddress(p, s))
	if err != nil {
		return &postern.FieldError{
			Field: fmt.Sprintf("To[%d]", i),
			Err:   &RecipientError{Recipient: s, Err: notMailbox(err)},
		}
	}
	if refusal := policy.DecideLength(a.From, to); refusal != nil {
		return &RecipientError{Recipient: s, Err: replyError(refusal)}
	}
	t, refusal := p.DecideRcpt(ctx, a.Client, to)
	if refusal != nil {
		return &RecipientError{Recipient: s, Err: submitError(refusal)}
	}
	a.Spool.UTF8 = a.Spool.UTF8 || to.UTF8()
	a.Recipients = append(a.Recipients, routing.Recipient{To: to, Placement: t, Notify: notify})
	return nil
}
