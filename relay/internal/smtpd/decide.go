package smtpd

import "github.com/postern-mail/postern/connector"

// The decisions below depend on the connector and the state of the session
// alone. The guard acts on them, and the relay explains them.

// DecideTLS refuses mail before STARTTLS on a connector that requires TLS (RFC 3207 section 4).
func DecideTLS(c *connector.Connector, tls bool) *Reply {
	if c.RequireTLS && !tls {
		return refusal(530, "5.7.0", "Must issue a STARTTLS command first")
	}
	return nil
}

// DecideAuth refuses AUTH where nobody logs on, or nobody without TLS (RFC 4954 section 6).
func DecideAuth(c *connector.Connector, tls bool) *Reply {
	servers := c.AuthMechanisms&connector.ExchangeServer != 0
	switch {
	case c.AuthMechanisms&connector.BasicAuth == 0 && !servers:
		return notOffered()
	case !usersLogOn(c, tls) && !(servers && tls):
		return refusal(538, "5.7.11", "Encryption required for requested authentication mechanism")
	}
	return nil
}

// DecideUser refuses a user where only the operator's own relays log on. The
// reply is that to a wrong password: it is not to tell that the password is good.
func DecideUser(c *connector.Connector, tls, server bool) *Reply {
	if !server && !usersLogOn(c, tls) {
		return badCredentials()
	}
	return nil
}

// usersLogOn says whether users may log on, and not only servers.
func usersLogOn(c *connector.Connector, tls bool) bool {
	m := c.AuthMechanisms
	return m&connector.BasicAuth != 0 && (tls || m&connector.BasicAuthRequireTLS == 0 && !c.RequireTLS)
}

// DecideSubmit refuses the logon of a user who could do nothing with it.
func DecideSubmit(r connector.Right) *Reply {
	if !r.Has(connector.Submit) {
		return Missing(badCredentials(), connector.Submit)
	}
	return nil
}

// DecideSize refuses a message of size octets that is over the limit (RFC 1870
// section 6.1).
func DecideSize(l connector.Limits, r connector.Right, size int64) *Reply {
	if limit := sizeLimit(l, r); limit >= 0 && size > limit {
		return tooLarge()
	}
	return nil
}

// MissingRight is the cause of a refusal that one more right would lift.
type MissingRight connector.Right

func (m MissingRight) Error() string { return "missing right " + connector.Right(m).String() }

// Missing gives r the cause that a right was missing.
func Missing(r *Reply, right connector.Right) *Reply {
	r.Cause = MissingRight(right)
	return r
}

// sizeLimit returns the most octets a message may have; -1 without limit.
func sizeLimit(l connector.Limits, r connector.Right) int64 {
	if l.MaxMessageBytes > 0 && !r.Has(connector.BypassMessageSizeLimit) {
		return l.MaxMessageBytes
	}
	return -1
}

func notOffered() *Reply { return refusal(502, "5.5.1", "AUTH is not offered") }
