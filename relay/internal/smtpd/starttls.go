package smtpd

import (
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// startTLS is RFC 3207.
func (c *conn) startTLS(arg string) {
	switch {
	case c.sess.TLS != nil:
		c.protocolError(policy.SecondStartTLS.Reply())
		return
	case !c.startTLSOffered():
		c.protocolError(notImplemented())
		return
	case !c.noArgument(arg):
		return
	}
	c.reply(220, "2.0.0", "SMTP server ready")
	// Section 6: what was pipelined in clear text may be another's, and must
	// not be read inside TLS.
	if !c.wire.in.empty() {
		c.log.Warn("clear text behind STARTTLS dropped",
			logkey.Session, c.sess.ID, logkey.Remote, c.sess.Remote.Addr())
		c.count.errors++
		c.wire.in.drop()
	}
	if c.wire.flush() != nil || !c.handshake() {
		return
	}
	// Section 4.2: all that was learnt before is forgotten.
	c.reset()
	c.sess.Helo, c.sess.ESMTP = "", false
	c.sess.Identity, c.sess.Mechanism = nil, ""
	c.rights()
}
