package relay_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/relaytest"
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

// A recipient whose domain alone is international can go to a host without
// SMTPUTF8, and the trace field of the relay does not stand in the way.
func TestInternationalDomainWithoutSMTPUTF8(t *testing.T) {
	s := sinkFor(t, nil)
	w := outgoing(t, nil, smart("out", "*", s.addr()))
	submit(t, w.relay, "app@b\u00fccher.test", "x@b\u00fccher.test")
	m := s.wait(t)
	if m.from != "app@xn--bcher-kva.test" || fmt.Sprint(m.to) != "[x@xn--bcher-kva.test]" {
		t.Errorf("from %s to %v", m.from, m.to)
	}
	header, _, _ := strings.Cut(m.content, "\r\n\r\n")
	if !strings.Contains(header, "for <x@xn--bcher-kva.test>") {
		t.Errorf("header:\n%s", header)
	}
	// A local part has no other spelling.
	submit(t, w.relay, "app@example.test", "j\u00f6rg@b\u00fccher.test")
	if e := w.events.wait(t, kind(event.Bounced)); e.Enhanced != "5.6.7" {
		t.Errorf("event %+v", e)
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

// mailDNS knows mail domains and their hosts, all at 127.0.0.1.
func mailDNS(domainsAndHosts ...string) *relaytest.Zone {
	z := relaytest.NewZone()
	for pair := range slices.Chunk(domainsAndHosts, 2) {
		z.MX(pair[0], 10, pair[1]).Host(pair[1], "127.0.0.1")
	}
	return z
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

// A domain that is an alias is not unknown for good while its target is not
// found.
func TestAliasIsNotUnknown(t *testing.T) {
	mx := smart("mx", "*")
	w := outgoing(t, func(c *relay.Config) {
		c.Resolver = relaytest.NewZone().Alias("a.test", "gone.test")
	}, mx)
	submit(t, w.relay, "alice@example.test", "x@a.test")
	if e := w.events.wait(t, kind(event.Deferred)); e.Enhanced != "4.4.3" {
		t.Errorf("event %+v", e)
	}
}

// A stranger's DNS does not lead into this network.
func TestMXAtPrivateAddress(t *testing.T) {
	s := sinkFor(t, func(string) string { t.Error("a command arrived"); return "" })
	port := netip.MustParseAddrPort(s.addr()).Port()
	mx := &connector.SendConnector{
		Name: "mx", AddressSpaces: connector.AllDomains(),
		NextHop: connector.NextHop{Port: int(port)},
	}
	w := outgoing(t, func(c *relay.Config) { c.Resolver = mailDNS("a.test", "mail.a.test") }, mx)
	submit(t, w.relay, "alice@example.test", "x@a.test", "x@[127.0.0.1]")
	if e := w.events.wait(t, kind(event.Deferred)); e.To[0] != "x@a.test" || e.Enhanced != "4.4.4" {
		t.Errorf("event %+v", e)
	}
	e := w.events.wait(t, kind(event.Bounced))
	if e.To[0] != "x@[127.0.0.1]" || e.Enhanced != "5.1.2" {
		t.Errorf("event %+v", e)
	}
}

// What the DNS sends to a listener of the relay goes round in circles.
func TestListensAt(t *testing.T) {
	cfg := relay.Config{}
	for i, b := range []string{"127.0.0.1:2501", "0.0.0.0:2502", "[::]:2503", "127.0.0.1:2504"} {
		cfg.Connectors = append(cfg.Connectors, &connector.Connector{
			Bindings: []netip.AddrPort{netip.MustParseAddrPort(b)}, Disabled: i == 3,
		})
	}
	for address, want := range map[string]bool{
		"127.0.0.1:2501": true, "127.0.0.2:2501": false, "127.0.0.1:25": false,
		"127.0.0.1:2502": true, "[::1]:2502": false, "192.0.2.1:2502": false,
		"127.0.0.1:2503": true, "[::1]:2503": true, "[2001:db8::1]:2503": false,
		"127.0.0.1:2504": false,
	} {
		if got := relay.ListensAt(cfg, netip.MustParseAddrPort(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

// TestMX sends to two domains: each has a transaction of its own. A third does
// not exist.
func TestMX(t *testing.T) {
	s := sinkFor(t, nil)
	port := netip.MustParseAddrPort(s.addr()).Port()
	mx := &connector.SendConnector{
		Name: "mx", AddressSpaces: connector.AllDomains(),
		NextHop: connector.NextHop{Port: int(port),
			TLS: connector.TLSNone, AllowPrivateAddresses: true},
	}
	w := outgoing(t, func(c *relay.Config) {
		c.Resolver = mailDNS("a.test", "mail.a.test", "b.test", "mail.b.test")
	}, mx)
	submit(
		t, w.relay, "alice@example.test", "x@a.test", "y@b.test", "z@a.test", "nobody@nowhere.test",
	)
	got := map[string]bool{fmt.Sprint(s.wait(t).to): true, fmt.Sprint(s.wait(t).to): true}
	if !got["[x@a.test z@a.test]"] || !got["[y@b.test]"] {
		t.Errorf("transactions %v", got)
	}
	report := w.mailboxes.wait(t, 1)[0]
	if !strings.Contains(report.content, "nobody@nowhere.test") ||
		strings.Contains(report.content, "no such host") {
		t.Errorf("report %s", report.content)
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
	case <-time.After(10 * time.Second):
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

// TestSchedule measures the waits between attempts up to the expiry.
func TestSchedule(t *testing.T) {
	for _, tt := range []struct {
		name     string
		retry    delivery.Retry
		waits    []time.Duration
		attempts int // at least, at most one more
	}{
		{
			name: "own",
			retry: delivery.Retry{
				Schedule: []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute},
				Expires:  2 * time.Hour,
			},
			waits: []time.Duration{
				time.Minute, 5 * time.Minute, 15 * time.Minute, 15 * time.Minute, 15 * time.Minute,
			},
		},
		{
			name: "default",
			waits: []time.Duration{
				time.Minute, time.Minute, time.Minute, time.Minute,
				5 * time.Minute, 5 * time.Minute, 5 * time.Minute, 5 * time.Minute, 5 * time.Minute,
				5 * time.Minute,
				10 * time.Minute, 10 * time.Minute, 10 * time.Minute,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var made []time.Time
				box, events := newCapture(), new(record)
				cfg := local(box, delivery.Mailbox(func(
					context.Context, domains.Address, *delivery.Attempt,
				) error {
					made = append(made, time.Now())
					return relay.Defer(451, "4.2.1", "later")
				}))
				cfg.Retry, cfg.Events = tt.retry, events.add
				r := run(t, cfg)
				began := time.Now()
				submit(t, r, "app@example.test", "x@elsewhere.test")
				time.Sleep(72 * time.Hour)
				synctest.Wait()
				for i, want := range tt.waits {
					// A tenth of jitter, and the scheduler's own millisecond.
					if got := made[i+1].Sub(made[i]); got < want ||
						got > want+want/10+10*time.Millisecond {
						t.Errorf("wait %d is %v, want %v", i, got, want)
					}
				}
				expires := tt.retry.Expires
				if expires == 0 {
					expires = 48 * time.Hour
				}
				deferred, expired := events.all(event.Deferred), events.all(event.Expired)
				if len(deferred) != len(made) || len(expired) != 1 ||
					expired[0].Attempt != len(made) || expired[0].Report == "" {
					t.Fatalf("%d attempts, events %s", len(made), show(expired))
				}
				// It ends in time, without another attempt.
				if age := expired[0].Time.Sub(began); age < expires || age > expires+time.Second {
					t.Errorf("expired after %v", age)
				}
				if age := made[len(made)-1].Sub(began); age >= expires {
					t.Errorf("the last attempt after %v", age)
				}
				reports := 1
				if expires > 4*time.Hour {
					reports = 2 // one of the delay
				}
				got := box.wait(t, 1)
				if last := got[len(got)-1].content; len(got) != reports ||
					!strings.Contains(last, "Status: 4.4.7") || !strings.Contains(last, "later") {
					t.Errorf("reports %v", got)
				}
			})
		})
	}
}

// TestJitterSpreads looks for a spread among messages that failed together.
func TestJitterSpreads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		events := new(record)
		cfg := local(newCapture(), delivery.Mailbox(func(
			context.Context, domains.Address, *delivery.Attempt,
		) error {
			return relay.Defer(451, "4.2.1", "later")
		}))
		cfg.Retry = delivery.Retry{Schedule: []time.Duration{time.Hour}}
		cfg.Events = events.add
		r := run(t, cfg)
		for range 50 {
			submit(t, r, "", "x@elsewhere.test")
		}
		synctest.Wait()
		next := map[time.Duration]bool{}
		for _, e := range events.all(event.Deferred) {
			next[e.Next.Sub(e.Time).Truncate(time.Second)] = true
		}
		if len(next) < 25 {
			t.Errorf("50 messages wait for %d different times", len(next))
		}
	})
}

// TestNotifyAtExpiry lets messages expire whose senders asked for this or that.
func TestNotifyAtExpiry(t *testing.T) {
	for notify, reported := range map[spool.Notify]bool{
		0: true, spool.NotifyFailure: true, spool.NotifyFailure | spool.NotifySuccess: true,
		spool.NotifyNever: false, spool.NotifySuccess: false, spool.NotifyDelay: false,
	} {
		t.Run(notify.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				box, events := newCapture(), new(record)
				cfg := local(
					box,
					delivery.Mailbox(func(
						context.Context, domains.Address, *delivery.Attempt,
					) error {
						return errSecret
					}),
				)
				cfg.Events = events.add
				cfg.Retry.DelayNotification = -1
				r := run(t, cfg)
				_, err := r.Submit(t.Context(), &relay.Message{
					From: "app@example.test", To: []string{"x@elsewhere.test"},
					Content: strings.NewReader(text),
					Notify:  notify, EnvelopeID: "order 1042", Return: "HDRS",
				})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(49 * time.Hour)
				synctest.Wait()
				box.mu.Lock()
				defer box.mu.Unlock()
				if len(box.got) != 0 != reported {
					t.Errorf("%d reports", len(box.got))
				}
				if reported &&
					(!strings.Contains(
						box.got[0].content, "Original-Envelope-Id: order 1042",
					) || strings.Contains(box.got[0].content, "\r\nbody\r\n")) {
					t.Errorf("report %s", box.got[0].content)
				}
				if e := events.all(event.Expired); len(e) != 1 || (e[0].Report != "") != reported {
					t.Errorf("events %s", show(e))
				}
			})
		})
	}
}

