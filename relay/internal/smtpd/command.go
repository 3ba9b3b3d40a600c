package smtpd

import "github.com/postern-mail/postern/relay/internal/policy"

// command answers a command.
func (c *conn) command(line string) {
	v, arg := verb(line)
	behind := c.tx.dataRefused
	c.tx.dataRefused = false
	if c.secondHeader(line) {
		c.refuse(Rejection{Stage: c.stage(), Reply: policy.SecondProxyHeader.Reply()})
		return
	}
	switch v {
	case "EHLO", "HELO":
		c.helo(v, arg)
	case "MAIL":
		c.mail(arg)
	case "RCPT":
		c.rcpt(arg)
	case "DATA":
		c.data(arg)
	case "BDAT":
		c.bdat(arg)
	case "RSET":
		c.rset(arg)
	case "NOOP":
		c.noop()
	case "QUIT":
		c.quit(arg)
	case "VRFY":
		c.vrfy()
	case "AUTH":
		c.auth(arg)
	case "STARTTLS":
		c.startTLS(arg)
	case "XCLIENT":
		c.xclient(arg)
	case "EXPN", "HELP", "SEND", "SOML", "SAML", "TURN", "ETRN", "ATRN":
		c.protocolError(notImplemented())
	case "GET", "POST", "PUT", "CONNECT":
		// Somebody's browser is made to speak to us: what follows is not the
		// client's own.
		c.refuse(Rejection{Stage: c.stage(), Reply: policy.NoWebServer.Reply()})
	default:
		c.garbage(behind, policy.UnknownCommand.Reply())
	}
}
