package smtpd_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// A panic of the backend ends its session and no other.
func TestPanicEndsItsSession(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		other := r.client()
		other.Expect("220 *")
		for _, commands := range [][]string{
			{"EHLO boom.test"},
			{"EHLO a", "MAIL FROM:<boom@example.test>"},
			{"EHLO a", "MAIL FROM:<a@example.test>", "RCPT TO:<boom@example.test>"},
			{"EHLO a", "MAIL FROM:<a@example.test>", "RCPT TO:<broken@example.test>", "DATA"},
		} {
			p := r.client()
			p.Expect("220 *")
			p.Say(commands...)
			for {
				s, err := p.Line()
				if err != nil {
					t.Fatalf("%q: %v", commands, err)
				}
				if strings.HasPrefix(s, "421 4.3.0 ") {
					break
				}
			}
			p.ExpectClose()
			p.Close()
		}
		other.EHLO()
		other.Say("AUTH PLAIN AGJvb20Ac2VjcmV0")
		other.Expect("454 4.7.0 *") // a verifier is called apart
		other.begin()
	}, func() *connector.Connector {
		c := open()
		c.AuthMechanisms = connector.BasicAuth
		return c
	}())
}

// A panic in a callback of the TLS configuration ends the session only.
func TestPanicInTLS(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		p := settingsFor(t, r.backend, open())
		p.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			panic("boom")
		}}
		r.server.Apply(p)
		c := r.client()
		c.Expect("220 *")
		c.EHLO()
		c.Say("STARTTLS")
		c.Expect("220 *")
		c.Sent()
		if err := c.TryHandshake(nil); err == nil {
			t.Error("handshake succeeded")
		}
		r.server.Apply(r.settings)
		r.client().Expect("220 *")
	})
}

// A panic in a report does not end the session.
func TestPanicInReport(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.server.Apply(settingsFor(t, panicking{r.backend}, open()))
		p := r.client()
		p.Expect("220 *")
		p.Say("FOO", "QUIT")
		p.Expect("500 5.3.3 *", "221 *")
		p.ExpectClose()
	})
}

// panicking panics where the server expects no answer.
type panicking struct{ *recorder }

func (panicking) Rejected(*smtpd.Session, smtpd.Rejection) { panic("rejected") }
