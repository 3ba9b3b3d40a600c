package smtpd

import (
	"strings"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// admit gives the session its connector and counts it there, or says why it may
// not be.
func (c *conn) admit(con *connector.Connector) *policy.Reply {
	s := &c.sess
	if policy.MustEncrypt(c.settings.RequireEncryption, s.Remote.Addr(),
		addrPort(c.wire.raw.RemoteAddr()).Addr()) {
		con = policy.Encrypting(con)
	}
	s.Connector, s.Limits = con, con.Limits.WithDefaults(con.Usage)
	c.ext = supported(con.SuppressedKeywords)
	c.wire.limit(s.Limits.ConnectionTimeout)
	c.rights()
	if r := c.crowded(); r != nil {
		return r
	}
	r := c.srv.admitted.admit(con.Name, s.Limits, s.Remote.Addr(), time.Now())
	c.admitted = r == nil
	return r
}

// leave takes back what admit counted.
func (c *conn) leave() {
	if c.admitted {
		c.admitted = false
		c.srv.admitted.release(c.sess.Connector.Name, c.sess.Remote.Addr())
	}
}

// rights recomputes what the session may do.
func (c *conn) rights() {
	p := connector.Subject{TLS: c.sess.TLS != nil}
	if id := c.sess.Identity; id != nil {
		p.Authenticated, p.User, p.Groups, p.Server = true, id.User, id.Groups, id.Server
	}
	p.Names = c.names()
	c.sess.Rights = c.sess.Connector.Rights(p)
}

// greet asks the backend and says the banner.
func (c *conn) greet() {
	if r := c.ask(func() error { return c.settings.Backend.Connect(c.ctx, &c.sess) }); r != nil {
		c.refuse(Rejection{Stage: "connect", Reply: r})
		c.wire.hangup = true
		return
	}
	text := c.fqdn() + " ESMTP Service ready"
	if b := c.sess.Connector.Banner; b != "" {
		text = strings.TrimLeft(strings.TrimPrefix(b, "220"), " ")
	}
	c.reply(220, "", text)
}
