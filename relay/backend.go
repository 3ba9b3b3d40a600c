package relay

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/header"
	"github.com/postern-mail/postern/relay/internal/intake"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
	"github.com/postern-mail/postern/relay/internal/smtpd"
	"github.com/postern-mail/postern/relay/spool"
)

// backend answers the server's questions by one snapshot.
type backend struct {
	relay *Relay
	*snapshot
}

var _ smtpd.Backend = (*backend)(nil)

// session returns the application's view of a session, brought up to date.
func session(s *smtpd.Session) *Session {
	v, ok := s.Value.(*Session)
	if !ok {
		v = &Session{
			ID: s.ID, Connector: s.Connector, Local: s.Local, Remote: s.Remote, Proxy: s.Proxy,
		}
		s.Value = v
	}
	v.Helo, v.TLS, v.Identity, v.Rights = s.Helo, s.TLS, s.Identity, s.Rights
	v.show(s.TLS)
	return v
}

func clientOf(s *smtpd.Session) policy.Client {
	return policy.Client{
		Connector: s.Connector, Rights: s.Rights, Identity: s.Identity, TLS: s.TLS != nil,
	}
}

func (b *backend) Connect(ctx context.Context, s *smtpd.Session) error {
	session(s)
	if ask := b.cfg.Policy.Connect; ask != nil {
		return b.ask(ctx, s, ask)
	}
	return nil
}

// ask asks a function of the application about the session.
func (b *backend) ask(
	ctx context.Context, s *smtpd.Session, f func(context.Context, *Session) error,
) error {
	v := session(s)
	err := b.calls.policy.Consult(ctx, v.ID, func(ctx context.Context) error { return f(ctx, v) })
	return giveUp(s, err).Err()
}

// giveUp returns the reply to an error. A function that has not answered may go
// on writing to its Session: nothing reads that one any more, and the session
// ends.
func giveUp(s *smtpd.Session, err error) *policy.Reply {
	if v, ok := s.Value.(*Session); ok && errors.Is(err, policy.ErrLeftAlone) {
		s.Value = &Session{
			ID: s.ID, Connector: s.Connector, Local: s.Local, Remote: s.Remote, Proxy: s.Proxy,
			protocol: v.protocol,
		}
	}
	return policy.ReplyTo(err)
}

func (b *backend) Helo(ctx context.Context, s *smtpd.Session) error {
	if ask := b.cfg.Policy.Helo; ask != nil {
		return b.ask(ctx, s, ask)
	}
	return nil
}

func (b *backend) Auth(ctx context.Context, s *smtpd.Session) error {
	if ask := b.cfg.Policy.Auth; ask != nil {
		err := b.ask(ctx, s, ask)
		session(s).Identity = nil // the exchange goes on
		return err
	}
	return nil
}

func (b *backend) Mail(ctx context.Context, s *smtpd.Session, m *smtpd.Mail) error {
	if r := b.rules.DecideMail(clientOf(s), m.From); r != nil {
		return r
	}
	if r := policy.DecideLoad(b.relay.monitor.Current(ctx), clientOf(s)); r != nil {
		return r
	}
	if !b.relay.memory.Has(policy.MessageMemory) {
		return policy.NoRoom.Because(policy.ErrMemory)
	}
	if !b.relay.rates.Within(clientOf(s), s.Limits, s.Remote.Addr(), time.Now()) {
		return policy.RateExceeded.Reply()
	}
	v := session(s)
	v.Author = ""
	if m.Auth != nil && v.Rights.Has(connector.AcceptAuthenticationFlag) {
		v.Author = *m.Auth
	}
	if ask := b.cfg.Policy.Mail; ask != nil {
		return b.ask(ctx, s, func(ctx context.Context, v *Session) error {
			return ask(ctx, v, m.From)
		})
	}
	return nil
}

func (b *backend) Rcpt(
	ctx context.Context, s *smtpd.Session, m *smtpd.Mail, rcpt *smtpd.Rcpt,
) error {
	if rcpt.To.Domain() == "" { // <postmaster>, RFC 5321 section 4.5.1
		rcpt.To = b.rules.Postmaster
		t, r := b.rules.Find(ctx, rcpt.To)
		rcpt.Value = t
		return r.Err()
	}
	t, r := b.rules.DecideRcpt(ctx, clientOf(s), rcpt.To)
	if r != nil {
		return r
	}
	rcpt.Value = t
	if ask := b.cfg.Policy.Rcpt; ask != nil {
		from, to := m.From, rcpt.To
		return b.ask(ctx, s, func(ctx context.Context, v *Session) error {
			return ask(ctx, v, from, to)
		})
	}
	return nil
}

