package relay_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
)

// TestSenderOfUser shows what a user may send as.
func TestSenderOfUser(t *testing.T) {
	w := start(t, func(cfg *relay.Config) {
		cfg.Verifier = auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			return &auth.Identity{
				User: c.Username, Senders: []string{"*@news.example.test", "sales@elsewhere.test"},
			}, nil
		})
		cfg.Connectors[2].Limits.MaxProtocolErrors = -1
	})
	c := w.dial(t, "users")
	c.Play(login)
	for from, ok := range map[string]bool{
		"app@example.test": true, "APP@Example.Test": true, "any@news.example.test": true,
		"sales@elsewhere.test": true, "": true,
		"any@sub.news.example.test": false, "other@elsewhere.test": false,
		"bob@example.test": false, "app@example.test.evil.test": false,
	} {
		want := "250 "
		if !ok {
			want = "550 5.7.60 "
		}
		c.Play("C: MAIL FROM:<" + from + ">\nS: " + want + "\nC: RSET\nS: 250")
	}
	c.Play(
		envelope +
			"C: DATA\nS: 354\nC: From: News <x@news.example.test>, app@example.test\nC: " +
			"Sender: app@example.test\nC: \nC: .\nS: 250",
	)
	c.Play(
		envelope +
			"C: DATA\nS: 354\nC: From: app@example.test, ceo@example.test\nC: \nC: .\nS: 550 " +
			"5.7.60",
	)
	c.Play(envelope + "C: DATA\nS: 354\nC: From: not an address\nC: \nC: .\nS: 550 5.6.0")
}

// Authors whose addresses are of no form of RFC 5322 are taken, and a form that
// names this relay's own domain is no way around its check.
func TestAuthorsInUse(t *testing.T) {
	w := start(t, func(c *relay.Config) {
		for _, in := range c.Connectors {
			if in.Name == "in" {
				in.Grants = []connector.Grant{{
					Principal: connector.Anonymous, Deny: true,
					Rights: connector.AcceptAuthoritativeDomainSender,
				}}
			}
		}
	})
	for from, want := range map[string]string{
		"Foo <foo..bar@docomo.test>": "250 ",
		"foo.@docomo.test":           "250 ",
		"root@web_01.corp.test.":     "250 ",
		"boss@example.test.":         "550 ",
		"b..oss@example.test":        "550 ",
		"..@docomo.test":             "550 ",
	} {
		c := w.dial(t, "in")
		got := c.transact("From: "+from+"\r\n\r\nx\r\n", "a@docomo.test", "alice@example.test")
		if !strings.HasPrefix(got, want) {
			t.Errorf("%s: %q", from, got)
		}
	}
}

// A local part longer than a mailbox's is one of a reverse-path, and of what a
// report goes to, whichever way the message comes.
func TestLongLocalParts(t *testing.T) {
	w := start(t, nil)
	long := strings.Repeat("x", 65) + "@elsewhere.test"
	submit := func(from, to string) error {
		_, err := w.relay.Submit(t.Context(), &relay.Message{
			From: from, To: []string{to}, Content: strings.NewReader(text),
		})
		return err
	}
	explain := func(from, to string) bool {
		e, err := w.relay.Explain(t.Context(), relay.ExplainQuery{
			Local: w.relay.Addrs("apps")[0], Remote: netip.MustParseAddrPort("127.0.0.1:1"),
			From: from, To: to,
		})
		return err == nil && !e.Refused()
	}
	for _, tt := range []struct {
		from, to string
		taken    bool
	}{
		{long, "x@elsewhere.test", true}, {"", long, true}, {"app@example.test", long, false},
		{"app@example.test", long[1:], true},
	} {
		if err := submit(tt.from, tt.to); (err == nil) != tt.taken {
			t.Errorf("submitted from %q to %q: %v", tt.from, tt.to, err)
		}
		if explain(tt.from, tt.to) != tt.taken {
			t.Errorf("explained from %q to %q", tt.from, tt.to)
		}
		if err := send(w.addr("apps"), nil, tt.from, tt.to); (err == nil) != tt.taken {
			t.Errorf("sent from %q to %q: %v", tt.from, tt.to, err)
		}
	}
}

// TestSendersWithEmptyAtoms lets a user send as an address of the user's own
// that has empty atoms, and as no other.
func TestSendersWithEmptyAtoms(t *testing.T) {
	id := auth.Identity{User: "a..b@example.test", Senders: []string{"t.@example.test"}}
	w := start(t, func(c *relay.Config) {
		c.Verifier = auth.VerifierFunc(
			func(context.Context, auth.Proof) (*auth.Identity, error) { return &id, nil })
	})
	c := w.dial(t, "users")
	c.Play(login)
	for _, own := range []string{"a..b@example.test", `"A..B"@example.test`, "t.@example.test."} {
		got := c.transact("From: "+own+"\r\n\r\nx\r\n", own, "x@elsewhere.test")
		if !strings.HasPrefix(got, "250") {
			t.Errorf("%s: %s", own, got)
		}
	}
	for _, other := range []string{"a.b@example.test", "ab@example.test", "a...b@example.test",
		".t@example.test", `"a..b@example.test"@example.test`, `"a..b "@example.test`} {
		c.Say("MAIL FROM:<" + other + ">")
		c.Expect("550 5.7.60")
	}
}
