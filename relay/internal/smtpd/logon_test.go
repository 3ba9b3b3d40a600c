package smtpd_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/wiretest"
)

// Where only servers log on, a user's good password is worth no more than a bad
// one, whatever the mechanism.
func TestOnlyServersLogOn(t *testing.T) {
	c := submission()
	c.FQDN, c.AuthMechanisms = "", connector.TLS|connector.ExchangeServer
	c.PermissionGroups = connector.ExchangeServers | connector.ExchangeUsers
	for _, user := range []string{"alice", "server"} {
		saslRig(t, c, func(t *testing.T, r *rig) {
			throttle := auth.NewThrottle(&auth.ThrottleOptions{Free: 3, MaxWait: 1})
			r.settings.Auth.Throttle = throttle
			r.server.Apply(r.settings)
			want := "535 5.7.8 *"
			if user == "server" {
				want = "235 *"
			}
			cert := authority().issue(nil, user+".example.test")
			for mechanism, d := range map[string]func() responder{
				"PLAIN": func() responder { return fixed("\x00" + user + "\x00secret") },
				"SCRAM-SHA-256": func() responder {
					return scramClient(t, user, "secret", unbound)
				},
				"EXTERNAL": func() responder { return fixed("") },
			} {
				p := r.inside("192.0.2.7:40000", cert)
				reply, challenges := p.logOn(mechanism, true, d())
				if !wiretest.Match(want, reply) {
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
				); !wiretest.Match("454 4.7.0 Too many failed logons*", reply) {
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
		r.settings.XClient = []connector.Range{connector.MustParseRange("192.0.2.7")}
		r.server.Apply(r.settings)
		p := r.inside("192.0.2.7:40000", authority().issue(nil, "alice.example.test"))
		p.Say("XCLIENT ADDR=192.0.2.9")
		p.Expect("220 *")
		if lines := p.EHLO(); !slices.Contains(
			lines, "AUTH SCRAM-SHA-256 OAUTHBEARER XOAUTH2 PLAIN LOGIN",
		) {
			t.Errorf("offered %q", lines)
		}
		if reply, _ := p.logOn("SCRAM-SHA-256", true, scramClient(t, "alice", "secret", func(
			c *scram.Client,
		) *scram.ClientConversation {
			return c.NewConversationAdvertisingChannelBinding()
		})); !wiretest.Match("235 *", reply) {
			t.Errorf("got %q", reply)
		}
	})
}

// A client that logs on with TLS 1.2 binds to the certificate that it was
// served, by the name it asked for.
func TestServedCertificate(t *testing.T) {
	other := authority().issue(nil, "other.example.test")
	saslRig(t, submission(), func(t *testing.T, r *rig) {
		r.settings.TLS = r.settings.TLS.Clone()
		r.settings.TLS.MaxVersion = tls.VersionTLS12
		r.settings.TLS.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if hello.ServerName == "other.example.test" {
				return other, nil
			}
			return nil, nil
		}
		r.server.Apply(r.settings)
		for _, name := range []string{"", "mx.example.test", "other.example.test"} {
			p := r.client()
			p.Expect("220 *")
			p.Say("STARTTLS")
			p.Expect("220 *")
			p.Sent()
			cfg := clientTLS()
			cfg.ServerName = name
			p.Handshake(cfg)
			p.EHLO()
			state := p.Conn().(*tls.Conn).ConnectionState()
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
			if !wiretest.Match("235 *", reply) {
				t.Errorf("%q: %q", name, reply)
			}
		}
	})
}

// An unknown user and a wrong password make the same dialogue, at the same
// times.
func TestUnknownUserLooksLikeWrongPassword(t *testing.T) {
	drawn := regexp.MustCompile(`r=[^,]*|s=[^,]*`)
	saslRig(t, submission(), func(t *testing.T, r *rig) {
		c := *r.settingsConnector()
		c.Limits.AuthTarpit = 5 * time.Second
		for mechanism, d := range map[string]func(user string) responder{
			"PLAIN": func(user string) responder {
				return fixed("\x00" + user + "\x00wrong")
			},
			"LOGIN": func(user string) responder { return fixed(user, "wrong") },
			"SCRAM-SHA-256": func(user string) responder {
				return scramClient(t, user, "wrong", unbound)
			},
		} {
			r.settings = settingsFor(t, r.backend, &c)
			r.settings.Auth = bounded(people())
			r.settings.Auth.Throttle = auth.NewThrottle(&auth.ThrottleOptions{MaxWait: time.Minute})
			r.server.Apply(r.settings)
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
		r.settings.Auth.Throttle = auth.NewThrottle(&auth.ThrottleOptions{Delay: time.Minute})
		r.server.Apply(r.settings)
		p := r.inside("192.0.2.7:40000", nil)
		for i := range 6 {
			if reply, _ := p.logOn(
				"PLAIN", true, fixed(fmt.Sprint("\x00alice\x00", i)),
			); !wiretest.Match("535 *", reply) {
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
		p.Expect("421 4.7.0 *")
		p.ExpectClose()
		last := r.backend.rejected[len(r.backend.rejected)-1]
		if _, ok := errors.AsType[*auth.ThrottledError](last.Reply.Cause); !ok ||
			last.User != "alice" {
			t.Errorf("reported %+v", last)
		}
		p = r.inside("192.0.2.8:40000", nil)
		began = time.Now()
		if reply, _ := p.logOn(
			"PLAIN", true, fixed("\x00alice\x00secret"),
		); !wiretest.Match("235 *", reply) {
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
				d := map[string]responder{
					"PLAIN":         fixed("\x00alice\x00" + secret),
					"LOGIN":         fixed("alice", secret),
					"SCRAM-SHA-256": scramClient(t, "alice", secret, unbound),
					"OAUTHBEARER":   fixed("n,a=alice,\x01auth=Bearer "+secret+"\x01\x01", "\x01"),
				}[mechanism]
				p.logOn(mechanism, true, d)
				p.Close()
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
				p.Close()
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
		quick := r.settings.Auth.Passwords
		r.settings.Auth.Passwords = auth.VerifierFunc(func(
			ctx context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			if c.Username == "slow" {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return quick.Verify(ctx, c)
		})
		r.settings.Auth.Throttle = auth.NewThrottle(nil)
		r.server.Apply(r.settings)
		slow, fast := r.inside("192.0.2.7:40000", nil), r.inside("192.0.2.7:40001", nil)
		began := time.Now()
		slow.Say("AUTH PLAIN " + b64("\x00slow\x00secret"))
		if reply, _ := fast.logOn(
			"PLAIN", true, fixed("\x00alice\x00secret"),
		); !wiretest.Match("235 *", reply) || time.Since(began) > time.Second {
			t.Errorf("%q after %v", reply, time.Since(began))
		}
		slow.Expect("454 4.7.0 Temporary authentication failure")
		if d := time.Since(began); d != 30*time.Second {
			t.Errorf("the slow one took %v", d)
		}
	})
}
