package smtpd

import (
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// xclient begins a new session on the connection, for the client that a listed
// host speaks for.
func (c *conn) xclient(arg string) {
	switch {
	case c.named():
		// Who is named may be behind a proxy that passes on what it says.
		c.refuse(Rejection{Stage: c.stage(), Reply: policy.SecondXClient.Reply()})
		return
	case !c.xclientOffered():
		c.protocolError(policy.NoXClient.Reply())
		return
	case c.tx.mail != nil:
		c.protocolError(policy.InTransaction.Reply())
		return
	case !c.useless():
		return
	}
	told, ok := parseClaim(arg)
	if !ok {
		// Whoever speaks for others must not go on in its own name by mistake.
		c.protocolError(badParam())
		c.wire.last()
		return
	}
	if c.become(&told); c.wire.hangup || told.helo == "" {
		return
	}
	// The client may introduce itself once more if it is refused that name.
	if r := c.introduce(told.helo, told.esmtp); r != nil && r.Code == 421 {
		c.refuse(Rejection{Stage: "helo", Reply: r})
	}
}

// become makes the session that of the client that the claim tells of, and
// greets it.
func (c *conn) become(told *claim) {
	c.leave()
	was := c.sess
	c.sess = Session{
		ID: was.ID, Local: was.Local, Remote: was.Remote, Proxy: was.Remote,
		TLS: was.TLS, Connector: was.Connector,
	}
	told.apply(&c.sess)
	if was.TLS != nil {
		// A host does not lend its certificate to those it speaks for.
		state := *was.TLS
		state.PeerCertificates, state.VerifiedChains = nil, nil
		c.sess.TLS = &state
	}
	c.secured.spoken = true
	c.reset()
	r := c.readmit()
	c.log.Debug("XCLIENT", logkey.Session, c.sess.ID, logkey.Proxy, was.Remote,
		logkey.Remote, c.sess.Remote.Addr(), logkey.Connector, c.sess.Connector.Name)
	if r != nil {
		c.refuse(Rejection{Stage: "connect", Reply: r})
		c.wire.hangup = true
		return
	}
	c.greet()
}

// readmit admits the client that XCLIENT has told of.
func (c *conn) readmit() *policy.Reply {
	local := c.sess.Local
	if !c.settings.Connectors.HasBinding(local) {
		local = addrPort(c.wire.raw.LocalAddr())
	}
	con, ok := c.settings.find(local, c.sess.Remote, c.sess.TLS == nil)
	if !ok || !isHost(c.sess.Remote.Addr()) {
		return policy.NoClientService.Reply()
	}
	return c.admit(con)
}
