package smtpd

import (
	"crypto/tls"
	"strconv"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// offers says whether an extension is offered in the present state of the
// session, and with what value.
func (c *conn) offers(e extensions) (on bool, value string) {
	if c.ext&e == 0 {
		return false, ""
	}
	l := &c.sess.Limits
	switch e {
	case extSize:
		if l.MaxMessageBytes > 0 {
			value = " " + strconv.FormatInt(l.MaxMessageBytes, 10)
		}
	case extStartTLS:
		return c.startTLSOffered(), ""
	case extAuth:
		if c.sess.Identity != nil || !c.authOffered() {
			return false, ""
		}
		for _, m := range c.settings.Auth.Mechanisms(c.saslConn()) {
			value += " " + string(m)
		}
		return value != "", value
	case extLimits:
		// RFC 9422.
		if l.MaxRecipients <= 0 {
			return false, ""
		}
		value = " RCPTMAX=" + strconv.Itoa(l.MaxRecipients)
	case extXClient:
		return c.xclientOffered(), xclientAttributes
	}
	return true, value
}

func (c *conn) startTLSOffered() bool {
	return c.ext&extStartTLS != 0 && c.sess.TLS == nil && c.settings.TLS != nil &&
		c.sess.Connector.AuthMechanisms&connector.TLS != 0
}

// authOffered says whether AUTH may be used in the present state of the
// session.
func (c *conn) authOffered() bool {
	return c.authKnown() &&
		policy.DecideAuth(c.settings.Auth, c.sess.Connector, c.sess.TLS != nil) == nil
}

// xclientOffered reports whether the other end may name a client.
func (c *conn) xclientOffered() bool {
	return c.ext&extXClient != 0 && !c.named() && contains(c.settings.XClient, c.sess.Remote.Addr())
}

// named reports whether a listed host has told, by a PROXY header or XCLIENT,
// whom it speaks for. From then on what arrives may be that client's own words.
func (c *conn) named() bool { return c.sess.Proxy.IsValid() }

// saslConn is what the mechanisms have to know of the connection. The connector
// alone decides what may be shown outside TLS.
func (c *conn) saslConn() auth.Conn {
	s := &c.sess
	a := auth.Conn{
		Remote: s.Remote, TLS: s.TLS, Certificate: c.secured.served,
		Allowed: policy.Mechanisms(s.Connector, s.TLS != nil), InsecurePlaintext: true,
	}
	if c.secured.spoken && s.TLS != nil {
		// The client is at the other end of another TLS connection: there is
		// nothing to bind to.
		a.TLS, a.Certificate = new(tls.ConnectionState), nil
	}
	return a
}
