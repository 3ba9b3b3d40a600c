package outbound_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
)

const (
	refusedLogon = `temporary auth 535 5.7.8 "no"`
	noLogon      = "temporary auth 0 4.7.0 error"
)

// steady is a source of one token.
type steady string

func (s steady) Token(context.Context, string) (string, error) { return string(s), nil }

// TestMechanisms: the best of what a host offers is tried first, and what a
// refusal leaves after it.
func TestMechanisms(t *testing.T) {
	t.Parallel()
	keys, none := keysOf(t, "app", "secret"), keysOf(t, "nobody", "secret")
	passwords, tokens := takes("app", "secret"), takes("app", "secret")
	in13, in12 := selfSigned(), selfSigned()
	in12.MaxVersion = tls.VersionTLS12
	for name, c := range map[string]struct {
		passwords, tokens auth.Verifier
		scram             auth.SCRAMStore
		tls               *tls.Config
		hide              string
		token             bool
		wrong             bool // password or token
		tries             string
		want              string
	}{
		"bound by TLS 1.3": {
			passwords: passwords, scram: keys, tls: in13,
			tries: "SCRAM-SHA-256-PLUS", want: taken,
		},
		"bound by certificate": {
			passwords: passwords, scram: keys, tls: in12,
			tries: "SCRAM-SHA-256-PLUS", want: taken,
		},
		"in the clear": {
			passwords: passwords, scram: keys,
			tries: "SCRAM-SHA-256", want: taken,
		},
		"binding hidden": { // on the way: the host refuses that
			scram: keys, tls: in13, hide: "SCRAM-SHA-256-PLUS",
			tries: "SCRAM-SHA-256", want: refusedLogon,
		},
		"no keys": {
			passwords: passwords, scram: none, tls: in13,
			tries: "SCRAM-SHA-256-PLUS PLAIN", want: taken,
		},
		"wrong password": { // two failures, however many are left
			passwords: passwords, scram: keys, tls: in13, wrong: true,
			tries: "SCRAM-SHA-256-PLUS PLAIN", want: refusedLogon,
		},
		"plain":          {passwords: passwords, tries: "PLAIN", want: taken},
		"login":          {passwords: passwords, hide: "PLAIN", tries: "LOGIN", want: taken},
		"tokens only":    {tokens: tokens, want: noLogon},
		"passwords only": {passwords: passwords, token: true, want: noLogon},
		"token": {
			passwords: passwords, tokens: tokens, tls: in13, token: true,
			tries: "OAUTHBEARER", want: taken,
		},
		"token of Microsoft": {
			tokens: tokens, tls: in13, token: true, hide: "OAUTHBEARER",
			tries: "XOAUTH2", want: taken,
		},
		"token refused": { // the other mechanism would be told the same
			tokens: tokens, tls: in13, token: true, wrong: true,
			tries: "OAUTHBEARER", want: refusedLogon + " error",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &smartHost{tls: c.tls, hide: strings.Fields(c.hide)}
			s.Passwords, s.SCRAM, s.Tokens = c.passwords, c.scram, c.tokens
			client := newClient(t, dialTo(listen(t, s.serve)))
			r := newRequest("hi\r\n")
			r.Hop.Username, r.Hop.Password = "app", "secret"
			r.Hop.ImplicitTLS, r.Hop.AllowPlaintextAuth = c.tls != nil, true
			if c.wrong {
				r.Hop.Password = "other"
			}
			if c.token {
				r.Hop.Tokens, r.Hop.Password = steady(r.Hop.Password), ""
			}
			expect(t, client.Deliver(t.Context(), r), c.want)
			if tries, _ := s.tried(); tries != c.tries {
				t.Errorf("tried %q, want %q", tries, c.tries)
			}
		})
	}
}

