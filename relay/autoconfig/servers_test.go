package autoconfig_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/xml"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/autoconfig"
)

func TestWhichConnectorsArePublished(t *testing.T) {
	plain := func(c *connector.Connector) {
		c.AuthMechanisms = connector.BasicAuth
	}
	for name, c := range map[string]struct {
		connectors []*connector.Connector
		opts       autoconfig.Options
		change     func(*relay.Config)
		want       []string
	}{
		"implicit TLS first": {
			connectors: usual(),
			want: []string{
				"submissions 465 relay.example.com.", "submission 587 relay.example.com.",
			},
		},
		"plain text never": {
			connectors: []*connector.Connector{submission("a", "0.0.0.0:587", plain)},
		},
		"no certificate": {
			connectors: []*connector.Connector{submission("a", "0.0.0.0:587", func(
				c *connector.Connector,
			) {
				c.AuthMechanisms = connector.BasicAuth | connector.TLS
			})},
			change: func(cfg *relay.Config) { cfg.TLS = nil },
		},
		"disabled": {connectors: []*connector.Connector{submission(
			"a", "0.0.0.0:587", func(c *connector.Connector) { c.Disabled = true },
		)}},
		"no STARTTLS": {connectors: []*connector.Connector{submission("a", "0.0.0.0:587", func(
			c *connector.Connector,
		) {
			c.AuthMechanisms, c.SuppressedKeywords = connector.BasicAuth|connector.TLS,
				[]string{"starttls"}
		})}},
		"no AUTH": {connectors: []*connector.Connector{submission(
			"a", "0.0.0.0:587",
			func(c *connector.Connector) { c.SuppressedKeywords = []string{"AUTH"} },
		)}},
		"users may not": {connectors: []*connector.Connector{submission(
			"a", "0.0.0.0:587", func(c *connector.Connector) { c.PermissionGroups = 0 },
		)}},
		"mail from others": {connectors: []*connector.Connector{connector.FromInternet("mx")}},
		"loopback and 25": {
			connectors: []*connector.Connector{
				submission("a", "127.0.0.1:587"), submission("b", "[::1]:587"),
				submission("c", "0.0.0.0:25"),
			},
		},
		"named": {
			connectors: []*connector.Connector{
				submission("a", "127.0.0.1:587"), submission("b", "0.0.0.0:587"),
				submission("c", "0.0.0.0:25"),
			},
			opts: autoconfig.Options{Connectors: []string{"A", "c"}},
			want: []string{"submission 587 relay.example.com.", "submission 25 relay.example.com."},
		},
		"two families once": {
			connectors: []*connector.Connector{connector.Submission("a")},
			want:       []string{"submission 587 relay.example.com."},
		},
		"mapped ports": {
			connectors: []*connector.Connector{
				submission("a", "0.0.0.0:2587"), submission("b", "0.0.0.0:2465", implicit),
			},
			opts: autoconfig.Options{Ports: map[uint16]uint16{2587: 587, 2465: 465}},
			want: []string{
				"submissions 465 relay.example.com.", "submission 587 relay.example.com.",
			},
		},
		"names": {
			connectors: []*connector.Connector{submission(
				"a", "0.0.0.0:587", func(c *connector.Connector) { c.FQDN = "Smtp.example.com" },
			), submission("b", "0.0.0.0:465", implicit)},
			want: []string{
				"submissions 465 relay.example.com.", "submission 587 smtp.example.com.",
			},
		},
		"one name": {
			connectors: usual(),
			opts:       autoconfig.Options{Hostname: "Mail.Example.com"},
			want: []string{
				"submissions 465 mail.example.com.", "submission 587 mail.example.com.",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(c.connectors...)
			if c.change != nil {
				c.change(&cfg)
			}
			c.opts.Incoming = full().Incoming
			h := handler(t, relayOf(t, cfg), c.opts)
			if got := records(h); !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
			if w := request(h, "GET", thunderbirdURL, ""); (w.Code == 200) != (len(c.want) > 0) {
				t.Errorf("Thunderbird: %d", w.Code)
			}
			if w := request(
				h, "POST", outlookURL, ask("a@example.com"),
			); strings.Contains(w.Body.String(), "<ErrorCode>500<") != (len(c.want) == 0) {
				t.Errorf("Outlook: %s", w.Body)
			}
			if w := request(h, "GET", jsonURL, ""); (w.Code == 200) != (len(c.want) > 0) {
				t.Errorf("JSON: %d", w.Code)
			}
		})
	}
}

