package outbound

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"

	"github.com/postern-mail/postern/relay/delivery"
)

var (
	errAuthInClear = errors.New("no TLS: the password is not sent")
	errMechanism   = errors.New("the peer offers neither AUTH PLAIN nor AUTH LOGIN")
)

// auth logs on (RFC 4954) with PLAIN (RFC 4616) or, where that is missing or
// refused, LOGIN; loginFirst turns the order round. login tells which it was.
// Every failure is temporary: it is for the operator to mend while the mail
// waits.
func (c *conn) auth(
	ctx context.Context, h *hop, loginFirst bool,
) (login bool, failed *delivery.Error) {
	if !c.secure() && !h.AllowPlaintextAuth {
		return false, temporary(delivery.OpAuth, "4.7.0", errAuthInClear)
	}
	var tries []bool
	if c.ext.plain {
		tries = append(tries, false)
	}
	if c.ext.login {
		tries = append(tries, true)
	}
	if len(tries) == 0 {
		return false, temporary(delivery.OpAuth, "4.7.0", errMechanism)
	}
	if loginFirst {
		slices.Reverse(tries)
	}
	for _, login = range tries {
		rep, err := c.logOn(h, login)
		switch {
		case failed != nil && (err != nil || rep.code == 421):
			return login, failed // enough of it, after the first
		case err != nil:
			return login, lost(ctx, delivery.OpAuth, "4.4.2", err)
		case rep.class() == 2:
			return login, nil
		}
		failed = refused(delivery.OpAuth, rep)
		failed.Permanent = false
		if !otherMechanism(rep) {
			break
		}
	}
	return login, failed
}

// otherMechanism tells whether a refusal may be of the mechanism alone: RFC
// 4954 section 6 says so of 534, and hosts use 504 and 535 for it too.
func otherMechanism(rep *reply) bool {
	return rep.code == 504 || rep.code == 534 || rep.code == 535
}

// logOn makes one exchange. A host that takes the user name of LOGIN for an
// unknown command gets it behind AUTH, as some clients send it always.
func (c *conn) logOn(h *hop, login bool) (*reply, error) {
	b64 := base64.StdEncoding.EncodeToString
	if !login {
		return c.converse("AUTH PLAIN " + b64([]byte("\x00"+h.Username+"\x00"+h.Password)))
	}
	user, password := b64([]byte(h.Username)), b64([]byte(h.Password))
	rep, err := c.command("AUTH LOGIN", nil)
	if err != nil || rep.code != 334 {
		return rep, err
	}
	rep, err = c.command(user, nil)
	switch {
	case err == nil && rep.code == 334:
		return c.converse(password)
	case err == nil && unknown(rep):
		return c.converse("AUTH LOGIN "+user, password)
	}
	return rep, err
}

// converse sends lines for as long as the peer asks for more, and cancels when
// there are none. Challenges are not looked at: servers differ in their words,
// never in their order.
func (c *conn) converse(lines ...string) (rep *reply, err error) {
	for _, line := range append(lines, "*") {
		rep, err = c.command(line, nil)
		if err != nil || rep.code != 334 {
			break
		}
	}
	return rep, err
}
