package smtpd

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
)

const maxOriginal = 500 // RFC 3461 section 4.2

func (c *conn) rcpt(arg string) {
	m := c.tx.mail
	if m == nil {
		c.noTransaction("rcpt")
		return
	}
	rc, r := parseRcpt(c.completed(arg), c.ext, m)
	if r != nil {
		c.tx.rcptRefused = true
		// One address of a list that somebody has typed: the others may be
		// good.
		c.refuseCounted(Rejection{Stage: "rcpt", Reply: r, Command: shown("RCPT " + arg)})
		return
	}
	if !strings.Contains(arg, "<") {
		c.tolerated("RCPT", arg)
	}
	if most := c.sess.Limits.MaxRecipients; most > 0 && len(m.Recipients) >= most {
		// RFC 5321 section 4.5.3.1.10: those accepted so far stand.
		c.refuse(Rejection{Stage: "rcpt", Reply: policy.TooManyRecipients.Reply(),
			To: rc.To.String()})
		return
	}
	r = c.ask(func() error { return c.settings.Backend.Rcpt(c.ctx, &c.sess, m, &rc) })
	if r != nil {
		c.tx.rcptRefused = true
		c.refusedByBackend(Rejection{Stage: "rcpt", Reply: r, To: rc.To.String()})
		return
	}
	c.takeRecipient(&rc)
}

// takeRecipient accepts a recipient if there is memory for it.
func (c *conn) takeRecipient(rc *Rcpt) {
	m := c.tx.mail
	n := rc.memory(len(m.Recipients))
	if n > 0 && !c.settings.Memory.TakeSpare(n) {
		c.refuse(Rejection{Stage: "rcpt", Reply: policy.NoRoom.Reply(), To: rc.To.String()})
		return
	}
	c.tx.held += n
	m.Recipients = append(m.Recipients, *rc)
	c.reply(250, "2.1.5", "Recipient OK")
}

// noTransaction refuses a command that needs MAIL first. After a refused MAIL
// that is the ordinary course of pipelining, and no error of the client.
func (c *conn) noTransaction(stage string) {
	r := policy.MailFirst.Reply()
	if c.tx.mailRefused {
		if c.useless() {
			c.refuse(Rejection{Stage: stage, Reply: r})
		}
		return
	}
	c.protocolErrorAt(stage, r)
}

// parseRcpt reads the argument of RCPT in the transaction m.
func parseRcpt(arg string, e extensions, m *Mail) (Rcpt, *policy.Reply) {
	to, rest, err := path(arg, "TO:")
	if err != nil || to.IsNull() {
		if errors.Is(err, errSyntax) {
			return Rcpt{}, policy.BadRcpt.Reply()
		}
		return Rcpt{}, policy.BadRecipient.Reply()
	}
	if r := policy.DecideLength(m.From, to); r != nil {
		return Rcpt{}, r
	}
	rc := Rcpt{To: to}
	if r := params(rest, func(key, value string) *policy.Reply {
		return rc.set(key, value, e, m.UTF8)
	}); r != nil {
		return Rcpt{}, r
	}
	// RFC 6531 section 3.5.
	if !m.UTF8 && to.UTF8() {
		return Rcpt{}, policy.RecipientNeedsUTF8.Reply()
	}
	return rc, nil
}

func (rc *Rcpt) set(key, value string, e extensions, utf8 bool) *policy.Reply {
	switch {
	case key == "NOTIFY" && e&extDSN != 0:
		n, err := spool.ParseNotify(value)
		if err != nil || n == 0 {
			return badParam()
		}
		rc.Notify = n
	case key == "ORCPT" && e&extDSN != 0:
		o, err := original(value, utf8)
		if err != nil {
			return badParam()
		}
		rc.Original = o
	default:
		return unknownParam()
	}
	return nil
}

// original decodes an ORCPT value (RFC 3461 section 4.2, RFC 6533 section 3).
func original(s string, raw bool) (string, error) {
	kind, addr, ok := strings.Cut(s, ";")
	if !ok || !isKeyword(kind) || addr == "" || len(s) > maxOriginal {
		return "", errSyntax
	}
	if strings.EqualFold(kind, "utf-8") {
		addr, err := utf8Address(addr, raw)
		return kind + ";" + addr, err
	}
	addr, err := xtext(addr)
	if err != nil {
		return "", errSyntax
	}
	// Postfix writes addresses beyond ASCII as if they were of this type too.
	if raw && strings.EqualFold(kind, "rfc822") && internationalized(addr) {
		return "utf-8;" + addr, nil
	}
	if !printable(addr) {
		return "", errSyntax
	}
	return kind + ";" + addr, nil
}

// internationalized reports whether s is UTF-8 beyond ASCII without control
// characters.
func internationalized(s string) bool {
	ascii := true
	for _, r := range s {
		if r == utf8.RuneError || r < ' ' || r >= 0x7f && r < 0xa0 {
			return false
		}
		ascii = ascii && r < utf8.RuneSelf
	}
	return !ascii
}
