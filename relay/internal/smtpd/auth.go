package smtpd

import (
	"encoding/base64"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// auth is RFC 4954.
func (c *conn) auth(arg string) {
	name, initial, _ := strings.Cut(arg, " ")
	switch {
	case c.sess.Helo == "":
		c.protocolErrorAt("auth", policy.HelloFirst.Reply())
	case c.sess.Identity != nil:
		c.protocolErrorAt("auth", policy.AlreadyLoggedOn.Reply())
	case c.tx.mail != nil:
		// Section 4.
		c.protocolErrorAt("auth", policy.AuthInTransaction.Reply())
	case !c.authKnown():
		c.protocolErrorAt("auth", policy.AuthNotOffered.Reply())
	default:
		if r := policy.DecideAuth(c.settings.Auth, c.sess.Connector, c.sess.TLS != nil); r != nil {
			c.protocolErrorAt("auth", r)
			return
		}
		c.beginLogon(strings.ToUpper(name), strings.TrimLeft(initial, " "))
	}
}

// beginLogon checks the arguments of AUTH and goes on from there.
func (c *conn) beginLogon(name, initial string) {
	if name == "" {
		c.protocolErrorAt("auth", badParam())
		return
	}
	l, err := BeginLogon(
		c.settings.Auth, auth.Mechanism(name), c.saslConn(), &c.sess, c.settings.Backend, c.rights,
	)
	if err != nil {
		c.pause(c.sess.Limits.AuthTarpit)
		c.protocolErrorAt("auth", policy.AuthUnknown.Reply())
		return
	}
	var response []byte
	if initial != "" {
		var ok bool
		if response, ok = c.decoded(initial); !ok {
			return
		}
	}
	d := saslDialogue{conn: c, logon: l}
	for ok := true; ok && d.step(response); {
		response, ok = d.response()
	}
}

// decoded decodes what a client says in AUTH, or refuses it. "=" is the empty
// initial response.
func (c *conn) decoded(s string) ([]byte, bool) {
	if s == "=" {
		return []byte{}, true
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		c.protocolErrorAt("auth", policy.NotBase64.Reply())
	}
	return b, err == nil
}

// saslDialogue is a logon under way.
type saslDialogue struct {
	conn  *conn
	logon *Logon
}

// step gives the mechanism a response of the client and answers it. It reports
// whether another response is to come.
func (d *saslDialogue) step(response []byte) bool {
	c := d.conn
	var challenge []byte
	var done bool
	var r *policy.Reply
	if failure := c.ask(func() error {
		challenge, done, r = d.logon.Next(c.ctx, response)
		return nil
	}); failure != nil {
		r = failure
	}
	switch {
	case r != nil:
		c.failedLogon(d.logon.User(), r)
		return false
	case done:
		c.reply(235, "2.7.0", "Authentication successful")
		return false
	}
	d.challenge(challenge)
	return true
}

// challenge sends a challenge: not by reply, which cuts long lines. These may
// have 12288 octets (RFC 4954 section 4).
func (d *saslDialogue) challenge(challenge []byte) {
	w := &d.conn.wire
	w.out = append(w.out, "334 "...)
	w.out = base64.StdEncoding.AppendEncode(w.out, challenge)
	w.out = append(w.out, '\r', '\n')
}

// response reads the client's next response. It reports false when the dialogue
// has ended.
func (d *saslDialogue) response() ([]byte, bool) {
	c := d.conn
	line, err := c.line(maxSASL)
	if err != nil {
		return nil, false
	}
	if string(line) != "*" {
		return c.decoded(string(line))
	}
	r := policy.AuthCancelled.Reply()
	if d.logon.Refused() {
		c.failedLogon(d.logon.User(), r)
	} else {
		c.protocolErrorAt("auth", r)
	}
	return nil, false
}

// failedLogon answers a failed AUTH and ends the session when there were too
// many. A verifier that cannot tell is no fault of the client.
func (c *conn) failedLogon(user string, r *policy.Reply) {
	if r.Code >= 500 || r.Throttled() {
		c.count.logons++
		c.pause(c.sess.Limits.AuthTarpit)
	} else if r.Code != 421 && !c.useless() {
		return
	}
	c.refuse(Rejection{Stage: "auth", Reply: r, User: user})
	if most := c.sess.Limits.MaxLogonFailures; most > 0 && c.count.logons >= most &&
		!c.wire.hangup {
		c.say(policy.TooManyFailures.Reply())
		c.wire.last()
	}
}
