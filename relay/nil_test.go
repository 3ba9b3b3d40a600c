package relay_test

import (
	"context"
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// TestNilArguments: what has to be there and is not is an error, not a panic.
func TestNilArguments(t *testing.T) {
	var none context.Context
	message := func() *relay.Message {
		return &relay.Message{
			From: "a@example.test", To: []string{"alice@example.test"},
			Content: strings.NewReader(text),
		}
	}
	cfg, _ := config()
	apps := cfg.Connectors[0]
	apps.Bindings[0] = netip.MustParseAddrPort("127.0.0.1:2525")
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	client, err := r.OpenSession(t.Context(), apps.Name,
		relay.Peer{Remote: netip.MustParseAddrPort("127.0.0.1:9")})
	if err != nil {
		t.Fatal(err)
	}
	query := relay.ExplainQuery{
		Local:  netip.MustParseAddrPort("127.0.0.1:2525"),
		Remote: netip.MustParseAddrPort("127.0.0.1:9"),
		From:   "a@example.test", To: "alice@example.test",
	}
	attempt := &delivery.Attempt{Recipients: []spool.Recipient{{Address: "alice@example.test"}}}
	first := func(results []delivery.Result) error {
		if len(results) != 1 {
			t.Fatalf("%d results", len(results))
		}
		return results[0].Err
	}
	for name, call := range map[string]func() error{
		"Submit without a message": func() error {
			_, err := r.Submit(t.Context(), nil)
			return err
		},
		"Submit without a context": func() error {
			_, err := r.Submit(none, message())
			return err
		},
		"Submit without content": func() error {
			m := message()
			m.Content = nil
			_, err := r.Submit(t.Context(), m)
			return err
		},
		"SubmitIn without a message": func() error {
			_, err := r.SubmitIn(t.Context(), &keeper{}, nil)
			return err
		},
		"SubmitIn without a context": func() error {
			_, err := r.SubmitIn(none, &keeper{}, message())
			return err
		},
		"SubmitIn without a Committer": func() error {
			_, err := r.SubmitIn(t.Context(), nil, message())
			return err
		},
		"Status without a context": func() error {
			_, err := r.Status(none, "x")
			return err
		},
		"Cancel without a context": func() error {
			_, err := r.Cancel(none, "x")
			return err
		},
		"Reschedule without a context": func() error {
			return r.Reschedule(none, "x", time.Now())
		},
		"Follow without a context": func() error {
			return r.Follow(none, "x", ignore)
		},
		"OpenSession without a context": func() error {
			_, err := r.OpenSession(none, apps.Name,
				relay.Peer{})
			return err
		},
		"Explain without a context": func() error { _, err := r.Explain(none, query); return err },
		"Stats without a context":   func() error { _, err := r.Stats(none); return err },
		"Run without a context":     func() error { return r.Run(none) },
		"Shutdown without one":      func() error { return r.Shutdown(none) },
		"Serve without a listener":  func() error { return r.Serve(nil) },
		"Reload without connectors": func() error {
			return r.Reload(relay.Config{Connectors: []*connector.Connector{nil}})
		},
		"a client without a message": func() error {
			_, err := client.Submit(t.Context(),
				nil)
			return err
		},
		"a client without a context": func() error {
			_, err := client.Submit(none,
				message())
			return err
		},
		"Check without a context": func() error { return client.Check(none) },
		"Authenticate without one": func() error {
			return client.Authenticate(none,
				auth.Proof{})
		},
		"certificates without files": func() error {
			_, err := relay.LoadCertificates(nil)
			return err
		},
		"certificates not loaded": func() error {
			_, err := new(relay.Certificates).GetCertificate(new(tls.ClientHelloInfo))
			return err
		},
		"TransportFunc": func() error {
			return first(delivery.TransportFunc(nil).Deliver(t.Context(),
				attempt))
		},
		"Mailbox": func() error {
			return first(delivery.Mailbox(nil).Deliver(t.Context(), attempt))
		},
		"SMTP": func() error {
			return first(delivery.SMTP(connector.NextHop{}).Deliver(t.Context(),
				attempt))
		},
	} {
		if err := call(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, transport := range []delivery.Transport{
		delivery.TransportFunc(nil), delivery.Mailbox(nil), delivery.SMTP(connector.NextHop{}),
		delivery.Maildir(t.TempDir()),
	} {
		if got := transport.Deliver(t.Context(), nil); len(got) > 0 {
			t.Errorf("%T without an attempt: %v", transport, got)
		}
	}
	if l := r.Load(none); l.Queue < 0 {
		t.Errorf("load %+v", l)
	}
	if (&postern.FieldError{}).Error() == "" || (&relay.RecipientError{}).Error() == "" {
		t.Error("an error without a text")
	}
	// The relay is none the worse for it.
	if _, err := r.Submit(t.Context(), message()); err != nil {
		t.Error(err)
	}
}

// TestNilParts refuses parts of a configuration that are there but nil within,
// as they are when an error was not looked at.
func TestNilParts(t *testing.T) {
	for _, tt := range []struct {
		field  string
		change func(*relay.Config)
	}{
		{"Spool", func(cfg *relay.Config) { cfg.Spool = nil }},
		{"Spool", func(cfg *relay.Config) { cfg.Spool = (*filespool.Store)(nil) }},
		{"Connectors[0]", func(cfg *relay.Config) { cfg.Connectors[0] = nil }},
		{"SendConnectors[0]",
			func(cfg *relay.Config) { cfg.SendConnectors = []*connector.SendConnector{nil} }},
		{"Mailboxes", func(cfg *relay.Config) { cfg.Mailboxes = delivery.Mailbox(nil) }},
		{"Transport", func(cfg *relay.Config) { cfg.Transport = delivery.TransportFunc(nil) }},
		{"Verifier", func(cfg *relay.Config) { cfg.Verifier = (*auth.Htpasswd)(nil) }},
		{"Quota", func(cfg *relay.Config) { cfg.Quota = (*auth.Keyring)(nil) }},
		{"Auth.Passwords", func(cfg *relay.Config) {
			cfg.Verifier, cfg.Auth = nil, &auth.Server{Passwords: auth.VerifierFunc(nil)}
		}},
		{"Auth.SCRAM", func(cfg *relay.Config) {
			cfg.Verifier, cfg.Auth = nil, &auth.Server{SCRAM: auth.SCRAMStoreFunc(nil)}
		}},
		{"AcceptedDomains[0].Recipients", func(cfg *relay.Config) {
			cfg.AcceptedDomains[0].Recipients = domains.ResolverFunc(nil)
		}},
	} {
		cfg, _ := config()
		tt.change(&cfg)
		_, err := relay.New(cfg)
		if err == nil || !strings.Contains(err.Error(), "\n  "+tt.field+": ") {
			t.Errorf("%s: %v", tt.field, err)
		}
	}
}
