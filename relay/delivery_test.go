package relay_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// smart is a send connector to hosts.
func smart(name, space string, hosts ...string) *connector.SendConnector {
	return &connector.SendConnector{
		Name: name, AddressSpaces: []connector.AddressSpace{{Domain: space}},
		NextHop: connector.NextHop{Hosts: hosts,
			TLS: connector.TLSNone},
	}
}

// outgoing starts a relay that sends by connectors.
func outgoing(t *testing.T, change func(*relay.Config), list ...*connector.SendConnector) *world {
	return start(t, func(c *relay.Config) {
		c.Transport = nil
		c.SendConnectors = list
		c.AcceptedDomains = c.AcceptedDomains[:1]
		c.Retry = delivery.Retry{Schedule: []time.Duration{time.Second}}
		if change != nil {
			change(c)
		}
	})
}

func TestSmartHosts(t *testing.T) {
	a, b := sinkFor(t, nil), sinkFor(t, nil)
	w := outgoing(t, nil, smart("a", "a.test", a.addr()), smart("b", "*.b.test", b.addr()))
	submit(
		t, w.relay, "app@example.test", "x@a.test", "y@sub.b.test", "z@b.test", "u@a.test",
		"alice@example.test",
	)
	if m := a.wait(t); m.from != "app@example.test" || fmt.Sprint(m.to) != "[x@a.test u@a.test]" ||
		!strings.HasSuffix(m.content, "\r\n\r\nbody\r\n") {
		t.Errorf("a got %+v", m)
	}
	if m := b.wait(t); fmt.Sprint(m.to) != "[y@sub.b.test z@b.test]" {
		t.Errorf("b got %+v", m)
	}
	w.mailboxes.wait(t, 1)
	e := w.events.wait(t, func(e event.Event) bool {
		return e.Kind == event.Delivered && e.To[0] == "x@a.test"
	})
	if e.Code != 250 || e.Text == "" || !strings.HasPrefix(e.Host, "127.0.0.1 ") ||
		!strings.HasSuffix(a.addr(), e.Host[strings.LastIndexByte(e.Host, 58):]) || e.Attempt != 1 {
		t.Errorf("event %+v", e)
	}
}

// TestFailOver has one smart host that does not answer.
func TestFailOver(t *testing.T) {
	dead, alive := sinkFor(t, nil), sinkFor(t, nil)
	dead.close()
	w := outgoing(t, nil, smart("out", "*", dead.addr(), alive.addr()))
	for range 3 {
		submit(t, w.relay, "app@example.test", "x@elsewhere.test")
		alive.wait(t)
	}
}

// TestRemoteReplies lets the next hop answer for each recipient.
func TestRemoteReplies(t *testing.T) {
	later := make(chan struct{})
	s := sinkFor(t, func(line string) string {
		switch {
		case strings.Contains(line, "bad@"):
			return "550 5.1.1 no such user"
		case strings.Contains(line, "busy@"):
			select {
			case <-later:
			default:
				close(later)
				return "451 4.2.1 later"
			}
		}
		return ""
	})
	w := outgoing(t, nil, smart("out", "*", s.addr()))
	submit(
		t, w.relay, "alice@example.test", "good@elsewhere.test", "bad@elsewhere.test",
		"busy@elsewhere.test",
	)
	if m := s.wait(t); fmt.Sprint(m.to) != "[good@elsewhere.test]" {
		t.Errorf("first %+v", m)
	}
	if m := s.wait(t); fmt.Sprint(m.to) != "[busy@elsewhere.test]" {
		t.Errorf("second %+v", m)
	}
	report := w.mailboxes.wait(t, 1)[0]
	for _, want := range []string{
		"Final-Recipient: rfc822; bad@elsewhere.test",
		"Diagnostic-Code: smtp; 550 5.1.1 no such user", "Remote-MTA: dns; 127.0.0.1",
	} {
		if !strings.Contains(report.content, want) {
			t.Errorf("report lacks %q:\n%s", want, report.content)
		}
	}
	e := w.events.wait(t, kind(event.Bounced))
	if e.Code != 550 || e.Enhanced != "5.1.1" || e.Text != "no such user" || e.Report == "" {
		t.Errorf("event %+v", e)
	}
	d := w.events.wait(t, kind(event.Deferred))
	if d.Code != 451 || d.Attempt != 1 || !d.Next.After(d.Time) {
		t.Errorf("event %+v", d)
	}
	if e := w.events.wait(t, func(e event.Event) bool {
		return e.Kind == event.Delivered && e.To[0] == "busy@elsewhere.test"
	}); e.Attempt != 2 {
		t.Errorf("event %+v", e)
	}
}

