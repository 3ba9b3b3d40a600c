package relay

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/intake"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// Check refuses what Submit would refuse whatever the message: a client outside
// TLS, without the right to submit, or for whose mail there is no room. It
// saves reading a message in vain.
func (c *ClientSession) Check(ctx context.Context) error {
	if ctx == nil {
		return errNoContext
	}
	cl := clientOf(c.session)
	r := c.backend.rules.DecideMail(cl, domains.Address{})
	if r == nil {
		r = policy.DecideLoad(c.backend.relay.monitor.Current(ctx), cl)
	}
	if r == nil {
		return nil
	}
	// Not held back: to be asked to log on is the ordinary course of HTTP.
	return c.rejected(smtpd.Rejection{Stage: "mail", Reply: r})
}

// Refuse tells the log and the events that the caller refuses the client's
// message for a reason of its own, made by [Reject] or [Defer], and returns the
// reply. Stage is mail, rcpt or data.
func (c *ClientSession) Refuse(ctx context.Context, stage string, err error) error {
	if ctx == nil {
		return errNoContext
	}
	return c.refuse(ctx, smtpd.Rejection{Stage: stage, Reply: policy.ReplyTo(err)})
}

// Submit queues a message of the client. When it returns nil the message is
// durable, as [Relay.Submit] says. It is all or nothing: if one recipient is
// refused, nothing is queued. Message.Identity is ignored. Labels that the
// identity has cannot be replaced by those of the message.
func (c *ClientSession) Submit(ctx context.Context, m *Message) (*Receipt, error) {
	switch {
	case ctx == nil:
		return nil, errNoContext
	case m == nil:
		return nil, errNoMessage
	}
	s := c.session
	v := session(s)
	stream := v.Stream
	v.Labels, v.Stream = ownLabels(s.Identity, m.Labels), cmp.Or(m.Stream, v.Stream)
	v.message, v.duplicate = m, false
	defer func() { v.message, v.Stream = nil, stream }() // of the session
	mail, r := c.mail(ctx, m)
	if r != nil {
		return nil, c.refuse(ctx, smtpd.Rejection{Stage: "mail", From: m.From, Reply: r})
	}
	if err := c.recipients(ctx, mail, m); err != nil {
		return nil, err
	}
	content := intake.Bound(intake.NewCRLFReader(m.Content), c.Limits().MaxMessageBytes)
	id, err := c.backend.Message(ctx, s, mail, content)
	if err != nil {
		return nil, c.refuse(
			ctx, smtpd.Rejection{Stage: "data", From: m.From, Reply: policy.ReplyTo(err)},
		)
	}
	return &Receipt{QueueID: id, Duplicate: v.duplicate}, nil
}

// mail decides on the sender, in the order of a session.
func (c *ClientSession) mail(ctx context.Context, m *Message) (*smtpd.Mail, *policy.Reply) {
	mail := &smtpd.Mail{Size: -1, Return: m.Return, EnvelopeID: m.EnvelopeID}
	if r := policy.DecideTLS(c.session.Connector, c.session.TLS != nil); r != nil {
		return nil, r
	}
	if m.From != "" {
		from, err := domains.Parse(intake.CompleteAddress(c.backend.rules, m.From))
		if err != nil {
			return nil, policy.BadSender.Reply()
		}
		mail.From, mail.UTF8 = from, from.UTF8()
	}
	if err := errors.Join(m.checkFields(c.backend.relay.now())...); err != nil {
		return nil, policy.BadArguments.Because(err)
	}
	if r := policy.DecideSize(c.session.Limits, c.session.Rights, m.Size); r != nil {
		return nil, r
	}
	return mail, policy.ReplyTo(c.backend.Mail(ctx, c.session, mail))
}

// recipients decides on all recipients, so that the client learns of every
// fault at once.
func (c *ClientSession) recipients(ctx context.Context, mail *smtpd.Mail, m *Message) error {
	s := c.session
	switch most := s.Limits.MaxRecipients; {
	case len(m.To) == 0:
		return c.refuse(
			ctx,
			smtpd.Rejection{
				Stage: "rcpt", From: m.From, Reply: policy.NoRecipients.Reply(),
			},
		)
	case most > 0 && len(m.To) > most:
		return c.refuse(
			ctx,
			smtpd.Rejection{
				Stage: "rcpt", From: m.From, Reply: policy.TooManyRecipients.Reply(),
			},
		)
	}
	var errs []error
	held := time.Duration(0)
	mail.Recipients = make([]smtpd.Rcpt, 0, len(m.To))
	for _, to := range m.To {
		rcpt := smtpd.Rcpt{Notify: m.Notify}
		var r *policy.Reply
		if a, err := domains.Parse(intake.CompleteAddress(c.backend.rules, to)); err != nil {
			r = policy.BadRecipient.Reply()
		} else if r = policy.DecideLength(mail.From, a); r == nil {
			rcpt.To = a
			r = policy.ReplyTo(c.backend.Rcpt(ctx, s, mail, &rcpt))
		}
		if r != nil {
			if r.Code >= 500 {
				held += c.tarpit()
			}
			errs = append(
				errs,
				&RecipientError{
					Recipient: to,
					Err: c.rejected(
						smtpd.Rejection{Stage: "rcpt", From: m.From, To: to, Reply: r},
					),
				},
			)
			continue
		}
		mail.UTF8 = mail.UTF8 || rcpt.To.UTF8()
		mail.Recipients = append(mail.Recipients, rcpt)
	}
	c.hold(ctx, min(held, maxHold))
	return errors.Join(errs...)
}

// ownLabels are the labels of a message that do not stand for the identity's.
func ownLabels(id *auth.Identity, own map[string]string) map[string]string {
	own = maps.Clone(own)
	if id != nil {
		for k := range id.Labels {
			delete(own, k)
		}
	}
	return own
}
