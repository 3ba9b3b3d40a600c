package smtpd

import (
	"context"
	"encoding/base64"
	"errors"

	"github.com/emersion/go-sasl"
	"github.com/postern-mail/postern/auth"
)

// exchange is a SASL exchange under way. go-smtp drives it; the replies are the guard's.
type exchange struct {
	guard   *guard
	name    auth.Mechanism
	server  sasl.Server
	running bool
}

var _ sasl.Server = (*exchange)(nil)

// beginExchange checks the arguments of AUTH (RFC 4954 section 4).
func (g *guard) beginExchange(name, initial string) string {
	x := &exchange{guard: g, name: auth.Mechanism(name), running: true}
	switch {
	case x.name == auth.Plain:
		x.server = sasl.NewPlainServer(x.authenticate)
	case x.name == auth.Login && g.usersLogOn():
		x.server = &login{authenticate: x.authenticate}
	case x.name == "":
		g.protocolErrorAt("auth", badParam())
		return ""
	default:
		g.pause(g.sess.Limits.AuthTarpit)
		g.protocolErrorAt("auth", refusal(504, "5.7.4", "Unrecognized authentication type"))
		return ""
	}
	if !validBase64(initial) {
		g.protocolErrorAt("auth", notBase64())
		return ""
	}
	g.exchange = x
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

// saslLine reads the client's next line of the exchange. "*" makes go-smtp end it.
func (g *guard) saslLine() string {
	line, err := g.line(maxSASL)
	if err != nil {
		return ""
	}
	switch s := string(line); {
	case s == "*":
		g.exchange.running = false
		g.protocolErrorAt("auth", refusal(501, "5.7.0", "Authentication cancelled"))
		return "*\r\n"
	case !validBase64(s):
		g.exchange.running = false
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
	challenge, done, err = x.server.Next(response)
	if err == nil && !done {
		g.reply(334, "", base64.StdEncoding.EncodeToString(challenge))
		return challenge, false, nil
	}
	x.running = false
	if err == nil {
		g.reply(235, "2.7.0", "Authentication successful")
		return nil, true, nil
	}
	if _, ok := errors.AsType[*answeredError](err); !ok {
		g.failedLogon("", refusal(501, "5.5.2", "Invalid response"))
	}
	return nil, true, errRefused
}

// answeredError tells Next that the client has its reply.
type answeredError struct{}

func (*answeredError) Error() string { return "smtpd: logon refused" }

// authenticate asks the backend.
func (x *exchange) authenticate(authzid, user, password string) error {
	g := x.guard
	var id *auth.Identity
	var bad bool
	r := g.ask(func() (err error) {
		ctx, cancel := context.WithTimeout(g.ctx, authTimeout)
		defer cancel()
		id, err = g.pol.Backend.Auth(ctx, &g.sess, auth.Credentials{
			Mechanism: x.name, Username: user, Password: password, Authzid: authzid, Remote: g.sess.Remote, TLS: g.sess.TLS,
		})
		if _, chosen := errors.AsType[*Reply](err); err != nil && !chosen {
			bad = errors.Is(err, auth.ErrBadCredentials)
			if !bad {
				return &Reply{Code: 454, Enhanced: "4.7.0", Text: "Temporary authentication failure", Cause: err}
			}
		} else if err == nil && id == nil {
			return &Reply{Code: 454, Enhanced: "4.7.0", Text: "Temporary authentication failure", Cause: errNoIdentity}
		}
		return err
	})
	if bad {
		r = badCredentials()
	} else if r == nil {
		r = DecideUser(g.sess.Connector, g.sess.TLS != nil, id.Server)
	}
	if r == nil {
		g.sess.Identity, g.sess.Mechanism = id, x.name
		g.rights()
		if r = DecideSubmit(g.sess.Rights); r == nil {
			return nil
		}
		// The credentials are right, but the session could do nothing.
		g.sess.Identity, g.sess.Mechanism = nil, ""
		g.rights()
	}
	g.failedLogon(user, r)
	return &answeredError{}
}

var errNoIdentity = errors.New("smtpd: the backend gave no identity")

func badCredentials() *Reply { return refusal(535, "5.7.8", "Authentication unsuccessful") }

// failedLogon answers a failed AUTH and ends the session when there were too many.
// A verifier that cannot tell is no fault of the client.
func (g *guard) failedLogon(user string, r *Reply) {
	if r.Code >= 500 {
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

// login is the server side of LOGIN (draft-murchison-sasl-login).
type login struct {
	authenticate sasl.PlainAuthenticator
	asked        bool
	haveUser     bool
	user         string
}

// Next asks for the name, then for the password.
func (l *login) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case !l.asked && response == nil:
		l.asked = true
		return []byte("Username:"), false, nil
	case !l.haveUser:
		l.asked, l.haveUser, l.user = true, true, string(response)
		return []byte("Password:"), false, nil
	default:
		return nil, true, l.authenticate("", l.user, string(response))
	}
}
