package relay_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/xdg-go/scram"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
)

// Neither log nor events nor replies hold a secret, or what base64 makes of it.
func TestSecretsStayOutOfLogs(t *testing.T) {
	const secret, wrong = "correct horse battery staple", "incorrect donkey battery"
	log := new(logs)
	w := start(t, func(cfg *relay.Config) {
		cfg.TLS, cfg.Logger = certificate(t), log.logger()
		cfg.Verifier, cfg.Auth = nil, everyMechanism(t, strings.ReplaceAll(secret, " ", "-"))
		cfg.Auth.Certificates = nil
		cfg.Auth.Throttle = auth.NewThrottle(
			&auth.ThrottleOptions{Free: 30, SourceFree: 30, Delay: time.Minute},
		)
		cfg.Connectors[2].AuthMechanisms |= connector.TLS
		cfg.Connectors[2].Limits.MaxLogonFailures = -1
		cfg.Connectors[2].Limits.MaxProtocolErrors = -1
	})
	var replies strings.Builder
	b64 := base64.StdEncoding.EncodeToString
	session := func() *talk {
		c := w.dial(t, "users")
		c.Play(startTLS)
		return c
	}
	c := session()
	say := func(line string) string {
		c.Say(line)
		got := c.reply()
		replies.WriteString(got + "\n")
		if strings.HasPrefix(got, "235 ") || strings.HasPrefix(got, "421 ") {
			c.Say("QUIT")
			c = session()
		}
		return got
	}
	for _, s := range []string{secret, wrong} {
		s = strings.ReplaceAll(s, " ", "-")
		for _, user := range []string{"app@example.test", "mallory", "down", "\u202e"} {
			say("AUTH PLAIN " + b64([]byte("\x00"+user+"\x00"+s)))
			say("AUTH PLAIN " + b64([]byte(user+"\x00"+s)))
			if strings.HasPrefix(say("AUTH LOGIN"), "334 ") &&
				strings.HasPrefix(say(b64([]byte(user))), "334 ") {
				say(b64([]byte(s)))
			}
			for _, line := range []string{
				"AUTH OAUTHBEARER " + b64([]byte("n,a="+user+",\x01auth=Bearer "+s+"\x01\x01")),
				"AUTH XOAUTH2 " + b64([]byte("user="+user+"\x01auth=Bearer "+s+"\x01\x01")),
			} {
				if strings.HasPrefix(say(line), "334 ") {
					say("AQ==")
				}
			}
			if client, err := scram.SHA256.NewClient(user, s, ""); err == nil {
				talk := client.NewConversation()
				first, _ := talk.Step("")
				if got := say(
					"AUTH SCRAM-SHA-256 " + b64([]byte(first)),
				); strings.HasPrefix(got, "334 ") {
					challenge, _ := base64.StdEncoding.DecodeString(got[4:])
					final, err := talk.Step(string(challenge))
					if err != nil {
						t.Fatal(err)
					}
					if got := say(b64([]byte(final))); strings.HasPrefix(got, "334 ") {
						say("")
					}
				}
			}
			// What a client does wrong shows the secret as well.
			say("AUTH PLAIN " + b64([]byte("\x00"+user+"\x00"+s)) + "!")
			say("AUTH CRAM-MD5 " + b64([]byte(s)))
			if strings.HasPrefix(say("AUTH PLAIN"), "334 ") {
				say(s)
			}
			say(s)
			say(b64([]byte(s)))
			say("MAIL FROM:<app@example.test> AUTH=" + s)
			say("RSET")
		}
	}
	for i := range 31 {
		say(
			"AUTH PLAIN " + b64(
				fmt.Appendf(nil, "\x00mallory\x00%s%d", strings.ReplaceAll(wrong, " ", "-"), i),
			),
		)
	}
	if !strings.Contains(replies.String(), "454 4.7.0 Too many failed logons") ||
		!strings.Contains(replies.String(), "235 ") {
		t.Errorf("replies %s", replies.String())
	}
	c = session()
	c.Play(
		"C: AUTH PLAIN " + b64(
			[]byte("\x00app@example.test\x00"+strings.ReplaceAll(secret, " ", "-")),
		) + "\nS: 235 ",
	)
	if got := c.transact(
		text, "app@example.test", "x@elsewhere.test",
	); !strings.HasPrefix(got, "250 ") {
		t.Error(got)
	}
	all := map[string]string{
		"log": log.String(), "replies": replies.String(),
		"events": fmt.Sprintf(
			"%+v", append(w.events.all(event.Rejected), w.events.all(event.Accepted)...),
		),
	}
	if !strings.Contains(all["log"], "msg=refused") ||
		!strings.Contains(all["log"], `msg="logged on"`) ||
		!strings.Contains(all["log"], "msg=accepted") ||
		!strings.Contains(all["events"], "mallory") {
		t.Fatal("nothing was told")
	}
	for _, s := range []string{secret, wrong} {
		s = strings.ReplaceAll(s, " ", "-")
		forms := []string{s, s[:12]}
		for shift := range 3 { // wherever the secret stands in what was encoded
			encoded := b64(append(bytes.Repeat([]byte{0}, shift), s...))
			forms = append(forms, encoded[4:len(encoded)-4])
		}
		for where, text := range all {
			for _, form := range forms {
				if i := strings.Index(text, form); i >= 0 {
					around := text[max(i-200, 0):min(i+60, len(text))]
					t.Errorf("%s: %q in …%s", where, form, around)
				}
			}
		}
	}
}