// TestWaysToLogOn publishes what the relay's users log on by, in the formats
// that have words for it.
func TestWaysToLogOn(t *testing.T) {
	nobody := auth.VerifierFunc(func(context.Context, auth.Proof) (*auth.Identity, error) {
		return nil, auth.ErrBadCredentials
	})
	keys := auth.SCRAMStoreFunc(func(
		context.Context, auth.Proof,
	) (string, *auth.Identity, error) {
		return "", nil, auth.ErrBadCredentials
	})
	for name, c := range map[string]struct {
		auth      *auth.Server
		want      string // of Thunderbird; "" for no settings
		passwords bool   // for Outlook and Apple
	}{
		"passwords":    {&auth.Server{Passwords: nobody}, "password-cleartext", true},
		"tokens":       {&auth.Server{Tokens: nobody}, "OAuth2", false},
		"SCRAM":        {&auth.Server{SCRAM: keys}, "", false},
		"certificates": {&auth.Server{Certificates: nobody}, "", false},
		"tokens or passwords": {
			&auth.Server{Tokens: nobody, Passwords: nobody}, "password-cleartext OAuth2", true,
		},
		"all": {
			&auth.Server{Tokens: nobody, Passwords: nobody, SCRAM: keys, Certificates: nobody},
			"password-cleartext OAuth2", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(usual()...)
			cfg.Verifier, cfg.Auth, cfg.TLS = nil, c.auth, &tls.Config{
				ClientCAs: x509.NewCertPool(),
			}
			h := handler(t, relayOf(t, cfg), full())
			if c.want == "" {
				if w := request(h, "GET", thunderbirdURL, ""); w.Code != 404 {
					t.Errorf("Thunderbird: %d %s", w.Code, w.Body)
				}
			} else {
				answer := get(t, h, thunderbirdURL)
				validate(t, "clientconfig.rng", answer)
				var file struct {
					Outgoing []struct {
						Authentication []string `xml:"authentication"`
					} `xml:"emailProvider>outgoingServer"`
				}
				if err := xml.Unmarshal([]byte(answer), &file); err != nil ||
					len(file.Outgoing) != 2 {
					t.Fatalf("%v\n%s", err, answer)
				}
				for _, s := range file.Outgoing {
					if got := strings.Join(s.Authentication, " "); got != c.want {
						t.Errorf("Thunderbird: %s, want %s", got, c.want)
					}
				}
			}
			outlook := request(h, "POST", outlookURL, ask("alice@example.com")).Body.String()
			validate(t, "autodiscover.rng", outlook)
			if got := strings.Contains(outlook, "<Type>SMTP</Type>"); got != c.passwords ||
				got == strings.Contains(outlook, "<ErrorCode>500<") {
				t.Errorf("Outlook: %s", outlook)
			}
			for _, url := range []string{jsonURL, appleURL} {
				if w := request(h, "GET", url, ""); (w.Code == 200) != c.passwords ||
					w.Code != 200 && w.Code != 404 {
					t.Errorf("%s: %d %s", url, w.Code, w.Body)
				}
			}
			names := ""
			for _, r := range h.Records("example.com") {
				names += r.Name + " "
			}
			if !strings.Contains(names, "_submissions._tcp.") ||
				strings.Contains(names, "autoconfig.") != (c.want != "") ||
				strings.Contains(names, "_autodiscover.") != c.passwords {
				t.Errorf("records of %s", names)
			}
		})
	}
}

// TestIncomingMechanisms leaves servers that take no passwords out of formats
// that have no other word.
func TestIncomingMechanisms(t *testing.T) {
	opts := full()
	opts.Incoming[0].Mechanisms = []auth.Mechanism{auth.OAuthBearer}
	opts.Incoming = append(opts.Incoming,
		autoconfig.Incoming{
			Hostname: "certificates.example.com", Mechanisms: []auth.Mechanism{auth.External},
		},
		autoconfig.Incoming{
			Hostname: "scram.example.com", Mechanisms: []auth.Mechanism{auth.ScramSHA256},
		})
	h := handler(t, relayOf(t, config(usual()...)), opts)
	answer := get(t, h, thunderbirdURL)
	validate(t, "clientconfig.rng", answer)
	if strings.Count(answer, "<authentication>OAuth2<") != 1 ||
		strings.Count(answer, "<authentication>password-cleartext<") != 3 ||
		strings.Contains(answer, "certificates.") || strings.Contains(answer, "scram.") {
		t.Error(answer)
	}
	for name, answer := range map[string]string{
		"Outlook": request(h, "POST", outlookURL, ask("alice@example.com")).Body.String(),
		"Apple":   get(t, h, appleURL),
	} {
		if strings.Contains(answer, "imap.example.com") ||
			!strings.Contains(answer, "pop.example.com") {
			t.Errorf("%s: %s", name, answer)
		}
	}
}

// TestFollowsTheRelay publishes the port that a running relay got, and what a
// reload changes.
func TestFollowsTheRelay(t *testing.T) {
	users := submission("users", "127.0.0.1:0")
	r := relayOf(t, config(users))
	h := handler(t, r, autoconfig.Options{Connectors: []string{"users"}})
	if got := records(h); got != nil {
		t.Errorf("before it listens: %q", got)
	}
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	want := "submission " + netip.AddrPortFrom(
		netip.IPv4Unspecified(), r.Addrs("users")[0].Port(),
	).String()[len("0.0.0.0:"):] + " relay.example.com."
	if got := records(h); !slices.Equal(got, []string{want}) {
		t.Errorf("%q, want %q", got, want)
	}
	cfg := config(submission("other", "127.0.0.1:0"))
	cfg.AcceptedDomains = cfg.AcceptedDomains[1:]
	if err := r.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if got := h.Records("example.com"); got != nil {
		t.Errorf("after a reload without the domain: %q", got)
	}
}
