package smtpd

import (
	"crypto/tls"
	"encoding/base64"

	"github.com/emersion/go-sasl"

	"github.com/postern-mail/postern/auth"
)

// exchange is a SASL exchange under way. go-smtp drives it; the replies are the
// guard's.
type exchange struct {
	*Logon
	guard   *guard
	refused bool // the client has been told so in a challenge
	running bool
}

var _ sasl.Server = (*exchange)(nil)

// saslConn is what the mechanisms have to know of the connection. The connector
// alone decides what may be shown outside TLS.
func (g *guard) saslConn() auth.Conn {
	s := &g.sess
	c := auth.Conn{
		Remote: s.Remote, TLS: s.TLS, Certificate: g.served,
		Allowed: Mechanisms(s.Connector, s.TLS != nil), InsecurePlaintext: true,
	}
	if g.spoken && s.TLS != nil {
		// The client is at the other end of another TLS connection: there is
		// nothing to bind to.
		c.TLS, c.Certificate = new(tls.ConnectionState), nil
	}
	return c
}

// beginExchange checks the arguments of AUTH (RFC 4954 section 4).
func (g *guard) beginExchange(name, initial string) string {
	if name == "" {
		g.protocolErrorAt("auth", badParam())
		return ""
	}
	l, err := BeginLogon(
		g.pol.Auth, auth.Mechanism(name), g.saslConn(), &g.sess, g.pol.Backend, g.rights,
	)
	if err != nil {
		g.pause(g.sess.Limits.AuthTarpit)
		g.protocolErrorAt("auth", refusal(504, "5.7.4", "Unrecognized authentication type"))
		return ""
	}
	if !validBase64(initial) {
		g.protocolErrorAt("auth", notBase64())
		return ""
	}
	g.exchange = &exchange{Logon: l, guard: g, running: true}
	if initial == "" {
		return g.expect("AUTH " + name + "\r\n")
	}
	return g.expect("AUTH " + name + " " + initial + "\r\n")
}

func notBase64() *Reply { return refusal(501, "5.5.2", "Cannot decode response") }

// validBase64 also knows "=", the empty initial response of RFC 4954 section 4.
func validBase64(s string) bool {
	if s == "=" {
		return true
	}
	_, err := base64.StdEncoding.Strict().DecodeString(s)
	return err == nil
}

// saslLine reads the client's next line of the exchange. "*" makes go-smtp end
// it.
func (g *guard) saslLine() string {
	line, err := g.line(maxSASL)
	if err != nil {
		return ""
	}
	x := g.exchange
	switch s := string(line); {
	case s == "*":
		x.running = false
		r := refusal(501, "5.7.0", "Authentication cancelled")
		if x.refused {
			g.failedLogon(x.User(), r)
		} else {
			g.protocolErrorAt("auth", r)
		}
		return "*\r\n"
	case !validBase64(s):
		x.running = false
		g.protocolErrorAt("auth", notBase64())
		return "*\r\n"
	default:
		return s + "\r\n"
	}
}

// Next takes one response of the client.
func (x *exchange) Next(response []byte) (challenge []byte, done bool, err error) {
	g := x.guard
	g.waiting = false
	var r *Reply
	if failure := g.ask(func() error {
		challenge, done, r = x.Logon.Next(g.ctx, response)
		return nil
	}); failure != nil {
		r = failure
	}
	switch {
	case r != nil:
		x.running = false
		g.failedLogon(x.User(), r)
		return nil, true, errRefused
	case done:
		x.running = false
		g.reply(235, "2.7.0", "Authentication successful")
		return nil, true, nil
	}
	// The one challenge of these says why the token is refused (RFC 7628
	// section 3.2.3).
	x.refused = len(challenge) > 0 &&
		(x.mechanism == auth.OAuthBearer || x.mechanism == auth.XOAuth2)
	// Not by reply, which cuts long lines: these may have 12288 octets (RFC
	// 4954 section 4).
	g.out = append(g.out, "334 "...)
	g.out = base64.StdEncoding.AppendEncode(g.out, challenge)
	g.out = append(g.out, '\r', '\n')
	return challenge, false, nil
}

// failedLogon answers a failed AUTH and ends the session when there were too
// many. A verifier that cannot tell is no fault of the client.
func (g *guard) failedLogon(user string, r *Reply) {
	if r.Code >= 500 || r.Throttled() {
		g.logons++
		g.pause(g.sess.Limits.AuthTarpit)
	} else if r.Code != 421 && !g.uselessCommand() {
		return
	}
	g.refuse(Rejection{Stage: "auth", Reply: r, User: user})
	if most := g.sess.Limits.MaxLogonFailures; most > 0 && g.logons >= most && !g.hangup {
		g.reply(421, "4.7.0", "Too many failed logons on this connection")
		g.hangup, g.linger = true, true
	}
}
