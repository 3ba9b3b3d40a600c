package smtpd_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
	"github.com/postern-mail/postern/relay/internal/wiretest"
)

func TestMechanismsOnTheWire(t *testing.T) {
	const (
		good      = "235 2.7.0 Authentication successful"
		bad       = "535 5.7.8 Authentication unsuccessful"
		malformed = "501 5.5.2 Invalid response"
	)
	alice := authority().issue(nil, "alice.example.test")
	exporter, endpoint := scram.ChannelBindingTLSExporter, scram.ChannelBindingTLSServerEndpoint
	oauth := func(user, token string) string {
		if user != "" {
			user = "a=" + user
		}
		return "n," + user + ",\x01host=mx.example.test\x01auth=Bearer " + token + "\x01\x01"
	}
	xoauth := func(user, token string) string {
		return "user=" + user + "\x01auth=Bearer " + token + "\x01\x01"
	}
	type test struct {
		name, mechanism string
		d               func(t *testing.T, state tls.ConnectionState) responder
		want            string
	}
	says := func(responses ...string) func(*testing.T, tls.ConnectionState) responder {
		return func(*testing.T, tls.ConnectionState) responder { return fixed(responses...) }
	}
	scrams := func(user, password string) func(*testing.T, tls.ConnectionState) responder {
		return func(t *testing.T, _ tls.ConnectionState) responder {
			return scramClient(t, user, password, unbound)
		}
	}
	plus := func(
		user, password string, kind scram.ChannelBindingType, damage bool,
	) func(*testing.T, tls.ConnectionState) responder {
		return func(t *testing.T, state tls.ConnectionState) responder {
			return scramClient(t, user, password, bound(t, kind, state, damage))
		}
	}
	for _, tt := range []test{
		{"good", "PLAIN", says("\x00alice\x00secret"), good},
		{"acting as oneself", "PLAIN", says("alice\x00alice\x00secret"), good},
		{"bad", "PLAIN", says("\x00alice\x00wrong"), bad},
		{"unknown", "PLAIN", says("\x00mallory\x00secret"), bad},
		{"no name that could be", "PLAIN", says("\x00a\u202eb\x00secret"), bad},
		{"malformed", "PLAIN", says("alice"), malformed},
		{"good", "LOGIN", says("alice", "secret"), good},
		{"bad", "LOGIN", says("alice", "wrong"), bad},
		{"unknown", "LOGIN", says("mallory", "secret"), bad},
		{"good", "SCRAM-SHA-256", scrams("alice", "secret"), good},
		{"bad", "SCRAM-SHA-256", scrams("alice", "wrong"), bad},
		{"unknown", "SCRAM-SHA-256", scrams("mallory", "secret"), bad},
		{"hidden -PLUS", "SCRAM-SHA-256", says("y,,n=alice,r=abcdefghijklmnop"), bad},
		{
			"bound without -PLUS", "SCRAM-SHA-256",
			says("p=tls-exporter,,n=alice,r=abcdefghijklmnop"), malformed,
		},
		{"malformed", "SCRAM-SHA-256", says("n,,hello"), malformed},
		{"extension", "SCRAM-SHA-256", says("n,,m=x,n=alice,r=abcdefghijklmnop"), malformed},
		{
			"foreign nonce", "SCRAM-SHA-256",
			says("n,,n=alice,r=abcdefghijklmnop", "c=biws,r=another,p=AAAA"), "5*",
		},
		{
			"good, tls-exporter", "SCRAM-SHA-256-PLUS", plus("alice", "secret", exporter, false),
			good,
		},
		{
			"good, tls-server-end-point", "SCRAM-SHA-256-PLUS",
			plus("alice", "secret", endpoint, false), good,
		},
		{"another connection", "SCRAM-SHA-256-PLUS", plus("alice", "secret", exporter, true), bad},
		{"another certificate", "SCRAM-SHA-256-PLUS", plus("alice", "secret", endpoint, true), bad},
		{"bad", "SCRAM-SHA-256-PLUS", plus("alice", "wrong", exporter, false), bad},
		{"unknown", "SCRAM-SHA-256-PLUS", plus("mallory", "secret", exporter, false), bad},
		{"unbound", "SCRAM-SHA-256-PLUS", scrams("alice", "secret"), malformed},
		{
			"unknown binding", "SCRAM-SHA-256-PLUS",
			says("p=tls-unique,,n=alice,r=abcdefghijklmnop"), bad,
		},
		{"good", "OAUTHBEARER", says(oauth("", "secret")), good},
		{"good, named", "OAUTHBEARER", says(oauth("alice", "secret")), good},
		{"bad", "OAUTHBEARER", says(oauth("alice", "wrong"), "\x01"), bad},
		{"bad, empty answer", "OAUTHBEARER", says(oauth("alice", "wrong"), ""), bad},
		{"bad, cancelled", "OAUTHBEARER", says(oauth("alice", "wrong"), cancel), "501 5.7.0 *"},
		{"no token", "OAUTHBEARER", says("n,,\x01\x01", "\x01"), bad},
		{"malformed", "OAUTHBEARER", says("n,,auth=Bearer secret"), malformed},
		{"long", "OAUTHBEARER", says(oauth("", "secret"+strings.Repeat("x", 8000))), good},
		{"good", "XOAUTH2", says(xoauth("alice", "secret")), good},
		{"bad", "XOAUTH2", says(xoauth("alice", "wrong"), ""), bad},
		{"malformed", "XOAUTH2", says("alice"), malformed},
		{"good", "EXTERNAL", says(""), good},
		{"good, named", "EXTERNAL", says("alice"), good},
		{"another user", "EXTERNAL", says("server"), bad},
	} {
		for _, initial := range []bool{true, false} {
			if tt.mechanism == "LOGIN" && initial {
				continue // it has none that all clients agree on
			}
			t.Run(fmt.Sprintf("%s/%s/%v", tt.mechanism, tt.name, initial), func(t *testing.T) {
				saslRig(t, submission(), func(t *testing.T, r *rig) {
					p := r.inside("192.0.2.7:40000", alice)
					reply, challenges := p.logOn(
						tt.mechanism, initial, tt.d(t, p.Conn().(*tls.Conn).ConnectionState()),
					)
					if !wiretest.Match(tt.want, reply) {
						t.Fatalf("got %q, want %q", reply, tt.want)
					}
					if reply != good &&
						slices.ContainsFunc(challenges, func(c string) bool {
							return strings.HasPrefix(c, "v=")
						}) {
						t.Errorf("the server has proved that it knows the secret: %q", challenges)
					}
					if strings.HasPrefix(tt.name, "bad") &&
						strings.Contains(tt.mechanism, "OAUTH") {
						var refusal struct{ Scope string }
						if err := json.Unmarshal(
							[]byte(challenges[len(challenges)-1]), &refusal,
						); err != nil || len(refusal.Scope) != 2000 {
							t.Errorf("%v in %q", err, challenges)
						}
					}
					p.Say("MAIL FROM:<a@example.test>")
					if reply == good {
						p.Expect("250 *")
					} else {
						p.Expect("530 5.7.1 *")
						reply, _ := p.logOn("PLAIN", true, fixed("\x00alice\x00secret"))
						if reply != good {
							t.Errorf("afterwards %q", reply)
						}
					}
				})
			})
		}
	}
}

