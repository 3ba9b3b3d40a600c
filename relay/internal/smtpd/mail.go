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
	c.begin(m)
}

// begin asks the backend about the sender and begins the transaction.
func (c *conn) begin(m *Mail) {
	r := policy.DecideSize(c.sess.Limits, c.sess.Rights, m.Size)
	if r == nil {
		c.tx.mail = m
		r = c.ask(func() error { return c.settings.Backend.Mail(c.ctx, &c.sess, m) })
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

// completed returns the argument of MAIL or RCPT with the configured domain
// where a user gave none.
func (c *conn) completed(arg string) string {
	if c.settings.CompleteDomain == "" || c.sess.Identity == nil {
		return arg
	}
	return completePath(arg, c.settings.CompleteDomain)
}

// parseMail reads the argument of MAIL.
func parseMail(arg string, e extensions) (*Mail, *policy.Reply) {
	from, rest, err := path(arg, "FROM:")
	if err != nil || from.Domain() == "" && !from.IsNull() {
		if errors.Is(err, errSyntax) {
			return nil, policy.BadMail.Reply()
		}
		return nil, policy.BadSender.Reply()
	}
	m := &Mail{From: from, Size: -1}
	if r := params(rest, func(key, value string) *policy.Reply {
		return m.set(key, value, e)
	}); r != nil {
		return nil, r
	}
	// RFC 6531 section 3.5.
	if !m.UTF8 && from.UTF8() {
		return nil, policy.SenderNeedsUTF8.Reply()
	}
	return m, nil
}

// set takes a parameter.
func (m *Mail) set(key, value string, e extensions) *policy.Reply {
	var ok bool
	switch {
	case key == "SIZE" && e&extSize != 0:
		m.Size, ok = parseSize(value)
	case key == "BODY" && e&(ext8Bit|extBinary) != 0:
		m.Body, ok = parseBody(value, e)
	case key == "SMTPUTF8" && e&extUTF8 != 0:
		m.UTF8, ok = true, value == ""
	case key == "RET" && e&extDSN != 0:
		m.Return = spool.Return(strings.ToUpper(value))
		ok = m.Return == "FULL" || m.Return == "HDRS"
	case key == "ENVID" && e&extDSN != 0:
		m.EnvelopeID, ok = parseEnvelopeID(value)
	case key == "AUTH" && e&extAuth != 0:
		m.Auth, ok = parseAuthor(value)
	default:
		return unknownParam()
	}
	if !ok {
		return badParam()
	}
	return nil
}

// parseSize reads RFC 1870 section 5: up to 20 digits.
func parseSize(s string) (int64, bool) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err == nil && len(s) <= 20
}

func parseBody(s string, e extensions) (spool.Body, bool) {
	b := spool.Body(strings.ToUpper(s))
	return b, b == "7BIT" || b == "8BITMIME" && e&ext8Bit != 0 ||
		b == "BINARYMIME" && e&extBinary != 0
}

func parseEnvelopeID(s string) (string, bool) {
	id, err := xtext(s)
	return id, err == nil && len(s) <= maxEnvelopeID && printable(id)
}

// parseAuthor reads RFC 4954 section 5.
func parseAuthor(s string) (*string, bool) {
	author, err := xtext(s)
	switch {
	case err != nil || !printable(author):
		return nil, false
	case author == "<>":
		return new(string), true
	}
	a, err := domains.Parse(author)
	if err != nil {
		return nil, false
	}
	author = a.String()
	return &author, true
}