// A connector on which passwords can be read on the way is warned of, when it
// is served and not before.
func TestWarnsOfPasswordsInTheClear(t *testing.T) {
	for _, tt := range []struct {
		name    string
		binding string
		change  func(*relay.Config, *connector.Connector)
		warned  bool
	}{
		{"in the clear", "192.0.2.1:587", func(*relay.Config, *connector.Connector) {}, true},
		{"loopback", "127.0.0.1:587", func(*relay.Config, *connector.Connector) {}, false},
		{"disabled", "192.0.2.1:587", func(_ *relay.Config, c *connector.Connector) {
			c.Disabled = true
		}, false},
		{"BasicAuthRequireTLS", "192.0.2.1:587", func(_ *relay.Config, c *connector.Connector) {
			c.AuthMechanisms |= connector.TLS | connector.BasicAuthRequireTLS
		}, false},
		{"RequireTLS", "192.0.2.1:587", func(_ *relay.Config, c *connector.Connector) {
			c.RequireTLS, c.AuthMechanisms = true, connector.TLS|connector.BasicAuth
		}, false},
		{"ImplicitTLS", "192.0.2.1:587", func(_ *relay.Config, c *connector.Connector) {
			c.ImplicitTLS, c.AuthMechanisms = true, connector.TLS|connector.BasicAuth
		}, false},
		{"no AUTH", "192.0.2.1:587", func(_ *relay.Config, c *connector.Connector) {
			c.AuthMechanisms = connector.TLS
		}, false},
		{"no passwords", "192.0.2.1:587", func(cfg *relay.Config, _ *connector.Connector) {
			cfg.Verifier, cfg.Auth = nil, &auth.Server{SCRAM: everyMechanism(t, "secret").SCRAM}
		}, false},
	} {
		log := new(logs)
		cfg, _ := config()
		cfg.TLS, cfg.Logger = certificate(t), log.logger()
		cfg.Connectors = cfg.Connectors[2:]
		users := cfg.Connectors[0]
		users.AuthMechanisms, users.Bindings = connector.BasicAuth, []netip.AddrPort{
			netip.MustParseAddrPort(tt.binding),
		}
		tt.change(&cfg, users)
		count := func() int {
			return strings.Count(log.String(), "level=WARN msg=\"users may log on without TLS")
		}
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(tt.name, err)
		}
		if n := count(); n != 0 {
			t.Errorf("%s: %d warnings from New", tt.name, n)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		if err := r.Serve(l); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if n := count(); n == 1 != tt.warned || n > 1 ||
			tt.warned && !strings.Contains(log.String(), "connector=users") {
			t.Errorf("%s: %d warnings in %s", tt.name, n, log)
		}
		if err := r.Reload(cfg); err != nil || count() == 2 != tt.warned {
			t.Errorf("%s: %v, %d warnings after a reload", tt.name, err, count())
		}
		_ = r.Close()
	}
}