// TestStopIsNoAttempt ends a relay during an attempt; the next one makes it
// again, as the first.
func TestStopIsNoAttempt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		store := memspool.New(nil)
		began := make(chan struct{})
		cfg := relay.Config{
			Hostname: "relay.example.test", Spool: store, DrainTimeout: time.Second,
			Transport: delivery.TransportFunc(func(
				ctx context.Context, a *delivery.Attempt,
			) []delivery.Result {
				close(began)
				<-ctx.Done()
				return nil
			}),
		}
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		submit(t, r, "", "x@elsewhere.test")
		<-began
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		number := 0
		cfg.Transport = delivery.Mailbox(func(
			_ context.Context, _ domains.Address, a *delivery.Attempt,
		) error {
			number = a.Number
			return nil
		})
		run(t, cfg)
		synctest.Wait()
		if number != 1 {
			t.Errorf("attempt %d", number)
		}
	})
}

// TestResultsOfTransports gives results that are not one for each recipient.
func TestResultsOfTransports(t *testing.T) {
	taken := delivery.Result{Delivered: true}
	for name, results := range map[string][]delivery.Result{
		"none":                         nil,
		"few":                          {taken},
		"many":                         {taken, taken, {Err: relay.Reject(550, "5.1.1", "no")}, {}},
		"made for all and half filled": {taken, {}},
		"that say yes and no":          {taken, {Delivered: true, Err: errSecret}},
		"that say yes to a refusal": {
			taken, delivery.Taken("mx", delivery.Reply{Code: 550, Enhanced: "5.1.1", Text: "No"}),
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				events := new(record)
				cfg := local(
					newCapture(),
					delivery.TransportFunc(func(
						context.Context, *delivery.Attempt,
					) []delivery.Result {
						return results
					}),
				)
				cfg.Events = events.add
				r := run(t, cfg)
				submit(t, r, "", "x@elsewhere.test", "y@elsewhere.test")
				synctest.Wait()
				delivered, deferred := len(
					events.all(event.Delivered),
				), len(events.all(event.Deferred))
				want := 0
				for _, r := range results[:min(2, len(results))] {
					if r.OK() {
						want++
					}
				}
				if delivered != want || deferred != 2-want {
					t.Errorf("events %s", show(events.all()))
				}
			})
		})
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