func (b *backend) Message(
	ctx context.Context, s *smtpd.Session, m *smtpd.Mail, content io.Reader,
) (string, error) {
	c := clientOf(s)
	v := session(s)
	rcpts := make([]routing.Recipient, len(m.Recipients))
	for i := range m.Recipients {
		r := &m.Recipients[i]
		t, _ := r.Value.(policy.Placement)
		rcpts[i] = routing.Recipient{
			To: r.To, Placement: t, Notify: r.Notify, Original: r.Original,
		}
	}
	a := arrival{session: v, Message: intake.Message{
		Client: c,
		SMTP:   v.protocol == "",
		Spool: spool.Message{
			From: m.From.String(), EnvelopeID: m.EnvelopeID, Return: m.Return, Body: m.Body,
			UTF8:   m.UTF8,
			Origin: spool.Origin{Connector: s.Connector.Name, Remote: s.Remote.String()},
			Labels: v.Labels, Stream: v.Stream,
		},
		From:       m.From,
		Recipients: rcpts,
		Limits:     s.Limits,
		Trace: header.Received{
			HELO: traceName(s), RemoteIP: s.Remote.Addr(), By: b.cfg.Hostname,
			With: header.With{
				ESMTP: s.ESMTP, TLS: s.TLS != nil, Auth: s.Identity != nil, UTF8: m.UTF8,
			}.String(),
		},
	}}
	a.ask(b.snapshot)
	if v.protocol != "" {
		a.Trace.With = v.protocol
	}
	if s.TLS != nil {
		a.Trace.TLSVersion, a.Trace.TLSCipher = s.TLS.Version, s.TLS.CipherSuite
		a.Trace.Certificate = v.certificate
	}
	if s.Identity != nil {
		a.Spool.Origin.User = s.Identity.User
	}
	if m := v.message; m != nil {
		a.Schedule = intake.Schedule{NotBefore: m.NotBefore, Expires: m.Expires}
		content = b.intake.SetKey(&a.Message, m.Key, content)
	}
	if err := b.relay.accept(ctx, b.snapshot, &a, content); err != nil {
		return "", giveUp(s, err)
	}
	v.duplicate = a.Duplicate
	return a.Trace.ID, nil
}

// traceName is the name in HELO or, where that is no name of a host, the
// address (RFC 5321 section 4.4).
func traceName(s *smtpd.Session) string {
	if smtpd.IsHostName(s.Helo) {
		return s.Helo
	}
	return literal(s.Remote.Addr().WithZone(""))
}

func (b *backend) LoggedOn(s *smtpd.Session) {
	ctx, v := context.Background(), session(s)
	if !b.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	line := make(attributes, 0, 12)
	line = line.session(v, s.Identity.User, s.Identity.Credential)
	line = line.text(logkey.Mechanism, string(s.Mechanism))
	b.log.LogAttrs(ctx, slog.LevelInfo, "logged on", line...)
}

func (b *backend) Rejected(s *smtpd.Session, r smtpd.Rejection) {
	v := session(s)
	reason := ""
	if r.Reply.Cause != nil {
		reason = r.Reply.Cause.Error()
	}
	user, credential := r.User, ""
	if user == "" && s.Identity != nil {
		user, credential = s.Identity.User, s.Identity.Credential
	}
	level := slog.LevelInfo
	if code := r.Reply.Code; r.Reply.Cause != nil && code/100 == 4 && !r.Reply.Throttled() {
		level = slog.LevelWarn // something is out of order here
	}
	if ctx := context.Background(); b.log.Enabled(ctx, level) {
		line := make(attributes, 0, 20)
		line = line.text(logkey.Stage, r.Stage)
		line = line.session(v, user, credential)
		line = line.text(logkey.From, r.From)
		line = line.text(logkey.To, r.To)
		line = line.text(logkey.Command, r.Command)
		line = line.number(logkey.Code, r.Reply.Code)
		line = line.text(logkey.Enhanced, r.Reply.Enhanced)
		line = line.text(logkey.Reason, reason)
		b.log.LogAttrs(ctx, level, "refused", line...)
	}
	if b.cfg.Events == nil {
		return
	}
	e := event.Event{
		Kind: event.Rejected, Stage: event.Stage(r.Stage), Remote: s.Remote, TLS: v.tlsText,
		Certificate: v.certificate,
		User:        user, Credential: credential, From: r.From, Command: r.Command,
		Code: r.Reply.Code, Enhanced: r.Reply.Enhanced, Text: r.Reply.Text, Reason: reason,
		Labels: intake.Labels(s.Identity, v.Labels),
	}
	if s.Connector != nil {
		e.Connector = s.Connector.Name
	}
	e.ID, e.Stream = rand.Text(), v.Stream
	if intake.LabelBytes(e.Labels) > intake.MaxLabels {
		e.Labels = nil
	}
	if r.To != "" {
		e.To = []string{r.To}
	}
	b.relay.events.publish(b.cfg.Events, e)
}