// Hosts that may relay and have the limits of strangers are warned of: the
// application that sends much is the one they stop.
func TestWarnsOfStrangersLimits(t *testing.T) {
	ranges := connector.MustParseRange("10.0.5.20-10.0.5.21")
	handMade := func() *connector.Connector {
		c := connector.New("apps", connector.Custom)
		c.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:25")}
		c.RemoteIPRanges = []connector.Range{ranges}
		c.PermissionGroups = connector.AnonymousUsers
		c.Grants = []connector.Grant{{Principal: connector.Anonymous,
			Rights: connector.AcceptAnyRecipient}}
		return c
	}
	for _, tt := range []struct {
		name   string
		change func(*connector.Connector)
		warned bool
	}{
		{"by hand", func(*connector.Connector) {}, true},
		{"as in Exchange", func(c *connector.Connector) {
			c.Limits.MaxConnectionsPerSource, c.Limits.MaxConnectionsPercentPerSource = 20, 2
		}, true},
		{"half of it", func(c *connector.Connector) {
			c.Limits.MaxConnectionsPerSource = -1
		}, true},
		{"trusted network", func(c *connector.Connector) {
			c.AuthMechanisms = connector.ExternalAuthoritative
			c.PermissionGroups = connector.ExchangeServers
			c.Grants = nil
		}, true},
		{"lifted", func(c *connector.Connector) {
			c.Limits.MaxConnectionsPerSource, c.Limits.MaxConnectionsPercentPerSource = -1, -1
		}, false},
		{"chosen", func(c *connector.Connector) {
			c.Limits.MaxConnectionsPerSource, c.Limits.MaxConnectionsPercentPerSource = 5, 50
		}, false},
		{"recipe", func(c *connector.Connector) { *c = *connector.AnonymousRelay("apps", ranges) },
			false},
		{"no relaying", func(c *connector.Connector) { c.Grants = nil }, false},
		{"open relay", func(c *connector.Connector) { c.OpenRelay = true }, false},
		{"disabled", func(c *connector.Connector) { c.Disabled = true }, false},
	} {
		log := new(logs)
		cfg, _ := config()
		apps := handMade()
		tt.change(apps)
		cfg.Connectors, cfg.Logger = []*connector.Connector{apps}, log.logger()
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(tt.name, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		_ = r.Serve(l)
		_ = r.Shutdown(ctx)
		hint := "level=WARN msg=\"hosts that may relay without logging on"
		if got := strings.Contains(log.String(), hint); got != tt.warned {
			t.Errorf("%s: warned %v\n%s", tt.name, got, log)
		}
	}
}

func TestAuthFaults(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*relay.Config)
		want   string
	}{
		{"both", func(cfg *relay.Config) {
			cfg.Auth = everyMechanism(t, "secret")
		}, "Verifier: Auth is set too"},
		{"neither", func(cfg *relay.Config) { cfg.Verifier = nil }, "Verifier: required, or Auth"},
		{"nothing in it", func(cfg *relay.Config) {
			cfg.Verifier, cfg.Auth = nil, new(auth.Server)
		}, "Auth: it has no mechanism"},
		{"nobody vouches", func(cfg *relay.Config) {
			cfg.Verifier, cfg.Auth = nil, everyMechanism(t, "secret")
		}, "TLS.ClientCAs: required"},
		{"tokens alone", func(cfg *relay.Config) {
			cfg.Verifier, cfg.Auth = nil, &auth.Server{Tokens: everyMechanism(t, "secret").Tokens}
		}, ""},
	} {
		cfg, _ := config()
		tt.change(&cfg)
		_, err := relay.New(cfg)
		if fault := fmt.Sprint(err); tt.want == "" && err != nil ||
			tt.want != "" && !strings.Contains(fault, tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
