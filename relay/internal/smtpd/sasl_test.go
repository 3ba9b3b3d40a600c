package smtpd_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// storedKeys are those of the password "secret".
var storedKeys = sync.OnceValue(func() string {
	keys, err := auth.NewSCRAMKeys("secret")
	if err != nil {
		panic(err)
	}
	return keys
})

// people knows "alice" and "server" by every mechanism. Their password and
// token is "secret".
func people() *auth.Server {
	identity := func(user string) *auth.Identity {
		return &auth.Identity{User: user, Server: user == "server"}
	}
	known := func(user string) bool { return user == "alice" || user == "server" }
	return &auth.Server{
		Passwords: auth.VerifierFunc(func(
			_ context.Context, c auth.Credentials,
		) (*auth.Identity, error) {
			if !known(c.Username) || c.Password != "secret" {
				return nil, auth.ErrBadCredentials
			}
			return identity(c.Username), nil
		}),
		SCRAM: auth.SCRAMStoreFunc(func(
			_ context.Context, c auth.Credentials,
		) (string, *auth.Identity, error) {
			if !known(c.Username) {
				return "", nil, auth.ErrBadCredentials
			}
			return storedKeys(), identity(c.Username), nil
		}),
		Tokens: auth.VerifierFunc(func(
			_ context.Context, c auth.Credentials,
		) (*auth.Identity, error) {
			if len(c.Token) < 6 || c.Token[:6] != "secret" {
				return nil, auth.ErrBadCredentials
			}
			return identity("alice"), nil
		}),
		TokenScope: strings.Repeat("mail.send ", 200),
		Certificates: auth.VerifierFunc(func(
			_ context.Context, c auth.Credentials,
		) (*auth.Identity, error) {
			user, _, _ := strings.Cut(c.TLS.VerifiedChains[0][0].DNSNames[0], ".")
			if c.Username != "" && c.Username != user {
				return nil, auth.ErrBadCredentials
			}
			return identity(user), nil
		}),
	}
}

// submission is a connector where users log on inside TLS.
func submission() *connector.Connector {
	c := open()
	c.PermissionGroups = connector.ExchangeUsers
	c.Limits.MaxLogonFailures, c.Limits.MaxProtocolErrors = -1, -1
	return c
}

// saslRig is a server that knows people.
func saslRig(t *testing.T, c *connector.Connector, f func(t *testing.T, r *rig)) {
	t.Helper()
	storedKeys()
	authority()
	bubbleWith(t, func(cfg *smtpd.Config) {
		cfg.Policy.Auth = bounded(people())
		cfg.Policy.TLS.ClientCAs = authority().pool
	}, f, c)
}

// inside begins a session and goes on inside TLS, with a certificate if there
// is one.
func (r *rig) inside(from string, cert *tls.Certificate) *peer {
	r.t.Helper()
	p := r.dial(from)
	p.expect("220 *")
	p.cmd("STARTTLS")
	p.expect("220 *")
	p.pending.Wait()
	cfg := clientTLS()
	if cert != nil {
		cfg.Certificates = []tls.Certificate{*cert}
	}
	p.handshake(cfg)
	p.ehlo()
	return p
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// dialogue is a client's side of a mechanism: it answers challenges.
type dialogue func(challenge string) (response string, err error)

// fixed says the same whatever the server says.
func fixed(responses ...string) dialogue {
	return func(string) (string, error) {
		if len(responses) == 0 {
			return "", errors.New("nothing more to say")
		}
		r := responses[0]
		responses = responses[1:]
		return r, nil
	}
}

// cancel stands for the line "*".
const cancel = "*"

// logOn runs a mechanism and returns the last reply and all challenges. Without
// initial the first response answers an empty challenge.
func (p *peer) logOn(
	mechanism string, initial bool, d dialogue,
) (reply string, challenges []string) {
	p.t.Helper()
	say := func(prefix, challenge string) {
		response, err := d(challenge)
		switch {
		case err != nil:
			p.t.Fatalf("%s: after %q: %v", mechanism, challenge, err)
		case response == cancel:
			p.cmd(prefix + cancel)
		case response == "" && prefix != "":
			p.cmd(prefix + "=")
		default:
			p.cmd(prefix + b64(response))
		}
	}
	if initial {
		say("AUTH "+mechanism+" ", "")
	} else {
		p.cmd("AUTH " + mechanism)
	}
	for {
		line, err := p.read()
		if err != nil {
			p.t.Fatal(err)
		}
		encoded, ok := strings.CutPrefix(line, "334 ")
		if !ok {
			return line, challenges
		}
		challenge, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			p.t.Fatalf("%s: %q: %v", mechanism, line, err)
		}
		challenges = append(challenges, string(challenge))
		say("", string(challenge))
	}
}

