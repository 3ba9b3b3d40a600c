package relay_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// captured is one copy that a transport was given.
type captured struct {
	from    string
	to      string
	content string
}

// capture is a transport that keeps what it is given.
type capture struct {
	mu    sync.Mutex
	got   []captured
	more  chan struct{}
	reply func(to string) error // nil accepts
}

func newCapture() *capture { return &capture{more: make(chan struct{}, 1000)} }

func (c *capture) Deliver(ctx context.Context, a *delivery.Attempt) []delivery.Result {
	results := make([]delivery.Result, len(a.Recipients))
	for i, r := range a.Recipients {
		if c.reply != nil {
			if err := c.reply(r.Address); err != nil {
				results[i].Err = err
				continue
			}
		}
		rc, err := a.Open(ctx)
		if err != nil {
			results[i].Err = err
			continue
		}
		b, err := io.ReadAll(rc)
		rc.Close()
		if err != nil {
			results[i].Err = err
			continue
		}
		c.mu.Lock()
		c.got = append(c.got, captured{a.Message.From, r.Address, string(b)})
		c.mu.Unlock()
		c.more <- struct{}{}
		results[i].Delivered = true
	}
	return results
}

// next returns the nth copy, waiting for it.
func (c *capture) wait(t *testing.T, n int) []captured {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		c.mu.Lock()
		if len(c.got) >= n {
			got := append([]captured(nil), c.got...)
			c.mu.Unlock()
			return got
		}
		c.mu.Unlock()
		select {
		case <-c.more:
		case <-deadline:
			t.Fatalf("%d copies arrived, want %d", len(c.got), n)
		}
	}
}

// events keeps what a relay publishes.
type events struct {
	mu   sync.Mutex
	list []event.Event
	more chan struct{}
	told func(context.Context) // of the relay, if there is one
}

func newEvents() *events { return &events{more: make(chan struct{}, 1000)} }

func (e *events) add(ev event.Event) {
	e.mu.Lock()
	e.list = append(e.list, ev)
	e.mu.Unlock()
	select {
	case e.more <- struct{}{}:
	default:
	}
}

// wait returns the first event that matches.
func (e *events) wait(t *testing.T, match func(event.Event) bool) event.Event {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		e.mu.Lock()
		for _, ev := range e.list {
			if match(ev) {
				e.mu.Unlock()
				return ev
			}
		}
		e.mu.Unlock()
		select {
		case <-e.more:
		case <-deadline:
			t.Fatalf("no such event among %v", e.list)
		}
	}
}

func kind(k event.Kind) func(event.Event) bool {
	return func(e event.Event) bool { return e.Kind == k }
}

// world is a running relay with all the main parts.
type world struct {
	relay     *relay.Relay
	mailboxes *capture
	out       *capture
	events    *events
}

func config() (relay.Config, *world) {
	w := &world{mailboxes: newCapture(), out: newCapture(), events: newEvents()}
	apps := connector.AnonymousRelay("apps", connector.MustParseRange("127.0.0.1"))
	apps.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	in := connector.New("in", connector.Internet)
	in.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.2:0")}
	in.Limits.Tarpit = -1
	users := connector.Submission("users")
	users.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.3:0")}
	users.AuthMechanisms = connector.BasicAuth
	users.Limits.AuthTarpit = -1
	users.Limits.Tarpit = -1
	apps.Limits.Tarpit = -1
	return relay.Config{
		Hostname:   "relay.example.test",
		Spool:      memspool.New(nil),
		Connectors: []*connector.Connector{apps, in, users},
		Verifier: auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			if c.Username == "app@example.test" && c.Password == "secret" {
				return &auth.Identity{User: c.Username}, nil
			}
			return nil, auth.ErrBadCredentials
		}),
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.test", Recipients: domains.StaticRecipients("alice", "bob", "app")},
			{
				Domain: "internal.test", Type: domains.InternalRelay,
				Recipients: domains.StaticRecipients("carol"),
			},
			{Domain: "external.test", Type: domains.ExternalRelay},
		},
		Mailboxes: w.mailboxes,
		Transport: w.out,
		Events:    w.events.add,
	}, w
}

func start(t *testing.T, change func(*relay.Config)) *world {
	t.Helper()
	cfg, w := config()
	if change != nil {
		change(&cfg)
	}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	w.relay, w.events.told = r, r.Told
	return w
}

func (w *world) addr(name string) string { return w.relay.Addrs(name)[0].String() }

const text = "From: app@example.test\r\nSubject: hello\r\n\r\nbody\r\n"

// send sends one message by SMTP and returns the first error.
func send(addr string, a smtp.Auth, from string, to ...string) error {
	return smtp.SendMail(addr, a, from, to, []byte(text))
}

