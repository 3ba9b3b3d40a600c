package smtpd

import (
	"errors"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
)

const maxEnvelopeID = 100 // RFC 3461 section 4.4

func (c *conn) mail(arg string) {
	switch {
	case c.sess.Helo == "":
		c.protocolErrorAt("mail", policy.HelloFirst.Reply())
		return
	case c.tx.mail != nil:
		c.protocolErrorAt("mail", policy.SecondMail.Reply())
		return
	}
	c.tx.mailRefused, c.tx.rcptRefused = true, false
	if r := policy.DecideTLS(c.sess.Connector, c.sess.TLS != nil); r != nil {
		c.protocolErrorAt("mail", r)
		return
	}
	m, r := parseMail(c.completed(arg), c.ext)
	if r != nil {
		c.malformed("mail", r, "MAIL "+arg)
		return
	}
	if !strings.Contains(arg, "<") {
		c.tolerated("MAIL", arg)
	}
	r = policy.DecideSize(c.sess.Limits, c.sess.Rights, m.Size)
	if r == nil {
		c.tx.mail = m
		r = c.ask(func() error { return c.pol.Backend.Mail(c.ctx, &c.sess, m) })
	}
	if r != nil {
		// Not an error of protocol: the client asked.
		c.tx.mail = nil
		c.refusedByBackend(Rejection{Stage: "mail", Reply: r, From: m.From.String()})
		return
	}
	c.tx.mailRefused = false
	c.reply(250, "2.1.0", "Sender OK")
}

// completed returns the argument of MAIL or RCPT with the policy's domain where
// a user gave none.
func (c *conn) completed(arg string) string {
	if c.pol.CompleteDomain == "" || c.sess.Identity == nil {
		return arg
	}
	return completePath(arg, c.pol.CompleteDomain)
}

// parseMail reads the argument of MAIL.
func parseMail(arg string, e extensions) (*Mail, *Reply) {
	from, rest, err := path(arg, "FROM:")
	if err != nil || from.Domain() == "" && !from.IsNull() {
		if errors.Is(err, errSyntax) {
			return nil, policy.BadMail.Reply()
		}
		return nil, policy.BadSender.Reply()
	}
	m := &Mail{From: from, Size: -1}
	if r := params(rest, func(key, value string) *Reply { return m.set(key, value, e) }); r != nil {
		return nil, r
	}
	// RFC 6531 section 3.5.
	if !m.UTF8 && from.UTF8() {
		return nil, policy.SenderNeedsUTF8.Reply()
	}
	return m, nil
}

func (m *Mail) set(key, value string, e extensions) *Reply {
	switch {
	case key == "SIZE" && e&extSize != 0:
		// RFC 1870 section 5: up to 20 digits.
		n, err := strconv.ParseUint(value, 10, 63)
		if err != nil || len(value) > 20 {
			return badParam()
		}
		m.Size = int64(n)
	case key == "BODY" && e&(ext8Bit|extBinary) != 0:
		switch v := strings.ToUpper(value); {
		case v == "7BIT", v == "8BITMIME" && e&ext8Bit != 0, v == "BINARYMIME" && e&extBinary != 0:
			m.Body = spool.Body(v)
		default:
			return badParam()
		}
	case key == "SMTPUTF8" && e&extUTF8 != 0:
		if value != "" {
			return badParam()
		}
		m.UTF8 = true
	case key == "RET" && e&extDSN != 0:
		v := strings.ToUpper(value)
		if v != "FULL" && v != "HDRS" {
			return badParam()
		}
		m.Return = spool.Return(v)
	case key == "ENVID" && e&extDSN != 0:
		v, err := xtext(value)
		if err != nil || len(value) > maxEnvelopeID || !printable(v) {
			return badParam()
		}
		m.EnvelopeID = v
	case key == "AUTH" && e&extAuth != 0:
		// RFC 4954 section 5.
		v, err := xtext(value)
		if err != nil || !printable(v) {
			return badParam()
		}
		if v == "<>" {
			v = ""
		} else if a, err := domains.Parse(v); err != nil {
			return badParam()
		} else {
			v = a.String()
		}
		m.Auth = &v
	default:
		return unknownParam()
	}
	return nil
}
