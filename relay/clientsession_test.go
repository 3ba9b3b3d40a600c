package relay_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// admitting is a relay with a connector for users.
func admitting(t *testing.T, change func(*relay.Config)) *relay.Relay {
	t.Helper()
	users := bind(connector.Submission("users"), "127.0.0.1")
	cfg := local(newCapture(), newCapture())
	cfg.Hostname, cfg.Spool, cfg.TLS = "relay.example.test", memspool.New(nil), certificate(t)
	cfg.Connectors = []*connector.Connector{users}
	cfg.Verifier = auth.WithSenders(
		auth.Static(map[string]string{"app": "secret"}),
		map[string][]string{"app": {"app@example.test"}},
	)
	if change != nil {
		change(&cfg)
	}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func inTLS() relay.Peer {
	return relay.Peer{
		Remote: netip.MustParseAddrPort("192.0.2.1:99"), TLS: &tls.ConnectionState{},
		Protocol: "HTTP",
	}
}

// replied returns the reply that an error stands for.
func replied(err error) string {
	if e, ok := errors.AsType[*relay.ReplyError](err); ok {
		return fmt.Sprint(e.Code, " ", e.Enhanced)
	}
	return fmt.Sprint(err)
}

func TestOpenSession(t *testing.T) {
	t.Parallel()
	good := auth.Proof{Mechanism: auth.Plain, Username: "app", Password: "secret"}
	letter := func() *relay.Message {
		return &relay.Message{
			From: "app@example.test", To: []string{"x@example.org"},
			Content: strings.NewReader("From: app@example.test\n\nhi\n"),
		}
	}
	for _, c := range []struct {
		name      string
		connector string
		change    func(*relay.Config)
		do        func(*relay.ClientSession) error
		want      string
	}{
		{"good", "users", nil, func(c *relay.ClientSession) error {
			if err := c.Authenticate(t.Context(), good); err != nil || c.Identity().User != "app" {
				return err
			}
			if err := c.Check(t.Context()); err != nil {
				return err
			}
			_, err := c.Submit(t.Context(), letter())
			return err
		}, "<nil>"},
		{"no connector", "other", nil, nil, "421 4.3.2"},
		{"policy refuses the logon", "users", func(cfg *relay.Config) {
			cfg.Policy.Auth = func(context.Context, *relay.Session) error {
				return relay.Reject(535, "5.7.9", "Suspended")
			}
		}, func(c *relay.ClientSession) error {
			return c.Authenticate(t.Context(), good)
		}, "535 5.7.9"},
		{"verifier gives nobody", "users", func(cfg *relay.Config) {
			cfg.Verifier = auth.VerifierFunc(
				func(context.Context, auth.Proof) (*auth.Identity, error) { return nil, nil },
			)
		}, func(c *relay.ClientSession) error {
			return c.Authenticate(t.Context(), good)
		}, "454 4.7.0"},
		{"not logged on", "users", nil, func(c *relay.ClientSession) error {
			_, err := c.Submit(t.Context(), letter())
			return err
		}, "530 5.7.1"},
		{"no content", "users", nil, func(c *relay.ClientSession) error {
			m := letter()
			m.Content = nil
			_, err := c.Submit(t.Context(), m)
			return err
		}, "501 5.5.4"},
		{"refused by the caller", "users", nil, func(c *relay.ClientSession) error {
			return c.Refuse(
				t.Context(), "data", fmt.Errorf("wrapped: %w", relay.Defer(452, "4.3.1", "Full")),
			)
		}, "452 4.3.1"},
		{"failure of the caller", "users", nil, func(c *relay.ClientSession) error {
			return c.Refuse(t.Context(), "data", errors.New("internal"))
		}, "451 4.3.0"},
	} {
		r := admitting(t, c.change)
		cl, err := r.OpenSession(t.Context(), c.connector, inTLS())
		if err == nil && c.do != nil {
			err = c.do(cl)
		}
		if got := replied(err); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestAuthenticateToken: a token is judged as that of OAUTHBEARER, whatever
// name goes with it.
func TestAuthenticateToken(t *testing.T) {
	t.Parallel()
	seen := auth.Proof{}
	tokens := auth.VerifierFunc(func(
		_ context.Context, c auth.Proof,
	) (*auth.Identity, error) {
		switch seen = c; c.Token {
		case "good==", "limited":
			return &auth.Identity{User: c.Token}, nil
		case "down":
			return nil, errors.New("keys: cannot be fetched")
		}
		return nil, auth.ErrBadCredentials
	})
	clear := inTLS()
	clear.TLS = nil
	for _, c := range []struct {
		name   string
		shown  auth.Proof
		peer   relay.Peer
		change func(*relay.Config)
		want   string
		asked  string // the name that the verifier has seen; "-" when it was not asked
	}{
		{"good", auth.Proof{Token: "good=="}, inTLS(), nil, "<nil>", ""},
		{
			"with a name", auth.Proof{Token: "good==", Username: "a=b,c"}, inTLS(), nil,
			"<nil>", "a=b,c",
		},
		{"bad", auth.Proof{Token: "bad"}, inTLS(), nil, "535 5.7.8", ""},
		{"no verdict", auth.Proof{Token: "down"}, inTLS(), nil, "454 4.7.0", ""},
		{
			"name of nobody", auth.Proof{Token: "good==", Username: "a\x7f"}, inTLS(), nil,
			"535 5.7.8", "-",
		},
		{
			"name that ends the header",
			auth.Proof{Token: "bad", Username: "a,\x01auth=Bearer good==\x01\x01"}, inTLS(),
			nil, "535 5.7.8", "-",
		},
		{
			"token that ends the pair", auth.Proof{Token: "bad\x01auth=Bearer good=="},
			inTLS(), nil, "535 5.7.8", "-",
		},
		{"padding in the middle", auth.Proof{Token: "go=od"}, inTLS(), nil, "535 5.7.8", "-"},
		{"padding alone", auth.Proof{Token: "=="}, inTLS(), nil, "535 5.7.8", "-"},
		{"space before", auth.Proof{Token: " good=="}, inTLS(), nil, "535 5.7.8", "-"},
		{
			"too long", auth.Proof{Token: strings.Repeat("a", 9300)}, inTLS(), nil,
			"535 5.7.8", "-",
		},
		{
			"beside a password",
			auth.Proof{Token: "good==", Username: "app", Password: "secret"}, inTLS(), nil,
			"535 5.7.8", "-",
		},
		{
			"on behalf of another", auth.Proof{Token: "good==", Authzid: "boss"}, inTLS(),
			nil, "535 5.7.8", "-",
		},
		{"outside TLS", auth.Proof{Token: "good=="}, clear, nil, "538 5.7.11", "-"},
		{"outside TLS, where passwords go", auth.Proof{Token: "good=="}, clear, func(
			cfg *relay.Config,
		) {
			cfg.Connectors[0].AuthMechanisms &^= connector.BasicAuthRequireTLS
		}, "504 5.7.4", "-"},
		{"no tokens", auth.Proof{Token: "good=="}, inTLS(), func(cfg *relay.Config) {
			cfg.Auth.Tokens = nil
		}, "504 5.7.4", "-"},
		{
			"no passwords", auth.Proof{Username: "app", Password: "secret"}, inTLS(),
			func(cfg *relay.Config) { cfg.Auth.Passwords = nil }, "504 5.7.4", "-",
		},
		{"servers only", auth.Proof{Token: "good=="}, inTLS(), func(cfg *relay.Config) {
			cfg.Connectors[0].AuthMechanisms = connector.TLS | connector.ExchangeServer
			cfg.Connectors[0].PermissionGroups = connector.ExchangeServers
		}, "504 5.7.4", "-"},
		{"without the right to submit", auth.Proof{Token: "limited"}, inTLS(), func(
			cfg *relay.Config,
		) {
			cfg.Connectors[0].Grants = []connector.Grant{
				{Principal: connector.User("limited"), Rights: connector.Submit, Deny: true},
			}
		}, "535 5.7.8", ""},
		{"policy", auth.Proof{Token: "good=="}, inTLS(), func(cfg *relay.Config) {
			cfg.Policy.Auth = func(_ context.Context, s *relay.Session) error {
				return relay.Reject(550, "5.7.1", "Not "+s.Identity.User)
			}
		}, "550 5.7.1", ""},
	} {
		seen.Username = "-"
		r := admitting(t, func(cfg *relay.Config) {
			cfg.Connectors[0].Limits.Tarpit, cfg.Connectors[0].Limits.AuthTarpit = -1, -1
			cfg.Verifier, cfg.Auth = nil, &auth.Server{
				Passwords: cfg.Verifier, Tokens: tokens, TokenScope: "mail",
			}
			if c.change != nil {
				c.change(cfg)
			}
		})
		cl, err := r.OpenSession(t.Context(), "users", c.peer)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		err = cl.Authenticate(t.Context(), c.shown)
		if got := replied(err); got != c.want || seen.Username != c.asked ||
			(err == nil) != (cl.Identity() != nil) {
			t.Errorf(
				"%s: %s, the verifier was asked about %q; want %s, %q", c.name, got, seen.Username,
				c.want, c.asked,
			)
		}
		offered, scope := cl.Offers()
		needed := auth.Plain
		if c.shown.Token != "" {
			needed = auth.OAuthBearer
		}
		refused := strings.HasPrefix(c.want, "504") || strings.HasPrefix(c.want, "538")
		if slices.Contains(offered, needed) == refused ||
			scope != "mail" && !strings.HasPrefix(c.want, "538") {
			t.Errorf("%s: %v of scope %q are offered", c.name, offered, scope)
		}
	}
}

// TestAdmittedSession: a Policy sees a session, whose labels go on to the
// message.
func TestAdmittedSession(t *testing.T) {
	t.Parallel()
	var stages []string
	told := newEvents()
	r := admitting(t, func(cfg *relay.Config) {
		see := func(stage string, s *relay.Session) error {
			if s.ID == "" || s.Helo != "[192.0.2.1]" || s.TLS == nil || s.Remote.Port() != 99 {
				t.Errorf("%s: session %+v", stage, s)
			}
			stages = append(stages, stage)
			return nil
		}
		cfg.Policy.Connect = func(_ context.Context, s *relay.Session) error {
			return see("connect", s)
		}
		cfg.Policy.Message = func(_ context.Context, s *relay.Session, m *relay.Incoming) error {
			s.Labels["policy"] = "yes"
			return see("message", s)
		}
		cfg.Events = told.add
	})
	c, err := r.OpenSession(t.Context(), "users", inTLS())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Authenticate(
		t.Context(), auth.Proof{Mechanism: auth.Plain, Username: "app", Password: "secret"},
	); err != nil {
		t.Fatal(err)
	}
	_, err = c.Submit(t.Context(), &relay.Message{
		From: "app@example.test", To: []string{"x@example.org"},
		Content: strings.NewReader("\nhi\n"), Labels: map[string]string{"own": "1"},
	})
	if err != nil || fmt.Sprint(stages) != "[connect message]" {
		t.Fatalf("%v, %v", stages, err)
	}
	e := told.wait(t, kind(event.Accepted))
	if e.User != "app" || e.Remote.Port() != 99 || fmt.Sprint(e.Labels) != "map[own:1 policy:yes]" {
		t.Errorf("event %+v", e)
	}
}

func ExampleRelay_OpenSession() {
	printers := connector.AnonymousRelay("printers", connector.MustParseRange("192.0.2.0/24"))
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com", Spool: memspool.New(nil),
		Connectors: []*connector.Connector{printers},
		Transport: delivery.TransportFunc(func(
			_ context.Context, a *delivery.Attempt,
		) []delivery.Result {
			return nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	// A client that came by a protocol of the application's own.
	ctx := context.Background()
	for _, remote := range []string{"192.0.2.7:4000", "203.0.113.1:4000"} {
		c, err := r.OpenSession(
			ctx, "printers", relay.Peer{Remote: netip.MustParseAddrPort(remote), Protocol: "IPP"},
		)
		if err == nil {
			_, err = c.Submit(
				ctx,
				&relay.Message{
					From: "p@example.com", To: []string{"a@example.net"},
					Content: strings.NewReader("Subject: scan\n\n"),
				},
			)
		}
		fmt.Println(remote, err)
	}
	// Output:
	// 192.0.2.7:4000 <nil>
	// 203.0.113.1:4000 554 5.7.1 No service for this address
}

// A bearer token of another protocol is judged as one that comes by
// OAUTHBEARER. The token of a Keyring's credential needs no user name.
func ExampleClientSession_Authenticate() {
	ctx := context.Background()
	keys := auth.NewKeyring(new(auth.MemoryCredentials), nil)
	token, _, err := keys.Issue(ctx, auth.Credential{Owner: "shop@example.com"})
	if err != nil {
		log.Fatal(err)
	}
	users := connector.Submission("users")
	users.Limits.AuthTarpit = -1
	// an example without a certificate; Submission asks for TLS
	users.AuthMechanisms = connector.BasicAuth
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com", Spool: memspool.New(nil),
		Connectors: []*connector.Connector{users},
		Auth:       &auth.Server{Tokens: keys, TokenScope: "mail.send"},
		Quota:      keys,
		Transport: delivery.TransportFunc(func(
			_ context.Context, a *delivery.Attempt,
		) []delivery.Result {
			return nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	for _, shown := range []string{token, "guess"} {
		c, err := r.OpenSession(
			ctx, "users",
			relay.Peer{
				Remote: netip.MustParseAddrPort("192.0.2.7:4000"), TLS: &tls.ConnectionState{},
				Protocol: "HTTP",
			},
		)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(c.Offers())
		if err := c.Authenticate(ctx, auth.Proof{Token: shown}); err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(c.Identity().User)
	}
	// Output:
	// [OAUTHBEARER] mail.send
	// shop@example.com
	// [OAUTHBEARER] mail.send
	// 535 5.7.8 Authentication unsuccessful
}