// A send connector trusts the authorities it is given, and shows its
// certificate.
func TestAuthoritiesOfASendConnector(t *testing.T) {
	server, mine := certificate(t), certificate(t)
	server.ClientAuth = tls.RequireAnyClientCert
	leaf, err := x509.ParseCertificate(server.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &sink{mail: make(chan sent, 10)}
	go func() {
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			go s.serve(c)
		}
	}()
	known := smart("known", "a.test", l.Addr().String())
	known.TLS, known.TLSDomain = connector.TLSDomainValidation, "relay.example.test"
	known.ImplicitTLS, known.RootCAs = true, x509.NewCertPool()
	known.RootCAs.AddCert(leaf)
	known.Certificates = mine.Certificates
	strange := *known
	strange.Name, strange.RootCAs = "strange", nil
	strange.AddressSpaces = []connector.AddressSpace{{Domain: "b.test"}}
	w := outgoing(t, nil, known, &strange)
	submit(t, w.relay, "app@example.test", "x@a.test", "x@b.test")
	if m := s.wait(t); fmt.Sprint(m.to) != "[x@a.test]" {
		t.Errorf("arrived: %+v", m)
	}
	e := w.events.wait(t, kind(event.Deferred))
	if e.To[0] != "x@b.test" || e.Enhanced != "4.7.5" {
		t.Errorf("event %+v", e)
	}
}

// TestUnreachable queues mail that no send connector is for; it waits until one
// is.
func TestUnreachable(t *testing.T) {
	s := sinkFor(t, nil)
	w := outgoing(t, nil, smart("a", "a.test", s.addr()))
	submit(t, w.relay, "app@example.test", "x@b.test")
	e := w.events.wait(t, kind(event.Deferred))
	if e.Enhanced != "4.4.4" {
		t.Errorf("event %+v", e)
	}
	cfg, _ := config()
	cfg.Transport, cfg.Events, cfg.Mailboxes = nil, w.events.add, w.mailboxes
	cfg.AcceptedDomains = cfg.AcceptedDomains[:1]
	cfg.SendConnectors = []*connector.SendConnector{
		smart("a", "a.test", s.addr()), smart("b", "b.test", s.addr()),
	}
	if err := w.relay.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if m := s.wait(t); fmt.Sprint(m.to) != "[x@b.test]" {
		t.Errorf("got %+v", m)
	}
}

// TestTooLarge sends what no connector takes; the report is small and goes out.
func TestTooLarge(t *testing.T) {
	s := sinkFor(t, nil)
	small := smart("small", "*", s.addr())
	small.MaxMessageBytes = 60_000
	w := outgoing(t, nil, small)
	_, err := w.relay.Submit(t.Context(), &relay.Message{
		From: "sender@elsewhere.test", To: []string{"x@elsewhere.test"},
		Content: strings.NewReader(
			"Subject: large\n\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 1000),
		),
	})
	if err != nil {
		t.Fatal(err)
	}
	e := w.events.wait(t, kind(event.Bounced))
	if e.Enhanced != "5.3.4" || e.Report == "" {
		t.Errorf("event %+v", e)
	}
	m := s.wait(t)
	if m.from != "" || fmt.Sprint(m.to) != "[sender@elsewhere.test]" ||
		!strings.Contains(m.content, "Status: 5.3.4") {
		t.Errorf("report %+v", m)
	}
}

// TestReloadMovesNextHop changes a smart host: an idle connection to the old
// one must not be used again.
func TestReloadMovesNextHop(t *testing.T) {
	a, b := sinkFor(t, nil), sinkFor(t, nil)
	w := outgoing(t, nil, smart("out", "*", a.addr()))
	submit(t, w.relay, "app@example.test", "x@elsewhere.test")
	a.wait(t)
	w.events.wait(t, kind(event.Delivered))
	cfg, _ := config()
	cfg.Transport, cfg.Events, cfg.AcceptedDomains = nil, w.events.add, cfg.AcceptedDomains[:1]
	cfg.SendConnectors = []*connector.SendConnector{smart("out", "*", b.addr())}
	if err := w.relay.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	submit(t, w.relay, "app@example.test", "y@elsewhere.test")
	select {
	case m := <-a.mail:
		t.Errorf("the old host got %+v", m)
	case <-b.mail:
	case <-time.After(time.Minute):
		t.Error("no message arrived")
	}
}