func code(err error) int {
	if e, ok := errors.AsType[*textproto.Error](err); ok {
		return e.Code
	}
	return 0
}

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
		Retry:          delivery.Retry{Schedule: []time.Duration{1}},
	})
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{
		"Hostname:", "Spool:", "Connectors[0]", "Verifier:", "Connectors[1].AuthMechanisms:",
		"AcceptedDomains[0].Domain:",
		"Mailboxes:", "SendConnectors[0].Name:", "Retry.Schedule[0]:",
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

// TestHostnameInALabels gives names in U-labels, and looks for them in all that
// a client, a next hop and a sender get.
func TestHostnameInALabels(t *testing.T) {
	hop := sinkFor(t, func(line string) string {
		if strings.HasPrefix(line, "RCPT TO:<no@") {
			return "550 5.1.1 nobody"
		}
		return ""
	})
	w := start(t, func(cfg *relay.Config) {
		cfg.Hostname = "Relais.exämple.test"
		cfg.Postmaster = "postmaster@exämple.test"
		cfg.Transport = delivery.SMTP(connector.NextHop{Hosts: []string{hop.addr()}})
	})
	const name, domain = "relais.xn--exmple-cua.test", "xn--exmple-cua.test"
	if got := w.relay.Hostname(); got != name {
		t.Errorf("Hostname %q", got)
	}
	c := w.connect(t, "apps")
	c.Expect("220 " + name + " ")
	c.Say("EHLO client.test")
	if got := c.reply(); !strings.HasPrefix(got, "250-"+name+" ") {
		t.Errorf("reply to EHLO %q", got)
	}
	for _, to := range []string{"yes@elsewhere.test", "no@elsewhere.test"} {
		if err := send(w.addr("apps"), nil, "x@elsewhere.test", to); err != nil {
			t.Fatal(err)
		}
		m := hop.wait(t) // the second one is the report
		if m.hello != name ||
			strings.ContainsFunc(m.content, func(r rune) bool { return r > '~' }) ||
			!strings.Contains(m.content, name+"\r\n") {
			t.Errorf("EHLO %s, then\n%s", m.hello, m.content)
		}
		if m.from == "" && !strings.Contains(m.content, "<postmaster@"+domain+">") {
			t.Errorf("From of the report\n%s", m.content)
		}
	}
}

// TestNamesOnTheWire refuses names that would not stand in a command or a
// header field.
func TestNamesOnTheWire(t *testing.T) {
	for _, tt := range []struct {
		field  string
		change func(*relay.Config)
	}{
		{"Hostname", func(cfg *relay.Config) { cfg.Hostname = "relay example.test" }},
		{"Hostname", func(cfg *relay.Config) { cfg.Hostname = "exämple..test" }},
		{"Hostname", func(cfg *relay.Config) { cfg.Hostname = "[192.0.2.1]" }},
		{"Postmaster", func(cfg *relay.Config) { cfg.Postmaster = "postmästare@example.test" }},
		{"Postmaster", func(cfg *relay.Config) { cfg.Postmaster = "a b" }},
		{"DefaultDomain", func(cfg *relay.Config) { cfg.DefaultDomain = "exämple..test" }},
		{"Connectors[0].FQDN", func(cfg *relay.Config) { cfg.Connectors[0].FQDN = "exämple.test" }},
		{"Connectors[0].Banner", func(cfg *relay.Config) {
			cfg.Connectors[0].Banner = "220 " +
				"exämple.test"
		}},
		{"SendConnectors[0].FQDN",
			func(cfg *relay.Config) { cfg.SendConnectors[0].FQDN = "exämple.test" }},
		{"SendConnectors[0].Hosts[0]", func(cfg *relay.Config) {
			cfg.SendConnectors[0].Hosts = []string{"exämple.test"}
		}},
		{"SendConnectors[0].TLSDomain", func(cfg *relay.Config) {
			cfg.SendConnectors[0].TLS = connector.TLSDomainValidation
			cfg.SendConnectors[0].TLSDomain = "exämple.test"
		}},
		{"Mailboxes.TLSDomain", func(cfg *relay.Config) {
			cfg.Mailboxes = delivery.SMTP(
				connector.NextHop{Hosts: []string{"a.test"}, TLSDomain: "a b"},
			)
		}},
		{"Mailboxes.RootCAs", func(cfg *relay.Config) {
			cfg.Mailboxes = delivery.SMTP(
				connector.NextHop{Hosts: []string{"a.test"}, RootCAs: x509.NewCertPool()},
			)
		}},
		{"Mailboxes.Hosts[0]", func(cfg *relay.Config) {
			cfg.Mailboxes = delivery.SMTP(connector.NextHop{Hosts: []string{"exämple..test:25"}})
		}},
		{"Mailboxes.Hosts[0]", func(cfg *relay.Config) {
			cfg.Mailboxes = delivery.SMTP(connector.NextHop{Hosts: []string{"a.test\r\nb"}})
		}},
		{"DKIM[0].Domain",
			func(cfg *relay.Config) { cfg.DKIM = []msgauth.Key{{Domain: "exämple.test"}} }},
		{"DKIM[0].Selector", func(cfg *relay.Config) {
			cfg.DKIM = []msgauth.Key{{Domain: "example.test", Selector: "ä"}}
		}},
	} {
		cfg, _ := config()
		cfg.Transport = nil
		cfg.SendConnectors = []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(),
			NextHop: connector.NextHop{Hosts: []string{"smart.test"}},
		}}
		if _, err := relay.New(cfg); err != nil {
			t.Fatal(err)
		}
		tt.change(&cfg)
		if _, err := relay.New(cfg); err == nil ||
			!strings.Contains(err.Error(), "\n  "+tt.field+": ") {
			t.Errorf("%s: %v", tt.field, err)
		}
	}
	cfg, _ := config()
	cfg.Mailboxes = delivery.SMTP(connector.NextHop{
		Hosts: []string{"exämple.test", "exämple.test:25", "mail_store:24", "192.0.2.1",
			"[2001:db8::1]:25"},
		TLS: connector.TLSDomainValidation, TLSDomain: "exämple.test",
	})
	if _, err := relay.New(cfg); err != nil {
		t.Error(err)
	}
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
