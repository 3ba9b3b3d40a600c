package relay_test

import (
	"context"
	"strings"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
)

// TestEightBit checks that the next hop is told of 8-bit content whatever the
// client declared.
func TestEightBit(t *testing.T) {
	bodies := make(chan string, 1)
	w := start(t, func(c *relay.Config) {
		c.Transport = delivery.TransportFunc(func(
			_ context.Context, a *delivery.Attempt,
		) []delivery.Result {
			bodies <- string(a.Message.Body)
			return a.All(delivery.Result{Delivered: true})
		})
	})
	for _, c := range []struct{ content, want string }{
		{"Subject: plain\n\nonly ASCII\n", ""},
		{"Subject: plain\n\nna\u00efve\n", "8BITMIME"},
		{"Subject: na\u00efve\n\nonly ASCII\n", "8BITMIME"},
		{"Subject: long\n\n" + strings.Repeat("x", 5000) + "\u00e9", "8BITMIME"},
	} {
		_, err := w.relay.Submit(
			t.Context(),
			&relay.Message{
				From: "app@example.test", To: []string{"x@elsewhere.test"},
				Content: strings.NewReader(c.content),
			},
		)
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
		c.Transport = delivery.TransportFunc(func(
			_ context.Context, a *delivery.Attempt,
		) []delivery.Result {
			bodies <- string(a.Message.Body)
			return a.All(delivery.Result{Delivered: true})
		})
	})
	if got := w.dial(t, "apps").transact(
		text, "app@example.test", "x@elsewhere.test",
	); !strings.HasPrefix(got, "250") {
		t.Fatal(got)
	}
	if got := <-bodies; got != "8BITMIME" {
		t.Errorf("BODY=%s", got)
	}
}

// TestSevenBitHop checks what a next hop without 8BITMIME gets, and what the
// sender is told of that which cannot be sent to it.
func TestSevenBitHop(t *testing.T) {
	hop := newSink()
	hop.seven = true
	t.Cleanup(hop.close)
	w := start(t, func(c *relay.Config) {
		c.Transport = delivery.SMTP(connector.NextHop{Hosts: []string{hop.addr()}})
	})
	for _, c := range []struct{ content, want string }{
		{
			"From: app@example.test\n\nna\u00efve\n",
			"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nna=C3=AFve\r\n",
		},
		{
			"From: app@example.test\nSubject: na\u00efve\n\nhi\n",
			"\r\nSubject: =?utf-8?q?na=C3=AFve?=\r\n\r\nhi\r\n",
		},
		{
			"From: app@example.test\nContent-Transfer-Encoding: base64\n\nna\u00efve\n",
			"\r\nContent-Transfer-Encoding: base64\r\n\r\nna\u00efve\r\n",
		},
	} {
		_, err := w.relay.Submit(t.Context(), &relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: strings.NewReader(c.content),
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := hop.wait(t).content; !strings.HasSuffix(got, c.want) {
			t.Errorf("content %q", got)
		}
	}
	const rcpt = "S: 250\nC: RCPT TO:<x@elsewhere.test>\nS: 250\n"
	for i, c := range []struct{ dialogue, status, told, cause string }{
		{
			"C: MAIL FROM:<app@example.test> SMTPUTF8\n" + rcpt + "C: DATA\nS: 354\n" +
				"C: From: app@example.test\nC: Subject: na\u00efve\nC: \nC: hi\nC: .\nS: 250",
			"5.6.7", "takes no 8-bit headers or addresses, and the message cannot be converted",
			"message needs SMTPUTF8, which the peer does not offer",
		},
		{
			"C: MAIL FROM:<app@example.test> BODY=BINARYMIME\n" + rcpt + "C: BDAT 66 LAST\n" +
				"C: From: app@example.test\nC: Content-Transfer-Encoding: x\nC: \n" +
				"C> na\u00efve\\nx\\r\\n\nS: 250",
			"5.6.3", "does not take such 8-bit or binary content",
			"the peer does not offer BINARYMIME: content that cannot be converted to 7-bit: " +
				"8-bit octets in a part that claims an encoding",
		},
	} {
		w.dial(t, "apps").Play(c.dialogue)
		report := strings.ReplaceAll(w.mailboxes.wait(t, i+1)[i].content, "\r\n", "")
		if !strings.Contains(report, "Status: "+c.status) || !strings.Contains(report, c.told) {
			t.Errorf("report %q", report)
		}
		e := w.events.wait(t, func(e event.Event) bool { return e.Enhanced == c.status })
		if e.Kind != event.Bounced || !strings.HasSuffix(e.Text, c.cause) {
			t.Errorf("event %+v", e)
		}
	}
}
