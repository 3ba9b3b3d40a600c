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