// scramClient is another implementation's client.
func scramClient(
	t testing.TB, user, password string, begin func(*scram.Client) *scram.ClientConversation,
) dialogue {
	t.Helper()
	c, err := scram.SHA256.NewClient(user, password, "")
	if err != nil {
		t.Fatal(err)
	}
	conversation := begin(c)
	return func(challenge string) (string, error) {
		if conversation.Done() {
			return "", errors.New("the exchange has ended")
		}
		return conversation.Step(challenge)
	}
}

func unbound(c *scram.Client) *scram.ClientConversation { return c.NewConversation() }

// bound binds the logon to the TLS connection of p, or to what else is given.
func bound(
	t testing.TB, kind scram.ChannelBindingType, state tls.ConnectionState, damage bool,
) func(*scram.Client) *scram.ClientConversation {
	t.Helper()
	var cb scram.ChannelBinding
	var err error
	if kind == scram.ChannelBindingTLSExporter {
		cb, err = scram.NewTLSExporterBinding(&state)
	} else {
		cb, err = scram.NewTLSServerEndpointBinding(&state)
	}
	if err != nil {
		t.Fatal(err)
	}
	if damage {
		cb.Data = bytes.Clone(cb.Data)
		cb.Data[0] ^= 1
	}
	return func(c *scram.Client) *scram.ClientConversation {
		return c.NewConversationWithChannelBinding(cb)
	}
}

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
		d               func(t *testing.T, state tls.ConnectionState) dialogue
		want            string
	}
	says := func(responses ...string) func(*testing.T, tls.ConnectionState) dialogue {
		return func(*testing.T, tls.ConnectionState) dialogue { return fixed(responses...) }
	}
	scrams := func(user, password string) func(*testing.T, tls.ConnectionState) dialogue {
		return func(t *testing.T, _ tls.ConnectionState) dialogue {
			return scramClient(t, user, password, unbound)
		}
	}
	plus := func(
		user, password string, kind scram.ChannelBindingType, damage bool,
	) func(*testing.T, tls.ConnectionState) dialogue {
		return func(t *testing.T, state tls.ConnectionState) dialogue {
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
						tt.mechanism, initial, tt.d(t, p.conn.(*tls.Conn).ConnectionState()),
					)
					if !match(tt.want, reply) {
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
					p.cmd("MAIL FROM:<a@example.test>")
					if reply == good {
						p.expect("250 *")
					} else {
						p.expect("530 5.7.1 *")
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
		change    func(*smtpd.Policy)
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
		{"passwords", connector.TLS | connector.BasicAuth, func(p *smtpd.Policy) {
			p.Auth = &auth.Server{Passwords: p.Auth.Passwords}
		}, alice, "PLAIN LOGIN", "PLAIN LOGIN"},
		{"tokens", connector.TLS | connector.BasicAuth, func(p *smtpd.Policy) {
			p.Auth = &auth.Server{Tokens: p.Auth.Tokens}
		}, nil, "", "OAUTHBEARER XOAUTH2"},
		{"certificates", connector.TLS | connector.BasicAuth, func(p *smtpd.Policy) {
			p.Auth = &auth.Server{Certificates: p.Auth.Certificates}
		}, nil, "", ""},
		{"nothing", connector.TLS | connector.BasicAuth, func(p *smtpd.Policy) {
			p.Auth = &auth.Server{}
		}, nil, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := submission()
			c.FQDN, c.AuthMechanisms = "", tt.mechanism
			saslRig(t, c, func(t *testing.T, r *rig) {
				if tt.change != nil {
					tt.change(&r.policy)
					r.server.SetPolicy(r.policy)
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
				p.expect("220 *")
				if got := offered(p.ehlo()); got != tt.clear {
					t.Errorf("outside TLS %q, want %q", got, tt.clear)
				}
				p.close()
				p = r.inside("192.0.2.7:40000", tt.cert)
				if got := offered(p.ehlo()); got != tt.inside {
					t.Errorf("inside TLS %q, want %q", got, tt.inside)
				}
				for _, m := range []string{
					"EXTERNAL", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2",
					"PLAIN", "LOGIN", "CRAM-MD5", "NTLM", "ANONYMOUS", "plain ",
				} {
					p.cmd("AUTH " + m)
					line, err := p.read()
					if err != nil {
						t.Fatal(err)
					}
					want := slices.Contains(
						strings.Fields(tt.inside), strings.TrimSpace(strings.ToUpper(m)),
					)
					if got := strings.HasPrefix(line, "334 "); got != want {
						t.Errorf("AUTH %s: %q", m, line)
					} else if got {
						p.cmd("*")
						p.expect("501 5.7.0 *")
					}
				}
			})
		})
	}
}

// Where only servers log on, a user's good password is worth no more than a bad
// one, whatever the mechanism.
func TestOnlyServersLogOn(t *testing.T) {
	c := submission()
	c.FQDN, c.AuthMechanisms, c.PermissionGroups = "", connector.TLS|connector.ExchangeServer, connector.ExchangeServers|connector.ExchangeUsers
	for _, user := range []string{"alice", "server"} {
		saslRig(t, c, func(t *testing.T, r *rig) {
			throttle := auth.NewThrottle(auth.ThrottleOptions{Free: 3, MaxWait: 1})
			r.policy.Auth.Throttle = throttle
			r.server.SetPolicy(r.policy)
			want := "535 5.7.8 *"
			if user == "server" {
				want = "235 *"
			}
			cert := authority().issue(nil, user+".example.test")
			for mechanism, d := range map[string]func() dialogue{
				"PLAIN":         func() dialogue { return fixed("\x00" + user + "\x00secret") },
				"SCRAM-SHA-256": func() dialogue { return scramClient(t, user, "secret", unbound) },
				"EXTERNAL":      func() dialogue { return fixed("") },
			} {
				p := r.inside("192.0.2.7:40000", cert)
				reply, challenges := p.logOn(mechanism, true, d())
				if !match(want, reply) {
					t.Errorf("%s as %s: %q", mechanism, user, reply)
				}
				if user != "server" && len(challenges) > 1 {
					t.Errorf(
						"%s: the server has proved that the password is good: %q", mechanism,
						challenges,
					)
				}
			}
			// The Throttle has not seen a good logon either.
			if user == "alice" {
				p := r.inside("192.0.2.7:40000", nil)
				for i := range 3 {
					p.logOn("PLAIN", true, fixed(fmt.Sprint("\x00alice\x00secret", i)))
				}
				if reply, _ := p.logOn(
					"PLAIN", true, fixed("\x00alice\x00secret"),
				); !match("454 4.7.0 Too many failed logons*", reply) {
					t.Errorf("got %q", reply)
				}
			}
		})
	}
}

// A client behind a host that speaks for it has neither that host's certificate
// nor its TLS connection.
func TestXCLIENTLendsNoProof(t *testing.T) {
	saslRig(t, submission(), func(t *testing.T, r *rig) {
		r.policy.XClient = []connector.Range{connector.MustParseRange("192.0.2.7")}
		r.server.SetPolicy(r.policy)
		p := r.inside("192.0.2.7:40000", authority().issue(nil, "alice.example.test"))
		p.cmd("XCLIENT ADDR=192.0.2.9")
		p.expect("220 *")
		if lines := p.ehlo(); !slices.Contains(
			lines, "AUTH SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN",
		) {
			t.Errorf("offered %q", lines)
		}
		if reply, _ := p.logOn("SCRAM-SHA-256", true, scramClient(t, "alice", "secret", func(
			c *scram.Client,
		) *scram.ClientConversation {
			return c.NewConversationAdvertisingChannelBinding()
		})); !match("235 *", reply) {
			t.Errorf("got %q", reply)
		}
	})
}

// A client that logs on with TLS 1.2 binds to the certificate that it was
// served, by the name it asked for.
func TestServedCertificate(t *testing.T) {
	other := authority().issue(nil, "other.example.test")
	saslRig(t, submission(), func(t *testing.T, r *rig) {
		r.policy.TLS = r.policy.TLS.Clone()
		r.policy.TLS.MaxVersion = tls.VersionTLS12
		r.policy.TLS.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName == "other.example.test" {
				return other, nil
			}
			return nil, nil
		}
		r.server.SetPolicy(r.policy)
		for _, name := range []string{"", "mx.example.test", "other.example.test"} {
			p := r.client()
			p.expect("220 *")
			p.cmd("STARTTLS")
			p.expect("220 *")
			p.pending.Wait()
			cfg := clientTLS()
			cfg.ServerName = name
			p.handshake(cfg)
			p.ehlo()
			state := p.conn.(*tls.Conn).ConnectionState()
			if want := map[bool]string{
				true: "other.example.test", false: "mx.example.test",
			}[name == "other.example.test"]; state.PeerCertificates[0].DNSNames[0] != want {
				t.Errorf("%q was served %q", name, state.PeerCertificates[0].DNSNames)
			}
			reply, _ := p.logOn(
				"SCRAM-SHA-256-PLUS", true,
				scramClient(
					t, "alice", "secret",
					bound(t, scram.ChannelBindingTLSServerEndpoint, state, false),
				),
			)
			if !match("235 *", reply) {
				t.Errorf("%q: %q", name, reply)
			}
		}
	})
}

