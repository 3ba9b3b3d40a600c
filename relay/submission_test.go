package relay_test

import (
	"net/smtp"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay"
)

// TestSender checks that a message by somebody else than its author says so.
func TestSender(t *testing.T) {
	w := start(t, func(c *relay.Config) {
		c.Verifier = auth.WithSenders(c.Verifier, map[string][]string{"app@example.test": {"*@news.example.test"}})
	})
	for i, c := range []struct{ from, header, want string }{
		{"app@example.test", "From: app@example.test\r\n", ""},
		{"app@example.test", "From: App <app@EXAMPLE.test>\r\n", ""},
		{"app@example.test", "From: daily@news.example.test\r\n", "Sender: <app@example.test>\r\n"},
		{"app@example.test", "From: daily@news.example.test\r\nSender: app@example.test\r\n", ""},
	} {
		err := smtp.SendMail(w.addr("users"), plain{"app@example.test", "secret"}, c.from, []string{"x@elsewhere.test"}, []byte(c.header+"\r\nhi\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		got := w.out.wait(t, i+1)[i].content
		if (c.want == "") == strings.Contains(got, "Sender: <") || !strings.Contains(got, c.want) {
			t.Errorf("%q: %s", c.header, got)
		}
	}
}

// TestCompleteAddresses checks that users may leave out their own domain, and nobody else.
func TestCompleteAddresses(t *testing.T) {
	w := start(t, func(c *relay.Config) { c.CompleteAddresses = true })
	users := plain{"app@example.test", "secret"}
	const content = "From: App <app>\r\nTo: alice, Bob <bob>, x@elsewhere.test\r\n\r\nhi\r\n"
	if err := smtp.SendMail(w.addr("users"), users, "app", []string{"alice", "x@elsewhere.test"}, []byte(content)); err != nil {
		t.Fatal(err)
	}
	got := w.mailboxes.wait(t, 1)[0]
	if got.from != "app@example.test" || got.to != "alice@example.test" ||
		!strings.Contains(got.content, "\r\nFrom: App <app@example.test>\r\nTo: alice@example.test, Bob <bob@example.test>, x@elsewhere.test\r\n") {
		t.Errorf("%q to %q: %s", got.from, got.to, got.content)
	}
	_, err := w.relay.Submit(t.Context(), &relay.Message{From: "app", To: []string{"bob"}, Content: strings.NewReader(content)})
	if err != nil {
		t.Fatal(err)
	}
	if got := w.mailboxes.wait(t, 2)[1]; got.to != "bob@example.test" {
		t.Errorf("submitted to %q", got.to)
	}
	if err := send(w.addr("in"), nil, "x@elsewhere.test", "alice"); code(err) != 501 {
		t.Errorf("a stranger without a domain: %v", err)
	}
	plainly := start(t, nil)
	if err := send(plainly.addr("users"), users, "app@example.test", "alice"); code(err) != 501 {
		t.Errorf("without CompleteAddresses: %v", err)
	}
}
