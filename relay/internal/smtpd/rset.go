package smtpd

import "errors"

func (c *conn) rset(arg string) {
	if !c.noArgument(arg) || !c.useless() {
		return
	}
	c.reset()
	c.reply(250, "2.0.0", "Resetting")
}

func (c *conn) noop() {
	if c.useless() {
		c.reply(250, "2.0.0", "OK")
	}
}

func (c *conn) vrfy() {
	if c.useless() {
		c.reply(252, "2.5.0",
			"Cannot verify the user, but will accept message and attempt delivery")
	}
}

var errQuit = errors.New("the client has said QUIT")

func (c *conn) quit(arg string) {
	if c.noArgument(arg) {
		c.unfinished(errQuit)
		c.reply(221, "2.0.0", "Service closing transmission channel")
		c.wire.hangup = true
	}
}
