package relay_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
)

func TestAnonymousRelay(t *testing.T) {
	w := start(t, nil)
	if err := send(w.addr("apps"), nil, "app@example.test", "x@elsewhere.test"); err != nil {
		t.Fatal(err)
	}
	got := w.out.wait(t, 1)[0]
	if got.from != "app@example.test" || got.to != "x@elsewhere.test" {
		t.Errorf("envelope %q %q", got.from, got.to)
	}
	if !strings.HasSuffix(got.content, text) || !strings.HasPrefix(got.content, "Received: from ") {
		t.Errorf("content %q", got.content)
	}
	accepted := w.events.wait(t, kind(event.Accepted))
	delivered := w.events.wait(t, kind(event.Delivered))
	if accepted.QueueID == "" || accepted.QueueID != delivered.QueueID {
		t.Errorf("queue ids %q %q", accepted.QueueID, delivered.QueueID)
	}
	if !strings.Contains(got.content, accepted.QueueID) {
		t.Error("the trace field does not hold the queue id")
	}
}

// TestApplicationWithManyConnections opens more connections at once, from one
// host, than a stranger may.
func TestApplicationWithManyConnections(t *testing.T) {
	w := start(t, func(cfg *relay.Config) {
		recipe := connector.AnonymousRelay("", connector.MustParseRange("127.0.0.1"))
		cfg.Connectors[0].Limits = recipe.Limits
	})
	const many = 120 // strangers have 20, or 2 % of what is free
	for i := range many {
		c, err := smtp.Dial(w.addr("apps"))
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
	}
	for range many {
		c, err := smtp.Dial(w.addr("in"))
		if err != nil {
			if code(err) != 421 {
				t.Errorf("%v", err)
			}
			return
		}
		defer c.Close()
	}
	t.Error("a stranger has as many connections")
}

func TestClosedToOthers(t *testing.T) {
	w := start(t, nil)
	err := send(w.addr("in"), nil, "x@elsewhere.test", "y@elsewhere.test")
	if code(err) != 550 || !strings.Contains(err.Error(), "5.7.54") {
		t.Errorf("relaying: %v", err)
	}
	if err := send(
		w.addr("in"), nil, "x@elsewhere.test", "nobody@example.test",
	); code(err) != 550 || !strings.Contains(err.Error(), "5.1.1") {
		t.Errorf("unknown recipient: %v", err)
	}
	if err := send(w.addr("in"), nil, "x@elsewhere.test", "alice@example.test"); err != nil {
		t.Errorf("known recipient: %v", err)
	}
	w.mailboxes.wait(t, 1)
	for _, to := range []string{"nobody@internal.test", "anyone@external.test"} {
		if err := send(w.addr("in"), nil, "x@elsewhere.test", to); err != nil {
			t.Errorf("%s: %v", to, err)
		}
	}
	w.out.wait(t, 2)
}

