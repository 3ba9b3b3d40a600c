package relay_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
)

// TestSloppyDisplayName takes a user's own From whose name is not quoted as it
// must be, writes it quoted, and signs it. What may be somebody else's stays
// refused.
func TestSloppyDisplayName(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(c *relay.Config) {
		c.DKIM = []msgauth.Key{{Domain: "example.test", Selector: "ed", Signer: key}}
		c.Verifier = auth.VerifierFunc(func(_ context.Context,
			c auth.Proof) (*auth.Identity, error) {
			return &auth.Identity{User: c.Username, Senders: []string{"sales@example.test"}}, nil
		})
	})
	c := w.dial(t, "users")
	c.Play(login)
	n := 0
	const unreadable = "550 5.6.0 Address in the From field cannot be read"
	for _, tt := range [][2]string{
		{"Doe, John <app@example.test>", `"Doe, John" <app@example.test>`},
		{"App: news <app@example.test>", `"App: news" <app@example.test>`},
		{"App [prod] <app@example.test>", `"App [prod]" <app@example.test>`},
		{"App (prod <app@example.test>", `"App (prod" <app@example.test>`},
		{"J\xfcrgen <app@example.test>", "\"J\xfcrgen\" <app@example.test>"},
		{"app@example.test <app@example.test>", `"app@example.test" <app@example.test>`},
		{"Sales@example.test <APP@example.test>", `"Sales@example.test" <APP@example.test>`},
		{"sales@EXAMPLE.test <app@example.test>", `"sales@EXAMPLE.test" <app@example.test>`},
		{"=?utf-8?Q??= <app@example.test>", "<app@example.test>"},
		{"Doe,\r\n John <app@example.test>", `"Doe, John" <app@example.test>`},
		{"App <app@example.test>", "App <app@example.test>"},
		{"ceo@example.test , App <app@example.test>", "550 5.7.60"},
		{"ceo@example.test App <app@example.test>", "550 5.7.60"},
		{"App, ceo@example.test <app@example.test>", "550 5.7.60"},
		{"App, x <ceo@example.test>", "550 5.7.60"},
		{"=?utf-8?Q?ceo=40example.test?= , App <app@example.test>", "550 5.7.60"},
		{"ceo@ example.test , App <app@example.test>", "550 5.7.60"},
		{"ceo@ example.test App <app@example.test>", unreadable},
		{"App, x <app@example.test> <app@example.test>", unreadable},
		{"App, x", unreadable},
		{"App <app@example.test>\r\nFrom: app@example.test", "550 5.6.0 Message has more than one"},
		{"App <app@example.test>\r\nSender: App, x", "550 5.6.0 Address in the Sender"},
	} {
		from, want := tt[0], tt[1]
		got := c.transact("From: "+from+"\r\n\r\nhi\r\n", "app@example.test", "x@elsewhere.test")
		if strings.HasPrefix(want, "550") {
			if !strings.HasPrefix(got, want) {
				t.Errorf("%q: %s, want %s", from, got, want)
			}
			continue
		}
		if !strings.HasPrefix(got, "250") {
			t.Errorf("%q: %s", from, got)
			continue
		}
		n++
		content := w.out.wait(t, n)[n-1].content
		if !strings.HasSuffix(content, "\r\nFrom: "+want+"\r\n\r\nhi\r\n") {
			t.Errorf("%q became %q", from, content)
		}
		if s := signatures(content); len(s) != 1 {
			t.Errorf("%q: signatures %v", from, s)
		} else {
			verify(t, content, s[0], key.Public())
		}
	}

	// The application may write as anybody, and is quoted too. Where that
	// cannot be done its field stays.
	for from, want := range map[string]string{
		"Boss, Inc. <ceo@example.test>": `"Boss, Inc." <ceo@example.test>`,
		"Nobody, really":                "Nobody, really",
	} {
		_, err := w.relay.Submit(t.Context(), &relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: strings.NewReader("From: " + from + "\n\nhi\n"),
		})
		if err != nil {
			t.Fatal(err)
		}
		n++
		if content := w.out.wait(t, n)[n-1].content; !strings.HasSuffix(content,
			"\r\nFrom: "+want+"\r\n\r\nhi\r\n") {
			t.Errorf("%q became %q", from, content)
		}
	}
	_, err = w.relay.Submit(t.Context(), &relay.Message{
		From: "app@example.test", To: []string{"x@elsewhere.test"},
		Identity: &auth.Identity{User: "app@example.test"},
		Content:  strings.NewReader("From: ceo@example.test , App <app@example.test>\n\nhi\n"),
	})
	if r, ok := errors.AsType[*relay.ReplyError](err); !ok || r.Enhanced != "5.7.60" {
		t.Errorf("from somebody else: %v", err)
	}
	// What another host has written is its own affair.
	const theirs = "From: Doe, John <x@elsewhere.test>\r\n\r\nhi\r\n"
	if got := w.dial(t, "apps").transact(theirs, "",
		"x@elsewhere.test"); !strings.HasPrefix(got, "250") {
		t.Fatal(got)
	}
	if got := w.out.wait(t, n+1)[n].content; !strings.HasSuffix(got, theirs) {
		t.Errorf("a relayed message was changed: %q", got)
	}
}

// TestSloppyDisplayNameOfStranger leaves a stranger's From as it is if its
// addresses can be told, and quotes it if that makes them so.
func TestSloppyDisplayNameOfStranger(t *testing.T) {
	w := start(t, func(c *relay.Config) {
		c.Connectors[1] = bind(connector.FromInternet("in"), "127.0.0.2")
	})
	c := w.dial(t, "in")
	n := 0
	for _, tt := range [][2]string{
		{"J\xfcrgen <x@elsewhere.test>", "J\xfcrgen <x@elsewhere.test>"},
		{"Doe, John <x@elsewhere.test>", `"Doe, John" <x@elsewhere.test>`},
		{"y@elsewhere.test <x@elsewhere.test>", `"y@elsewhere.test" <x@elsewhere.test>`},
		{"bob@example.test <x@elsewhere.test>", "550 5.7.1"},
		{"Doe, John <bob@example.test>", "550 5.7.1"},
		{"Doe, John", "550 5.6.0"},
	} {
		content := "From: " + tt[0] + "\r\n\r\nhi\r\n"
		got := c.transact(content, "x@elsewhere.test", "alice@example.test")
		switch {
		case strings.HasPrefix(tt[1], "550") && strings.HasPrefix(got, tt[1]):
			continue
		case !strings.HasPrefix(got, "250"):
			t.Errorf("%q: %s", tt[0], got)
			continue
		}
		n++
		stored := w.mailboxes.wait(t, n)[n-1].content
		if !strings.HasSuffix(stored, "\r\nFrom: "+tt[1]+"\r\n\r\nhi\r\n") {
			t.Errorf("%q became %q", tt[0], stored)
		}
	}
}
