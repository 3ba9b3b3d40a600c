package smtpd

import (
	"errors"

	"github.com/postern-mail/postern/relay/internal/policy"
)

var errUnread = errors.New("smtpd: the backend accepted a message without reading its end")

// ready reports whether content may follow.
func (c *conn) ready() bool {
	switch {
	case c.tx.mail == nil:
		c.noTransaction("data")
	case len(c.tx.mail.Recipients) > 0:
		return true
	case c.tx.rcptRefused:
		// RFC 2920 section 3.1: the recipients were refused, the client could
		// not know yet.
		if c.useless() {
			c.refuse(Rejection{Stage: "data", Reply: policy.NoRecipients.Reply()})
		}
	default:
		c.protocolErrorAt("data", policy.RcptFirst.Reply())
	}
	return false
}

// receive gives the content to the backend and answers for it.
func (c *conn) receive(b *content) {
	m := c.tx.mail
	var id string
	r := c.ask(func() (err error) {
		id, err = c.settings.Backend.Message(c.ctx, &c.sess, m, b)
		return err
	})
	// A 421 ends the connection. Before anything else is read as a command, the
	// end of the content must be found.
	if r == nil || r.Code != 421 {
		b.drain()
		r = b.outcome(r)
	}
	c.reset()
	defer b.end()
	switch {
	case b.broken != nil:
		// There is no knowing where the content would have ended.
		c.wire.hangup = true
	case b.aborted:
	case r != nil:
		c.refuse(Rejection{Stage: "data", Reply: r, From: m.From.String()})
		if b.endless {
			c.wire.last()
		}
	default:
		c.count.taken()
		c.reply(250, "2.0.0", "Ok: queued as "+id)
	}
}

// outcome is the answer to a message that has been read and that the backend
// has answered with r.
func (b *content) outcome(r *policy.Reply) *policy.Reply {
	switch {
	case b.refusal != nil:
		return b.refusal
	case r == nil && !b.delivered:
		return policy.ServerError.Because(errUnread)
	}
	return r
}