func TestUnlistedAddress(t *testing.T) {
	w := start(t, nil)
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	c, err := d.Dial("tcp", w.addr("apps"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if b, err := io.ReadAll(c); len(b) != 0 {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestSubmission(t *testing.T) {
	w := start(t, nil)
	if err := send(w.addr("users"), nil, "app@example.test", "x@elsewhere.test"); code(err) != 530 {
		t.Errorf("without AUTH: %v", err)
	}
	err := send(
		w.addr("users"), plain{"app@example.test", "wrong"}, "app@example.test", "x@elsewhere.test",
	)
	if code(err) != 535 {
		t.Errorf("bad password: %v", err)
	}
	if err := send(
		w.addr("users"), plain{"app@example.test", "secret"}, "ceo@example.test",
		"x@elsewhere.test",
	); code(err) != 550 || !strings.Contains(err.Error(), "5.7.60") {
		t.Errorf("foreign sender: %v", err)
	}
	if err := send(
		w.addr("users"), plain{"app@example.test", "secret"}, "app@example.test",
		"x@elsewhere.test",
	); err != nil {
		t.Fatal(err)
	}
	got := w.out.wait(t, 1)[0]
	if !strings.Contains(got.content, "with UTF8SMTPA") ||
		!strings.Contains(got.content, "\r\nMessage-ID: <") ||
		!strings.Contains(got.content, "\r\nDate: ") {
		t.Errorf("content %q", got.content)
	}
}

// plain is AUTH PLAIN without net/smtp's refusal of plaintext.
type plain struct{ user, password string }

func (p plain) Start(*smtp.ServerInfo) (string, []byte, error) {
	return "PLAIN", []byte("\x00" + p.user + "\x00" + p.password), nil
}

func (p plain) Next([]byte, bool) ([]byte, error) { return nil, nil }

func TestBounce(t *testing.T) {
	w := start(t, func(c *relay.Config) {
		c.Transport.(*capture).reply = func(to string) error {
			if strings.HasPrefix(to, "bad") {
				return relay.Reject(550, "5.1.1", "no such user here")
			}
			return nil
		}
	})
	if err := send(
		w.addr("apps"), nil, "alice@example.test", "bad@elsewhere.test", "good@elsewhere.test",
	); err != nil {
		t.Fatal(err)
	}
	report := w.mailboxes.wait(t, 1)[0]
	if report.from != "" || report.to != "alice@example.test" {
		t.Errorf("report from <%s> to <%s>", report.from, report.to)
	}
	for _, want := range []string{
		"no such user here", "Final-Recipient: rfc822; bad@elsewhere.test", "Status: 5.1.1",
		"Action: failed",
	} {
		if !strings.Contains(report.content, want) {
			t.Errorf("report lacks %q:\n%s", want, report.content)
		}
	}
	if strings.Contains(report.content, "Final-Recipient: rfc822; good@") {
		t.Error("report names a delivered recipient")
	}
	bounced := w.events.wait(t, kind(event.Bounced))
	if bounced.Report == "" || bounced.To[0] != "bad@elsewhere.test" {
		t.Errorf("event %+v", bounced)
	}
}

func TestBounceOfBounce(t *testing.T) {
	w := start(t, func(c *relay.Config) {
		c.Transport.(*capture).reply = func(string) error {
			return relay.Reject(550, "5.1.1", "no")
		}
	})
	if err := send(w.addr("apps"), nil, "away@elsewhere.test", "bad@elsewhere.test"); err != nil {
		t.Fatal(err)
	}
	w.events.wait(t, func(e event.Event) bool {
		return e.Kind == event.Bounced && e.From == "" && e.Report == ""
	})
	stats, err := w.relay.Stats(t.Context())
	if err != nil || stats.Deliveries != 0 {
		t.Errorf("stats %+v, %v", stats, err)
	}
}

func TestSubmit(t *testing.T) {
	w := start(t, nil)
	r, err := w.relay.Submit(t.Context(), &relay.Message{
		From: "app@example.test", To: []string{"x@elsewhere.test", "alice@example.test"},
		Content: strings.NewReader(
			"From: app@example.test\nBcc: secret@example.test\nSubject: hi\n\nline\n",
		),
		Labels: map[string]string{"tenant": "7"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := w.out.wait(t, 1)[0]
	w.mailboxes.wait(t, 1)
	if strings.Contains(got.content, "secret@") ||
		!strings.HasSuffix(got.content, "Subject: hi\r\n\r\nline\r\n") {
		t.Errorf("content %q", got.content)
	}
	e := w.events.wait(t, kind(event.Delivered))
	if e.QueueID != r.QueueID || e.Labels["tenant"] != "7" {
		t.Errorf("event %+v", e)
	}
	_, err = w.relay.Submit(t.Context(), &relay.Message{
		From: "app@example.test", To: []string{"nobody@example.test", "not an address"},
		Content: strings.NewReader(text),
	})
	rcpt, ok := errors.AsType[*relay.RecipientError](err)
	if !ok || rcpt.Recipient != "nobody@example.test" ||
		!strings.Contains(err.Error(), "not an address") {
		t.Errorf("refused recipients: %v", err)
	}
}

func TestConfigFaults(t *testing.T) {
	apps := connector.AnonymousRelay("apps")
	apps.RemoteIPRanges = connector.Everyone()
	users := connector.Submission("users")
	_, err := relay.New(relay.Config{
		Connectors: []*connector.Connector{apps, users},
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "a..b"}, {Domain: "x.test", Recipients: domains.AnyRecipient()},
		},
		SendConnectors: []*connector.SendConnector{{}},
		Retry: delivery.Retry{
			MX: []time.Duration{time.Minute, 1}, Schedule: []time.Duration{1}, Greylisted: -1,
		},
	})
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{
		"Hostname:", "Spool:", "Connectors[0]", "Verifier:", "Connectors[1].AuthMechanisms:",
		"AcceptedDomains[0].Domain:",
		"Mailboxes:", "SendConnectors[0].Name:", "Retry.Schedule[0]:", "Retry.MX[1]:",
		"Retry.Greylisted:",
	} {
		if !strings.Contains(err.Error(), "\n  "+want) {
			t.Errorf("no fault at %s", want)
		}
	}
	if _, ok := errors.AsType[*postern.FieldError](err); !ok {
		t.Error("no postern.FieldError in the error")
	}
	t.Log(err)
}

func TestReload(t *testing.T) {
	w := start(t, nil)
	c, err := smtp.Dial(w.addr("apps"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail("app@example.test"); err != nil {
		t.Fatal(err)
	}
	cfg, _ := config()
	cfg.Connectors = cfg.Connectors[1:]
	cfg.Mailboxes, cfg.Transport = w.mailboxes, w.out
	old := w.addr("apps")
	if err := w.relay.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", old); err == nil {
		t.Error("the removed connector still listens")
	}
	if err := c.Rcpt("x@elsewhere.test"); err != nil { // the session goes on
		t.Fatal(err)
	}
	d, err := c.Data()
	if err == nil {
		_, _ = io.WriteString(d, text)
		err = d.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	w.out.wait(t, 1)
	cfg.Hostname, cfg.Retry.Expires = "", -1
	if err := w.relay.Reload(cfg); err == nil {
		t.Error("a faulty configuration was taken")
	}
}

func TestRetryAndExpiry(t *testing.T) {
	w := start(t, func(c *relay.Config) {
		c.Transport.(*capture).reply = func(string) error {
			return relay.Defer(451, "4.2.1", "later")
		}
		c.Retry = delivery.Retry{Schedule: []time.Duration{time.Second}, Expires: time.Second}
	})
	if err := send(w.addr("apps"), nil, "alice@example.test", "x@elsewhere.test"); err != nil {
		t.Fatal(err)
	}
	first := w.events.wait(t, kind(event.Deferred))
	if first.Enhanced != "4.2.1" || first.Next.IsZero() {
		t.Errorf("event %+v", first)
	}
	w.events.wait(t, kind(event.Expired))
	report := w.mailboxes.wait(t, 1)[0].content
	if !strings.Contains(report, "Status: 4.4.7") || !strings.Contains(report, "later") {
		t.Errorf("report %s", report)
	}
}

func TestTwoRelays(t *testing.T) {
	a, b := start(t, nil), start(t, nil)
	for i, w := range []*world{a, b} {
		if err := send(
			w.addr("apps"), nil, fmt.Sprintf("app%d@example.test", i), "x@elsewhere.test",
		); err != nil {
			t.Fatal(err)
		}
	}
	if a.out.wait(t, 1)[0].from != "app0@example.test" ||
		b.out.wait(t, 1)[0].from != "app1@example.test" {
		t.Error("the relays are mixed up")
	}
}
