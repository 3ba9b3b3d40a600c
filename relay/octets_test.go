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

// TestEightBitField checks that a field which a policy adds counts as content.
func TestEightBitField(t *testing.T) {
	bodies := make(chan string, 1)
	w := start(t, func(c *relay.Config) {
		c.Policy.Message = func(_ context.Context, _ *relay.Session, m *relay.Incoming) error {
			return m.AddField("X-Tenant", "na\u00efve")
		}
		c.Transport = relay.TransportFunc(func(_ context.Context, a *relay.Attempt) []relay.Result {
			bodies <- a.Message.Body
			return make([]relay.Result, len(a.Recipients))
		})
	})
	if got := w.dial(t, "apps").transact(text, "app@example.test", "x@elsewhere.test"); !strings.HasPrefix(got, "250") {
		t.Fatal(got)
	}
	if got := <-bodies; got != "8BITMIME" {
		t.Errorf("BODY=%s", got)
	}
}

// TestSevenBitHop checks what a next hop without 8BITMIME gets, and what the sender is told of that which cannot be converted.
func TestSevenBitHop(t *testing.T) {
	hop := newSink()
	hop.seven = true
	t.Cleanup(hop.close)
	w := start(t, func(c *relay.Config) { c.Transport = &relay.NextHop{Hosts: []string{hop.addr()}} })
	submit := func(content string) {
		t.Helper()
		if _, err := w.relay.Submit(t.Context(), &relay.Message{From: "app@example.test", To: []string{"x@elsewhere.test"}, Content: strings.NewReader(content)}); err != nil {
			t.Fatal(err)
		}
	}
	submit("From: app@example.test\n\nna\u00efve\n")
	if got := hop.wait(t).content; !strings.HasSuffix(got, "\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nna=C3=AFve\r\n") {
		t.Errorf("content %q", got)
	}
	submit("From: app@example.test\nSubject: na\u00efve\n\nhi\n")
	report := w.mailboxes.wait(t, 1)[0].content
	if !strings.Contains(report, "Status: 5.6.7\r\n") || !strings.Contains(report, "cannot handle the form of the message") {
		t.Errorf("report %q", report)
	}
	if e := w.events.wait(t, kind(relay.Bounced)); e.Enhanced != "5.6.7" || !strings.Contains(e.Text, "the peer does not offer 8BITMIME: 8-bit octets in a header") {
		t.Errorf("event %+v", e)
	}
	submit("From: app@example.test\nContent-Transfer-Encoding: base64\n\nna\u00efve\n")
	for i, want := range []string{"takes no 8-bit headers or addresses, and the message cannot be converted", "does not take such 8-bit or binary content, and the message cannot be converted"} {
		if report := w.mailboxes.wait(t, i+1)[i].content; !strings.Contains(strings.ReplaceAll(report, "\r\n", ""), want) {
			t.Errorf("report %q", report)
		}
	}
}