// What is offered depends on the connector, on TLS and on the certificate, the
// strongest first.
func TestMechanismsOffered(t *testing.T) {
	const inside = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN"
	alice := authority().issue(nil, "alice.example.test")
	stranger := newCA().issue(nil, "alice.example.test")
	for _, tt := range []struct {
		name      string
		mechanism connector.AuthMechanism
		change    func(*smtpd.Settings)
		cert      *tls.Certificate
		clear     string
		inside    string
	}{
		{
			"users inside TLS", connector.TLS | connector.BasicAuth | connector.BasicAuthRequireTLS,
			nil, nil, "", inside,
		},
		{
			"users with a certificate",
			connector.TLS | connector.BasicAuth | connector.BasicAuthRequireTLS, nil, alice, "",
			"EXTERNAL " + inside,
		},
		{
			"users with a certificate of a stranger",
			connector.TLS | connector.BasicAuth | connector.BasicAuthRequireTLS, nil, stranger, "",
			inside,
		},
		{
			"users everywhere", connector.TLS | connector.BasicAuth, nil, nil,
			"SCRAM-SHA-256 PLAIN LOGIN", inside,
		},
		{
			"servers", connector.TLS | connector.ExchangeServer, nil, alice, "",
			"EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN",
		},
		{"nobody", connector.TLS, nil, alice, "", ""},
		{"passwords", connector.TLS | connector.BasicAuth, func(p *smtpd.Settings) {
			p.Auth = bounded(&auth.Server{Passwords: p.Auth.Passwords})
		}, alice, "PLAIN LOGIN", "PLAIN LOGIN"},
		{"tokens", connector.TLS | connector.BasicAuth, func(p *smtpd.Settings) {
			p.Auth = bounded(&auth.Server{Tokens: p.Auth.Tokens})
		}, nil, "", "OAUTHBEARER XOAUTH2"},
		{"certificates", connector.TLS | connector.BasicAuth, func(p *smtpd.Settings) {
			p.Auth = bounded(&auth.Server{Certificates: p.Auth.Certificates})
		}, nil, "", ""},
		{"nothing", connector.TLS | connector.BasicAuth, func(p *smtpd.Settings) {
			p.Auth = bounded(&auth.Server{})
		}, nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := submission()
			c.FQDN, c.AuthMechanisms = "", tt.mechanism
			saslRig(t, c, func(t *testing.T, r *rig) {
				if tt.change != nil {
					tt.change(&r.settings)
					r.server.Apply(r.settings)
				}
				offered := func(lines []string) string {
					for _, l := range lines {
						if list, ok := strings.CutPrefix(l, "AUTH "); ok {
							return list
						}
					}
					return ""
				}
				p := r.client()
				p.Expect("220 *")
				if got := offered(p.EHLO()); got != tt.clear {
					t.Errorf("outside TLS %q, want %q", got, tt.clear)
				}
				p.Close()
				p = r.inside("192.0.2.7:40000", tt.cert)
				if got := offered(p.EHLO()); got != tt.inside {
					t.Errorf("inside TLS %q, want %q", got, tt.inside)
				}
				for _, m := range []string{
					"EXTERNAL", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2",
					"PLAIN", "LOGIN", "CRAM-MD5", "NTLM", "ANONYMOUS", "plain ",
				} {
					p.Say("AUTH " + m)
					line, err := p.Line()
					if err != nil {
						t.Fatal(err)
					}
					want := slices.Contains(
						strings.Fields(tt.inside), strings.TrimSpace(strings.ToUpper(m)),
					)
					if got := strings.HasPrefix(line, "334 "); got != want {
						t.Errorf("AUTH %s: %q", m, line)
					} else if got {
						p.Say("*")
						p.Expect("501 5.7.0 *")
					}
				}
			})
		})
	}
}