// TLS 1.0 and 1.1 are for those who ask for them.
func TestOldTLS(t *testing.T) {
	for _, least := range []uint16{0, tls.VersionTLS10, tls.VersionTLS13} {
		for _, most := range []uint16{tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13} {
			bubbleWith(t, func(cfg *smtpd.Config) {
				cfg.Policy.TLS.MinVersion = least
			}, func(t *testing.T, r *rig) {
				p := r.client()
				p.expect("220 *")
				p.cmd("STARTTLS")
				p.expect("220 *")
				p.pending.Wait()
				cfg := clientTLS()
				cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, most
				err := tls.Client(newBuffered(p.raw, p.gone), cfg).Handshake()
				if want := most >= max(least, tls.VersionTLS12) ||
					least == tls.VersionTLS10; (err == nil) != want {
					t.Errorf("from %x, up to %x: %v", least, most, err)
				}
			}, open())
		}
	}
}

// An unknown user and a wrong password make the same dialogue, at the same
// times.
func TestUnknownUserLooksLikeWrongPassword(t *testing.T) {
	drawn := regexp.MustCompile(`r=[^,]*|s=[^,]*`)
	saslRig(t, submission(), func(t *testing.T, r *rig) {
		c := *r.policyConnector()
		c.Limits.AuthTarpit = 5 * time.Second
		for mechanism, d := range map[string]func(user string) dialogue{
			"PLAIN": func(user string) dialogue {
				return fixed("\x00" + user + "\x00wrong")
			},
			"LOGIN": func(user string) dialogue { return fixed(user, "wrong") },
			"SCRAM-SHA-256": func(user string) dialogue {
				return scramClient(t, user, "wrong", unbound)
			},
		} {
			r.policy = policyFor(t, r.backend, &c)
			r.policy.Auth = people()
			r.policy.Auth.Throttle = auth.NewThrottle(auth.ThrottleOptions{MaxWait: time.Minute})
			r.server.SetPolicy(r.policy)
			var seen [2]string
			for i, user := range []string{"alice", "nemos"} {
				began := time.Now()
				p := r.inside(fmt.Sprintf("192.0.2.%d:40000", 10+i), nil)
				for range 8 { // the Throttle has its say as well
					reply, challenges := p.logOn(mechanism, false, d(user))
					for _, c := range challenges {
						seen[i] += fmt.Sprintf("%d %q\n", len(c), drawn.ReplaceAllString(c, ""))
					}
					seen[i] += fmt.Sprint(reply, time.Since(began).Round(10*time.Millisecond), "\n")
				}
			}
			if seen[0] != seen[1] {
				t.Errorf("%s:\n%s\nand\n%s", mechanism, seen[0], seen[1])
			}
		}
	})
}

