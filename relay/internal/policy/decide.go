package policy

import (
	"net/netip"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
)

// The decisions below depend on the connector and the state of the session
// alone. The session acts on them, and the relay explains them.

// DecideTLS refuses mail before STARTTLS on a connector that requires TLS (RFC
// 3207 section 4).
func DecideTLS(c *connector.Connector, tls bool) *Reply {
	if c.RequireTLS && !tls {
		return MustStartTLS.Reply()
	}
	return nil
}

// MustEncrypt says whether a client has to be inside TLS on a relay that
// requires encryption: unless it is on this host, and so is the proxy that
// speaks for it, if there is one.
func MustEncrypt(required bool, client, proxy netip.Addr) bool {
	local := client.Unmap().IsLoopback() && (!proxy.IsValid() || proxy.Unmap().IsLoopback())
	return required && !local
}

// Encrypted reports whether a client that does not speak SMTP is inside TLS, or
// need not be. proxied tells that the connection from its proxy is inside TLS,
// whatever the proxy says of the client.
func (p *Rules) Encrypted(client, proxy netip.Addr, tls, proxied bool) bool {
	if proxy.IsValid() && !proxied && MustEncrypt(p.Encrypt, proxy, netip.Addr{}) {
		return false
	}
	return tls || !MustEncrypt(p.Encrypt, client, proxy)
}

// Encrypting returns c as it is for a client that must encrypt.
func Encrypting(c *connector.Connector) *connector.Connector {
	if c.RequireTLS || c.ImplicitTLS {
		return c
	}
	own := *c
	own.RequireTLS = true
	return &own
}

// DecideAuth refuses AUTH where nobody logs on, or nobody without TLS (RFC 4954
// section 6). s is nil where nobody verifies credentials.
func DecideAuth(s *Verifiers, c *connector.Connector, tls bool) *Reply {
	servers := c.AuthMechanisms&connector.ExchangeServer != 0
	switch {
	case s == nil || c.AuthMechanisms&connector.BasicAuth == 0 && !servers:
		return AuthNotOffered.Reply()
	case !usersLogOn(c, tls) && !(servers && tls):
		return AuthNeedsTLS.Reply()
	}
	return nil
}

// usersLogOn says whether users may log on, and not only servers.
func usersLogOn(c *connector.Connector, tls bool) bool {
	m := c.AuthMechanisms
	return m&connector.BasicAuth != 0 &&
		(tls || m&connector.BasicAuthRequireTLS == 0 && !c.RequireTLS)
}

// Mechanisms are those by which a client of the connector may log on where
// DecideAuth lets it. BasicAuth stands for all that users know; servers
// do without what was made for people's mail programs.
func Mechanisms(c *connector.Connector, tls bool) []auth.Mechanism {
	if usersLogOn(c, tls) {
		return nil // all
	}
	return []auth.Mechanism{auth.External, auth.ScramSHA256Plus, auth.ScramSHA256, auth.Plain}
}

// DecideLogon refuses an identity that has shown a good secret: a user where
// only the operator's own relays log on, and one who could do nothing with
// these rights. The reply is that to a wrong secret.
func DecideLogon(
	c *connector.Connector, tls bool, id *auth.Identity, rights connector.Right,
) *Reply {
	if !id.Server && !usersLogOn(c, tls) {
		// Not to tell that the secret is good.
		return BadCredentials.Reply()
	}
	if !rights.Has(connector.Submit) {
		return BadCredentials.Missing(connector.Submit)
	}
	return nil
}

// DecideSize refuses a message of size octets that is over the limit (RFC 1870
// section 6.1).
func DecideSize(l connector.Limits, r connector.Right, size int64) *Reply {
	if limit := SizeLimit(l, r); limit >= 0 && size > limit {
		return TooLarge.Missing(connector.BypassMessageSizeLimit)
	}
	return nil
}

// maxLocal bounds the local part of a recipient (RFC 5321 section 4.5.3.1.1).
const maxLocal = 64

// DecideLength refuses a recipient whose local part is longer than that of a
// mailbox, unless a report goes to it: it was a reverse-path then, which may be
// longer.
func DecideLength(from, to domains.Address) *Reply {
	// As it is written, quotes included. A domain holds no "@".
	if strings.LastIndexByte(to.String(), '@') > maxLocal && !from.IsNull() {
		return BadRecipient.Reply()
	}
	return nil
}

// SizeLimit returns the most octets a message may have; -1 without limit.
func SizeLimit(l connector.Limits, r connector.Right) int64 {
	if l.MaxMessageBytes > 0 && !r.Has(connector.BypassMessageSizeLimit) {
		return l.MaxMessageBytes
	}
	return -1
}
