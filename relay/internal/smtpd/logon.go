package smtpd

import (
	"context"
	"errors"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// logonTimeout bounds each step of a logon: a verifier that takes longer could
// not decide.
const logonTimeout = 30 * time.Second

// Logon is an attempt to log on to a session, by AUTH or by what another
// protocol has instead.
type Logon struct {
	exchange  *auth.Exchange
	mechanism auth.Mechanism
	backend   Backend
	session   *Session
	rights    func()
	refused   *policy.Reply // why a good secret is not enough
}

// BeginLogon starts an exchange. s is who it is about, b has the last word, and
// rights brings s.Rights up to date after s.Identity has changed. The error is
// that of [auth.Server.Begin].
func BeginLogon(
	server *policy.Verifiers, m auth.Mechanism, conn auth.Conn, s *Session, b Backend,
	rights func(),
) (l *Logon, err error) {
	l = &Logon{mechanism: m, backend: b, session: s, rights: rights}
	conn.Accept = l.accept
	l.exchange, err = server.Begin(m, conn)
	return l, err
}

// Next takes a message of the client, as [auth.Exchange.Next] does. When done,
// s.Identity is set. r is a refusal, which ends the exchange.
func (l *Logon) Next(ctx context.Context, response []byte) (
	challenge []byte, done bool, r *policy.Reply,
) {
	ctx, cancel := context.WithTimeout(ctx, logonTimeout)
	defer cancel()
	challenge, done, err := l.exchange.Next(ctx, response)
	if err != nil {
		return nil, false, l.refusal(err)
	}
	if done {
		l.become(l.exchange.Identity(), l.mechanism)
		l.backend.LoggedOn(l.session)
	}
	return challenge, done, nil
}

// User is the name that the client has given, as [auth.Exchange.User].
func (l *Logon) User() string { return l.exchange.User() }

// Refused reports whether the client knows that it is refused, as
// [auth.Exchange.Refused].
func (l *Logon) Refused() bool { return l.exchange.Refused() }

// become makes the session that of id, or of nobody again.
func (l *Logon) become(id *auth.Identity, by auth.Mechanism) {
	l.session.Identity, l.session.Mechanism = id, by
	l.rights()
}

// accept decides about an identity that has shown a good secret. A refusal in
// the words of a wrong secret counts as one: neither reply nor delay is to tell
// that it is good.
func (l *Logon) accept(ctx context.Context, id *auth.Identity) error {
	s := l.session
	l.become(id, l.mechanism)
	defer l.become(nil, "")
	r := policy.DecideLogon(s.Connector, s.TLS != nil, id, s.Rights)
	if r == nil {
		r = replyTo(l.backend.Auth(ctx, s))
	}
	switch l.refused = r; {
	case r == nil:
		return nil
	case r.Code == 535:
		return auth.ErrBadCredentials
	}
	return r
}

// refusal is what the client is told of an exchange that has failed.
func (l *Logon) refusal(err error) *policy.Reply {
	switch {
	case l.refused != nil:
		return l.refused
	case errors.Is(err, auth.ErrSyntax):
		return policy.BadResponse.Reply()
	case errors.Is(err, auth.ErrBadCredentials):
		r := policy.BadCredentials.Reply()
		if err != auth.ErrBadCredentials {
			r.Cause = err // it knows more
		}
		return r
	}
	if r := policy.TooManyLogons.Because(err); r.Throttled() {
		return r
	}
	return policy.AuthFailed.Because(err)
}
