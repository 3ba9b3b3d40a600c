package smtpd

import (
	"strings"

	"github.com/postern-mail/postern/relay/internal/policy"
)

// helo answers EHLO and HELO.
func (c *conn) helo(verb, name string) {
	if !c.useless() {
		return
	}
	if !validHelo(name) {
		c.malformed("helo", policy.BadHello.Reply(), verb+" "+name)
		return
	}
	if !IsHostName(name) {
		c.tolerated(verb, name)
	}
	name = strings.ToValidUTF8(name, "?")
	// RFC 5321 section 4.1.4: a later EHLO acts as RSET.
	c.reset()
	if r := c.introduce(name, verb == "EHLO"); r != nil {
		c.refusedByBackend(Rejection{Stage: "helo", Reply: r})
		return
	}
	c.hello()
}

// hello is the reply to a good name, with the extensions there are.
func (c *conn) hello() {
	greeting := c.fqdn() + " Hello [" + c.sess.Remote.Addr().String() + "]"
	if !c.sess.ESMTP {
		c.reply(250, "", greeting)
		return
	}
	last := len(c.wire.out)
	c.wire.out = appendReply(c.wire.out, 250, "", greeting)
	for i, k := range keywords() {
		if on, value := c.offers(1 << i); on {
			c.wire.out[last+3] = '-'
			last = len(c.wire.out)
			c.wire.out = appendReply(c.wire.out, 250, "", k+value)
		}
	}
}

// introduce takes the name that the client goes by, unless it is refused.
func (c *conn) introduce(name string, esmtp bool) *policy.Reply {
	was, wasESMTP := c.sess.Helo, c.sess.ESMTP
	c.sess.Helo, c.sess.ESMTP = name, esmtp
	r := c.ask(func() error { return c.settings.Backend.Helo(c.ctx, &c.sess) })
	if r == nil {
		r = c.watch(name)
	}
	if r != nil {
		c.sess.Helo, c.sess.ESMTP = was, wasESMTP
	}
	return r
}
