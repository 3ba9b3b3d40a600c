package relay

import (
	"context"
	"slices"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// conn is what the mechanisms have to know of the client. The connector alone
// decides what may be shown outside TLS.
func (c *ClientSession) conn() auth.Conn {
	s := c.session
	return auth.Conn{
		Remote: s.Remote, TLS: s.TLS, Allowed: policy.Mechanisms(s.Connector, s.TLS != nil),
		InsecurePlaintext: true,
	}
}

// Offers returns what Authenticate takes of the client: [auth.Plain], which
// stands for passwords, and [auth.OAuthBearer], for tokens, which are for TLS
// only. scope is that of good tokens, [auth.Server].TokenScope.
func (c *ClientSession) Offers() (mechanisms []auth.Mechanism, scope string) {
	s, b := c.session, c.backend
	if policy.DecideAuth(b.rules.Auth, s.Connector, s.TLS != nil) != nil {
		return nil, ""
	}
	mechanisms = slices.DeleteFunc(b.rules.Auth.Mechanisms(c.conn()), func(m auth.Mechanism) bool {
		return m != auth.Plain && m != auth.OAuthBearer
	})
	return mechanisms, b.rules.Auth.TokenScope
}

// Authenticate logs the client on with a Token and, if it asks for one, a
// Username, as OAUTHBEARER does; or, without a Token, with a Username, a
// Password, and an Authzid if there is one, as PLAIN does. Throttle and
// Policy.Auth decide as on a session. The name is prepared
// ([auth.PrepareName]); Remote and TLS are the client's own. What is not in
// Offers is refused with 504 5.7.4. The refusal of bad credentials is held back
// for Limits.AuthTarpit, or until ctx ends.
func (c *ClientSession) Authenticate(ctx context.Context, credentials auth.Proof) error {
	if ctx == nil {
		return errNoContext
	}
	s := c.session
	if r := policy.DecideAuth(c.backend.rules.Auth, s.Connector, s.TLS != nil); r != nil {
		return c.refuse(ctx, smtpd.Rejection{Stage: "auth", Reply: r})
	}
	mechanism, message := auth.Plain, credentials.Authzid+"\x00"+credentials.Username+"\x00"+
		credentials.Password
	if credentials.Token != "" {
		mechanism, message = auth.OAuthBearer, bearerMessage(credentials)
	}
	logon, err := smtpd.BeginLogon(c.backend.rules.Auth, mechanism, c.conn(), s, c.backend, func() {
		s.Rights = s.Connector.Rights(policy.PeerOf(s.Identity, s.TLS))
	})
	if err != nil {
		c.hold(ctx, s.Limits.AuthTarpit)
		return c.rejected(
			smtpd.Rejection{
				Stage: "auth", Reply: policy.AuthUnknown.Reply(),
			},
		)
	}
	// A client that hangs up is none the less counted by the Throttle.
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(c.backend.relay.killed, cancel)()
	_, done, r := logon.Next(lasting, []byte(message))
	if r == nil && !done {
		// RFC 7628 section 3.2.3: a token is refused in two steps.
		_, done, r = logon.Next(lasting, []byte("\x01"))
	}
	switch {
	case done:
		return nil
	case r == nil, r.Code == 501: // what has no place in a message of the mechanism
		r = policy.BadCredentials.Reply()
	}
	if r.Code >= 500 || r.Throttled() {
		c.hold(ctx, s.Limits.AuthTarpit)
	}
	return c.rejected(smtpd.Rejection{Stage: "auth", Reply: r, User: logon.User()})
}

// bearerMessage is the client's message of OAUTHBEARER (RFC 7628 section 3.1).
// It is empty, which the mechanism refuses, if the credentials are not a token
// (RFC 6750 section 2.1) and perhaps a name.
func bearerMessage(c auth.Proof) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
	token := strings.TrimRight(c.Token, "=")
	if token == "" || strings.Trim(token, digits) != "" || strings.Contains(c.Username, "\x01") ||
		c.Password != "" || c.Authzid != "" {
		return ""
	}
	header := "n,,"
	if c.Username != "" {
		// RFC 5801 section 4
		header = "n,a=" + strings.NewReplacer("=", "=3D", ",", "=2C").Replace(c.Username) + ","
	}
	return header + "\x01auth=Bearer " + c.Token + "\x01\x01"
}
