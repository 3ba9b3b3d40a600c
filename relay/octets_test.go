package relay_test

import (
	"context"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay"
)

// TestEightBit checks that the next hop is told of 8-bit content whatever the client declared.
func TestEightBit(t *testing.T) {
	bodies := make(chan string, 1)
	w := start(t, func(c *relay.Config) {
		c.Transport = relay.TransportFunc(func(_ context.Context, a *relay.Attempt) []relay.Result {
			bodies <- a.Message.Body
			return make([]relay.Result, len(a.Recipients))
		})
	})
	for _, c := range []struct{ content, want string }{
		{"Subject: plain\n\nonly ASCII\n", ""},
		{"Subject: plain\n\nna\u00efve\n", "8BITMIME"},
		{"Subject: na\u00efve\n\nonly ASCII\n", "8BITMIME"},
		{"Subject: long\n\n" + strings.Repeat("x", 5000) + "\u00e9", "8BITMIME"},
	} {
		_, err := w.relay.Submit(t.Context(), &relay.Message{From: "app@example.test", To: []string{"x@elsewhere.test"}, Content: strings.NewReader(c.content)})
		if err != nil {
			t.Fatal(err)
		}
		if got := <-bodies; got != c.want {
			t.Errorf("%.30q: BODY=%s, want %s", c.content, got, c.want)
		}
	}
}
