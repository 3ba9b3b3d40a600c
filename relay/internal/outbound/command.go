package outbound

import (
	"strconv"

	"github.com/postern-mail/postern/relay/spool"
)

// appendMail writes MAIL with the parameters that the peer has offered.
func (t *transaction) appendMail(c *conn) {
	m := &t.req.Message
	b := append(c.out, "MAIL FROM:<"...)
	b = append(append(b, t.fromFor(c)...), '>')
	if c.ext.size && m.Size > 0 && !t.seven {
		b = strconv.AppendInt(append(b, " SIZE="...), m.Size, 10)
	}
	binary, eight := m.Body == spool.BodyBinaryMIME, m.Body == spool.Body8BitMIME
	if !t.seven && (binary || eight && c.ext.eightBit) {
		b = append(append(b, " BODY="...), m.Body...)
	}
	if c.ext.utf8 && (m.UTF8 || t.utf8) {
		b = append(b, " SMTPUTF8"...)
	}
	if c.ext.dsn {
		if m.Return != "" {
			b = append(append(b, " RET="...), m.Return...)
		}
		if m.EnvelopeID != "" {
			b = appendXtext(append(b, " ENVID="...), m.EnvelopeID)
		}
	}
	c.out = append(b, '\r', '\n')
}

// appendRcpt writes RCPT for one recipient.
func (t *transaction) appendRcpt(c *conn, i int) {
	r := &t.req.Recipients[i]
	b := append(c.out, "RCPT TO:<"...)
	b = append(append(b, t.rcptFor(c, i)...), '>')
	if c.ext.dsn {
		if r.Notify != 0 {
			b = append(append(b, " NOTIFY="...), r.Notify.String()...)
		}
		if r.Original != "" {
			b = appendORCPT(append(b, " ORCPT="...), r.Original, c.ext.utf8)
		}
	}
	c.out = append(b, '\r', '\n')
}
