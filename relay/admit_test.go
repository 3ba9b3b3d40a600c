package relay_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// admitting is a relay with a connector for users.
func admitting(t *testing.T, change func(*relay.Config)) *relay.Relay {
	t.Helper()
	users := bind(connector.Submission("users"), "127.0.0.1")
	cfg := local(newCapture(), newCapture())
	cfg.Hostname, cfg.Spool, cfg.TLS = "relay.example.test", memspool.New(nil), certificate(t)
	cfg.Connectors = []*connector.Connector{users}
	cfg.Verifier = auth.WithSenders(auth.Static(map[string]string{"app": "secret"}), map[string][]string{"app": {"app@example.test"}})
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
	return relay.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:99"), TLS: &tls.ConnectionState{}, Protocol: "HTTP"}
}

// replied returns the reply that an error stands for.
func replied(err error) string {
	if e, ok := errors.AsType[*relay.ReplyError](err); ok {
		return fmt.Sprint(e.Code, " ", e.Enhanced)
	}
	return fmt.Sprint(err)
}

func TestAdmit(t *testing.T) {
	t.Parallel()
	good := auth.Credentials{Mechanism: auth.Plain, Username: "app", Password: "secret"}
	letter := func() *relay.Message {
		return &relay.Message{From: "app@example.test", To: []string{"x@example.org"}, Content: strings.NewReader("From: app@example.test\n\nhi\n")}
	}
	for _, c := range []struct {
		name      string
		connector string
		change    func(*relay.Config)
		do        func(*relay.Client) error
		want      string
	}{
		{"good", "users", nil, func(c *relay.Client) error {
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
			cfg.Policy.Auth = func(context.Context, *relay.Session) error { return relay.Reject(535, "5.7.9", "Suspended") }
		}, func(c *relay.Client) error { return c.Authenticate(t.Context(), good) }, "535 5.7.9"},
		{"verifier gives nobody", "users", func(cfg *relay.Config) {
			cfg.Verifier = auth.VerifierFunc(func(context.Context, auth.Credentials) (*auth.Identity, error) { return nil, nil })
		}, func(c *relay.Client) error { return c.Authenticate(t.Context(), good) }, "454 4.7.0"},
		{"not logged on", "users", nil, func(c *relay.Client) error {
			_, err := c.Submit(t.Context(), letter())
			return err
		}, "530 5.7.1"},
		{"no content", "users", nil, func(c *relay.Client) error {
			m := letter()
			m.Content = nil
			_, err := c.Submit(t.Context(), m)
			return err
		}, "501 5.5.4"},
		{"refused by the caller", "users", nil, func(c *relay.Client) error {
			return c.Refuse(t.Context(), "data", fmt.Errorf("wrapped: %w", relay.Defer(452, "4.3.1", "Full")))
		}, "452 4.3.1"},
		{"failure of the caller", "users", nil, func(c *relay.Client) error {
			return c.Refuse(t.Context(), "data", errors.New("internal"))
		}, "451 4.3.0"},
	} {
		r := admitting(t, c.change)
		cl, err := r.Admit(t.Context(), c.connector, inTLS())
		if err == nil && c.do != nil {
			err = c.do(cl)
		}
		if got := replied(err); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestAdmittedSession: a Policy sees a session, whose labels go on to the message.
func TestAdmittedSession(t *testing.T) {
	t.Parallel()
	var stages []string
	var events []relay.Event
	r := admitting(t, func(cfg *relay.Config) {
		see := func(stage string, s *relay.Session) error {
			if s.ID == "" || s.Helo != "[192.0.2.1]" || s.TLS == nil || s.Remote.Port() != 99 {
				t.Errorf("%s: session %+v", stage, s)
			}
			stages = append(stages, stage)
			return nil
		}
		cfg.Policy.Connect = func(_ context.Context, s *relay.Session) error { return see("connect", s) }
		cfg.Policy.Message = func(_ context.Context, s *relay.Session, m *relay.Incoming) error {
			s.Labels["policy"] = "yes"
			return see("message", s)
		}
		cfg.Events = func(e relay.Event) { events = append(events, e) }
	})
	c, err := r.Admit(t.Context(), "users", inTLS())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Authenticate(t.Context(), auth.Credentials{Mechanism: auth.Plain, Username: "app", Password: "secret"}); err != nil {
		t.Fatal(err)
	}
	_, err = c.Submit(t.Context(), &relay.Message{
		From: "app@example.test", To: []string{"x@example.org"}, Content: strings.NewReader("\nhi\n"), Labels: map[string]string{"own": "1"},
	})
	if err != nil || fmt.Sprint(stages) != "[connect message]" {
		t.Fatalf("%v, %v", stages, err)
	}
	if e := events[0]; e.Kind != relay.Accepted || e.User != "app" || e.Remote.Port() != 99 || fmt.Sprint(e.Labels) != "map[own:1 policy:yes]" {
		t.Errorf("event %+v", e)
	}
}

func ExampleRelay_Admit() {
	printers := connector.AnonymousRelay("printers", connector.MustParseRange("192.0.2.0/24"))
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com", Spool: memspool.New(nil), Connectors: []*connector.Connector{printers},
		Transport: relay.TransportFunc(func(_ context.Context, a *relay.Attempt) []relay.Result { return nil }),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()

	// A client that came by a protocol of the application's own.
	ctx := context.Background()
	for _, remote := range []string{"192.0.2.7:4000", "203.0.113.1:4000"} {
		c, err := r.Admit(ctx, "printers", relay.Peer{Remote: netip.MustParseAddrPort(remote), Protocol: "IPP"})
		if err == nil {
			_, err = c.Submit(ctx, &relay.Message{From: "p@example.com", To: []string{"a@example.net"}, Content: strings.NewReader("Subject: scan\n\n")})
		}
		fmt.Println(remote, err)
	}
	// Output:
	// 192.0.2.7:4000 <nil>
	// 203.0.113.1:4000 554 5.7.1 No service for this address
}