// Too many failed logons are refused unseen; the user logs on from elsewhere at
// once.
func TestThrottledLogons(t *testing.T) {
	c := submission()
	c.Limits.MaxLogonFailures, c.Limits.AuthTarpit = 7, time.Second
	saslRig(t, c, func(t *testing.T, r *rig) {
		r.policy.Auth.Throttle = auth.NewThrottle(auth.ThrottleOptions{Delay: time.Minute})
		r.server.SetPolicy(r.policy)
		p := r.inside("192.0.2.7:40000", nil)
		for i := range 6 {
			if reply, _ := p.logOn(
				"PLAIN", true, fixed(fmt.Sprint("\x00alice\x00", i)),
			); !match("535 *", reply) {
				t.Fatalf("attempt %d: %q", i, reply)
			}
		}
		began := time.Now()
		reply, _ := p.logOn("PLAIN", true, fixed("\x00alice\x00secret"))
		if reply != "454 4.7.0 Too many failed logons, please try again later" {
			t.Fatalf("got %q", reply)
		}
		if d := time.Since(began); d < time.Second || d > 7*time.Second {
			t.Errorf("the refusal took %v", d)
		}
		p.expect("421 4.7.0 *")
		p.expectClose()
		last := r.backend.rejected[len(r.backend.rejected)-1]
		if _, ok := errors.AsType[*auth.ThrottledError](last.Reply.Cause); !ok ||
			last.User != "alice" {
			t.Errorf("reported %+v", last)
		}
		p = r.inside("192.0.2.8:40000", nil)
		began = time.Now()
		if reply, _ := p.logOn(
			"PLAIN", true, fixed("\x00alice\x00secret"),
		); !match("235 *", reply) {
			t.Fatalf("from elsewhere: %q", reply)
		}
		if d := time.Since(began); d > time.Second {
			t.Errorf("from elsewhere: %v", d)
		}
	})
}

