package relay

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/intake"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
)

// arrival is a message on its way into the queue, and who brings it.
type arrival struct {
	intake.Message
	session *Session     // nil for Submit
	event   *event.Event // Accepted; nil if nobody is told of events
}

// accept takes a message in and commits it. When it returns nil the message is
// durable: this one or, if it is a repetition, an earlier one.
func (r *Relay) accept(ctx context.Context, p *snapshot, a *arrival, content io.Reader) error {
	err := r.queue(ctx, p, a, content)
	if a.IsRepetition(err) {
		p.log.Info("queued before", logkey.QueueID, a.Trace.ID)
		return nil
	}
	return err
}

func (r *Relay) queue(ctx context.Context, p *snapshot, a *arrival, content io.Reader) error {
	c, w, err := r.prepare(ctx, p, a, content, marking{r.store}.Create)
	if err != nil {
		return err
	}
	if p.cfg.Events != nil {
		r.events.expect(p.cfg.Events, *a.event)
		defer r.events.forget(a.Trace.ID)
	}
	if err := a.Commit(func() error { return w.Commit(ctx, c) }); err != nil {
		return err
	}
	if p.cfg.Events != nil {
		r.events.announce(a.Trace.ID)
	}
	r.sched.Wake()
	a.log(p.log)
	return nil
}

// prepare does everything but the commit.
func (r *Relay) prepare(
	ctx context.Context, p *snapshot, a *arrival, content io.Reader, begin intake.Create,
) (spool.Commit, spool.Writer, error) {
	c, w, err := p.intake.Prepare(ctx, &a.Message, content, begin)
	if err == nil && (r.eventLog != nil || p.cfg.Events != nil) {
		a.event = a.accepted(r.now())
		c.Events = r.eventLog.record(nil, a.event)
	}
	return c, w, err
}

// ask makes the application's Policy part of the intake.
func (a *arrival) ask(p *snapshot) {
	ask := p.cfg.Policy.Message
	if ask == nil {
		return
	}
	a.Consult = func(ctx context.Context, section []byte) ([]byte, error) {
		m := &Incoming{QueueID: a.Spool.ID.String(), From: a.From, Header: section}
		for i := range a.Recipients {
			m.Recipients = append(m.Recipients, a.Recipients[i].To)
		}
		err := p.calls.policy.Consult(ctx, a.session.ID, func(ctx context.Context) error {
			return ask(ctx, a.session, m)
		})
		if err != nil {
			return nil, policy.ReplyTo(err)
		}
		a.Spool.Labels, a.Spool.Stream = a.session.Labels, a.session.Stream
		return m.added, nil
	}
}

// accepted is the event of a message that is durable.
func (a *arrival) accepted(now time.Time) *event.Event {
	e := aboutMessage(a.Trace.ID, &a.Spool, now)
	e.Kind, e.Delay, e.Credential = event.Accepted, 0, credentialOf(a.Client.Identity)
	e.To = make([]string, len(a.Recipients))
	for i := range a.Recipients {
		e.To[i] = a.Recipients[i].To.String()
	}
	if a.session != nil {
		e.Remote = a.session.Remote
		e.TLS, e.Certificate = a.session.tlsText, a.session.certificate
	}
	e.Identify()
	return &e
}

// log writes the line of an accepted message.
func (a *arrival) log(log *slog.Logger) {
	ctx, m := context.Background(), &a.Spool
	if !log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	v := a.session
	if v == nil {
		v = new(Session) // of the application itself
	}
	line := make(attributes, 0, 16)
	line = line.text(logkey.QueueID, a.Trace.ID)
	line = line.session(v, m.Origin.User, credentialOf(a.Client.Identity))
	line = line.text(logkey.From, m.From)
	line = append(
		line, slog.Int(logkey.Recipients, len(a.Recipients)), slog.Int64(logkey.Size, m.Size),
	)
	log.LogAttrs(ctx, slog.LevelInfo, "accepted", line...)
}

// credentialOf is what an event says of the credential of an identity.
func credentialOf(id *auth.Identity) string {
	if id == nil {
		return ""
	}
	return id.Credential
}