// TestMechanismThatWorksComesFirst from then on, where the host has refused the
// one before.
func TestMechanismThatWorksComesFirst(t *testing.T) {
	t.Parallel()
	s := &smartHost{tls: selfSigned()}
	s.Passwords, s.SCRAM = takes("app", "secret"), keysOf(t, "nobody", "secret")
	client := newClient(t, dialTo(listen(t, s.serve)))
	r := newRequest("hi\r\n")
	r.Hop.Username, r.Hop.Password, r.Hop.ImplicitTLS = "app", "secret", true
	r.Hop.MessagesPerConnection = 1
	for range 2 {
		expect(t, client.Deliver(t.Context(), r), taken)
	}
	if tries, _ := s.tried(); tries != "SCRAM-SHA-256-PLUS PLAIN PLAIN" {
		t.Errorf("tried %s", tries)
	}
}

// TestCertificateLogsOn where the host offers EXTERNAL, and needs to only where
// there is a user name.
func TestCertificateLogsOn(t *testing.T) {
	t.Parallel()
	root := certificate("root", nil, time.Now().Add(time.Hour))
	own := certificate("relay.example.test", &root, time.Now().Add(time.Hour))
	pool := x509.NewCertPool()
	pool.AddCert(root.Leaf)
	asking := selfSigned()
	asking.ClientAuth, asking.ClientCAs = tls.VerifyClientCertIfGiven, pool
	known := auth.VerifierFunc(func(_ context.Context, p auth.Proof) (*auth.Identity, error) {
		if p.Username != "" && p.Username != "app" {
			return nil, auth.ErrBadCredentials
		}
		return &auth.Identity{User: "app"}, nil
	})
	for name, c := range map[string]struct {
		user        string
		offers      bool
		tries, want string
	}{
		"without a name": {"", true, "EXTERNAL", taken},
		"with a name":    {"app", true, "EXTERNAL", taken},
		"as another":     {"boss", true, "EXTERNAL", refusedLogon},
		"not offered":    {"app", false, "", noLogon},
		"not needed":     {"", false, "", `permanent mail 530 5.7.0 "who are you?"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &smartHost{tls: asking}
			s.Passwords = takes("x", "y")
			if c.offers {
				s.Certificates = known
			}
			client := newClient(t, dialTo(listen(t, s.serve)))
			r := newRequest("hi\r\n")
			r.Hop.Username, r.Hop.ImplicitTLS = c.user, true
			r.Hop.Certificates = []tls.Certificate{own}
			r.Hop.TLS = connector.TLSEncryptionOnly
			expect(t, client.Deliver(t.Context(), r), c.want)
			if tries, _ := s.tried(); tries != c.tries {
				t.Errorf("tried %q, want %q", tries, c.tries)
			}
		})
	}
}

// TestHostMustKnowThePassword: one that cannot prove it gets no other chance to
// learn it, and one that asks for endless work gets none of it.
func TestHostMustKnowThePassword(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lie         func(mechanism, challenge string) string
		tries, want string
	}{
		"false proof": {func(_, challenge string) string {
			if strings.HasPrefix(challenge, "v=") {
				return "v=" + strings.Repeat("A", 43) + "="
			}
			return challenge
		}, "SCRAM-SHA-256", noLogon},
		"no proof": {func(_, challenge string) string {
			if strings.HasPrefix(challenge, "v=") {
				return "reply 235 2.7.0 come in"
			}
			return challenge
		}, "SCRAM-SHA-256", noLogon},
		"endless work": {func(_, challenge string) string {
			before, _, _ := strings.Cut(challenge, ",i=")
			return before + ",i=2000000000"
		}, "SCRAM-SHA-256 PLAIN", taken},
		"other nonce": {func(_, challenge string) string {
			return "r=x" + strings.TrimPrefix(challenge, "r=")
		}, "SCRAM-SHA-256 PLAIN", taken},
		"nonsense": {func(string, string) string { return "?" }, "SCRAM-SHA-256 PLAIN", taken},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &smartHost{lie: c.lie}
			s.Passwords, s.SCRAM = takes("app", "secret"), keysOf(t, "app", "secret")
			client := newClient(t, dialTo(listen(t, s.serve)))
			r := newRequest("hi\r\n")
			r.Hop.Username, r.Hop.Password, r.Hop.AllowPlaintextAuth = "app", "secret", true
			expect(t, client.Deliver(t.Context(), r), c.want)
			if tries, _ := s.tried(); tries != c.tries {
				t.Errorf("tried %q, want %q", tries, c.tries)
			}
		})
	}
}