// The backend is told of every logon, when it is one, and of no other.
func TestLoggedOn(t *testing.T) {
	saslRig(t, submission(), func(t *testing.T, r *rig) {
		for _, mechanism := range []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER"} {
			for _, secret := range []string{"wrong", "secret"} {
				p := r.inside("192.0.2.7:40000", nil)
				d := map[string]dialogue{
					"PLAIN":         fixed("\x00alice\x00" + secret),
					"LOGIN":         fixed("alice", secret),
					"SCRAM-SHA-256": scramClient(t, "alice", secret, unbound),
					"OAUTHBEARER":   fixed("n,a=alice,\x01auth=Bearer "+secret+"\x01\x01", "\x01"),
				}[mechanism]
				p.logOn(mechanism, true, d)
				p.close()
			}
			// Nobody has logged on before the client has taken the proof.
			if mechanism == "SCRAM-SHA-256" {
				p, d := r.inside("192.0.2.7:40000", nil), scramClient(t, "alice", "secret", unbound)
				n := 0
				p.logOn(mechanism, true, func(challenge string) (string, error) {
					if n++; n == 3 {
						return cancel, nil
					}
					return d(challenge)
				})
				p.close()
			}
		}
		want := "alice by PLAIN, alice by LOGIN, alice by SCRAM-SHA-256, alice by OAUTHBEARER"
		if got := strings.Join(r.backend.loggedOn, ", "); got != want {
			t.Errorf("logged on: %s", got)
		}
	})
}

// A verifier that cannot tell is no fault of the client, and one that is slow
// holds up nobody else.
func TestSlowVerifier(t *testing.T) {
	saslRig(t, submission(), func(t *testing.T, r *rig) {
		quick := r.policy.Auth.Passwords
		r.policy.Auth.Passwords = auth.VerifierFunc(func(
			ctx context.Context, c auth.Credentials,
		) (*auth.Identity, error) {
			if c.Username == "slow" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return quick.Verify(ctx, c)
		})
		r.policy.Auth.Throttle = auth.NewThrottle(auth.ThrottleOptions{})
		r.server.SetPolicy(r.policy)
		slow, fast := r.inside("192.0.2.7:40000", nil), r.inside("192.0.2.7:40001", nil)
		began := time.Now()
		slow.cmd("AUTH PLAIN " + b64("\x00slow\x00secret"))
		if reply, _ := fast.logOn(
			"PLAIN", true, fixed("\x00alice\x00secret"),
		); !match("235 *", reply) || time.Since(began) > time.Second {
			t.Errorf("%q after %v", reply, time.Since(began))
		}
		slow.expect("454 4.7.0 Temporary authentication failure")
		if d := time.Since(began); d != 30*time.Second {
			t.Errorf("the slow one took %v", d)
		}
	})
}

func (r *rig) policyConnector() *connector.Connector {
	c, _ := r.policy.Connectors.Match(
		netip.MustParseAddrPort("192.0.2.1:25"), netip.MustParseAddr("192.0.2.7"),
	)
	return c
}