// TestReportParameters sends what RFC 3461 lets a sender ask for and looks for
// it in the report.
func TestReportParameters(t *testing.T) {
	body := strings.Repeat("some words\r\n", 10)
	for _, tt := range []struct {
		name, mail, rcpt string
		want, not        []string
		none             bool
	}{
		{
			name: "all", mail: " RET=HDRS ENVID=QQ+2B314159",
			rcpt: " NOTIFY=FAILURE ORCPT=rfc822;Bob+2Bnews@example.com",
			want: []string{
				"Original-Envelope-Id: QQ+314159",
				"Original-Recipient: rfc822; Bob+news@example.com", "Subject: asked",
				"text/rfc822-headers",
			},
			not: []string{"some words"},
		},
		{
			name: "full", mail: " RET=FULL", rcpt: " NOTIFY=FAILURE,DELAY",
			want: []string{"some words", "message/rfc822"},
		},
		{
			name: "nothing asked", want: []string{"some words"},
			not: []string{"Original-Envelope-Id", "Original-Recipient"},
		},
		{name: "never", rcpt: " NOTIFY=NEVER", none: true},
		{name: "success only", rcpt: " NOTIFY=SUCCESS", none: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, func(c *relay.Config) {
				c.Transport.(*capture).reply = func(string) error {
					return relay.Reject(550, "5.1.1", "no")
				}
			})
			c := w.dial(t, "apps")
			c.Play(
				"C: MAIL FROM:<alice@example.test>" + tt.mail +
					"\nS: 250\nC: RCPT TO:<x@elsewhere.test>" + tt.rcpt +
					"\nS: 250\nC: DATA\nS: 354\n",
			)
			c.Send("Subject: asked\r\n\r\n" + body + ".\r\n")
			c.Expect("250")
			e := w.events.wait(t, kind(event.Bounced))
			if (e.Report == "") != tt.none {
				t.Errorf("event %+v", e)
			}
			if tt.none {
				if stats, err := w.relay.Stats(t.Context()); err != nil || stats.Messages != 0 {
					t.Errorf("stats %+v, %v", stats, err)
				}
				return
			}
			report := w.mailboxes.wait(t, 1)[0].content
			for _, s := range tt.want {
				if !strings.Contains(report, s) {
					t.Errorf("report lacks %q:\n%s", s, report)
				}
			}
			for _, s := range tt.not {
				if strings.Contains(report, s) {
					t.Errorf("report has %q:\n%s", s, report)
				}
			}
		})
	}
}

// TestRelayedParameters hands NOTIFY and the like on to a next hop that knows
// them.
func TestRelayedParameters(t *testing.T) {
	mail := make(chan string, 10)
	s := sinkFor(t, func(line string) string {
		if strings.HasPrefix(line, "MAIL") {
			mail <- line
		}
		return ""
	})
	w := outgoing(t, nil, smart("out", "*", s.addr()))
	c := w.dial(t, "apps")
	c.Play("C: MAIL FROM:<app@example.test> RET=HDRS ENVID=QQ+2B1 BODY=8BITMIME\nS: 250\n" +
		"C: RCPT TO:<x@elsewhere.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Bob@example.com\nS: " +
		"250\n" + message + "S: 250")
	m := s.wait(t)
	if got := <-mail; !strings.Contains(got, "RET=HDRS") ||
		!strings.Contains(got, "ENVID=QQ+2B1") || !strings.Contains(got, "BODY=8BITMIME") {
		t.Errorf("MAIL %q", got)
	}
	if !strings.Contains(m.params[0], "NOTIFY=SUCCESS,DELAY") ||
		!strings.Contains(m.params[0], "ORCPT=rfc822;Bob@example.com") {
		t.Errorf("RCPT %q", m.params)
	}
}

// TestLMTP delivers to a mail store that answers for each recipient after the
// content.
func TestLMTP(t *testing.T) {
	n := 0
	store := sinkFor(t, func(line string) string {
		if line == "." {
			if n++; n == 2 {
				return "552 5.2.2 mailbox full"
			}
		}
		return ""
	})
	store.lmtp = true
	w := start(t, func(c *relay.Config) {
		c.Mailboxes = delivery.SMTP(connector.NextHop{Hosts: []string{store.addr()}, LMTP: true})
	})
	submit(t, w.relay, "", "alice@example.test", "bob@example.test")
	if e := w.events.wait(t, kind(event.Delivered)); e.To[0] != "alice@example.test" {
		t.Errorf("event %+v", e)
	}
	if e := w.events.wait(t, kind(event.Bounced)); e.To[0] != "bob@example.test" ||
		e.Enhanced != "5.2.2" {
		t.Errorf("event %+v", e)
	}
}

// TestSMTPFaults finds what is wrong with an SMTP transport, and shows that it
// does nothing on its own.
func TestSMTPFaults(t *testing.T) {
	_, err := relay.New(relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil),
		Mailboxes: delivery.SMTP(connector.NextHop{}),
		Transport: delivery.SMTP(connector.NextHop{
			Hosts: []string{"a.test", "b.test:0", ""}, TLS: connector.TLSDomainValidation,
		}),
	})
	for _, want := range []string{
		"Mailboxes.Hosts:", "Transport.TLSDomain:", "Transport.Hosts[1]:", "Transport.Hosts[2]:",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no fault at %s in %v", want, err)
		}
	}
	got := delivery.SMTP(connector.NextHop{Hosts: []string{"a.test"}}).Deliver(
		t.Context(), &delivery.Attempt{Recipients: make([]spool.Recipient, 2)},
	)
	if len(got) != 2 || got[0].Err == nil || got[1].Err == nil {
		t.Errorf("results %v", got)
	}
}
