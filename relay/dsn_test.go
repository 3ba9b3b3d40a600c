package relay_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// ask submits a short message that asks for reports.
func ask(t testing.TB, r *relay.Relay, n spool.Notify, from string, to ...string) {
	t.Helper()
	m := &relay.Message{
		From: from, To: to, Content: strings.NewReader(text), Notify: n, EnvelopeID: "order 1042",
		Return: "FULL",
	}
	if _, err := r.Submit(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// actions are what a report says, "delivered x@elsewhere.test 2.0.0".
func actions(report string) string {
	var all []string
	for _, m := range regexp.MustCompile(
		`Final-Recipient: rfc822; (\S+)\r\nAction: (\S+)\r\nStatus: (\S+)`,
	).FindAllStringSubmatch(report, -1) {
		all = append(all, m[2]+" "+m[1]+" "+m[3])
	}
	return strings.Join(all, ", ")
}

// passive is a sink that refuses what it is told to.
func passive(t *testing.T, refuse, lmtp, noDSN bool) *sink {
	s := sinkFor(t, func(line string) string {
		if refuse && strings.HasPrefix(line, "RCPT") {
			return "550 5.1.1 No such user"
		}
		return ""
	})
	s.lmtp, s.noDSN = lmtp, noDSN
	return s
}

// answering is a transport of the application that refuses what it is told to.
func answering(refuse bool, res delivery.Result) delivery.Transport {
	if refuse {
		res = delivery.Result{Err: relay.Reject(550, "5.1.1", "No such user")}
	}
	return delivery.TransportFunc(func(context.Context, *delivery.Attempt) []delivery.Result {
		return []delivery.Result{res}
	})
}

// TestReportsByHop has a message taken or refused by next hops of every kind,
// for senders who asked for this or that.
func TestReportsByHop(t *testing.T) {
	for _, tt := range []struct {
		name   string
		inside bool   // the hop has the mailboxes
		action string // reported of success
		status string
		set    func(t *testing.T, c *relay.Config, refuse bool)
	}{
		{"mailboxes", true, "delivered", "2.0.0", func(_ *testing.T, c *relay.Config, refuse bool) {
			c.Mailboxes = answering(refuse, delivery.Result{Delivered: true})
		}},
		{"mailboxes that tell more", true, "delivered", "2.1.5", func(
			_ *testing.T, c *relay.Config, refuse bool,
		) {
			c.Mailboxes = answering(
				refuse,
				delivery.Result{
					Delivered: true, Host: "store.example.test",
					Reply: delivery.Reply{Code: 250, Enhanced: "2.1.5", Text: "saved"},
				},
			)
		}},
		{"mailboxes with DSN", true, "", "", func(_ *testing.T, c *relay.Config, refuse bool) {
			c.Mailboxes = answering(refuse, delivery.Result{Delivered: true, DSN: true})
		}},
		{"mailboxes by LMTP", true, "delivered", "2.0.0", func(
			t *testing.T, c *relay.Config, refuse bool,
		) {
			c.Mailboxes = delivery.SMTP(connector.NextHop{
				Hosts: []string{passive(t, refuse, true, true).addr()}, LMTP: true,
			})
		}},
		{"mailboxes by LMTP with DSN", true, "", "", func(
			t *testing.T, c *relay.Config, refuse bool,
		) {
			c.Mailboxes = delivery.SMTP(connector.NextHop{
				Hosts: []string{passive(t, refuse, true, false).addr()}, LMTP: true,
			})
		}},
		{"mailboxes by SMTP", true, "relayed", "2.0.0", func(
			t *testing.T, c *relay.Config, refuse bool,
		) {
			c.Mailboxes = delivery.SMTP(
				connector.NextHop{Hosts: []string{passive(t, refuse, false, true).addr()}},
			)
		}},
		{"mailboxes by SMTP with DSN", true, "", "", func(
			t *testing.T, c *relay.Config, refuse bool,
		) {
			c.Mailboxes = delivery.SMTP(
				connector.NextHop{Hosts: []string{passive(t, refuse, false, false).addr()}},
			)
		}},
		{"mailboxes found late", true, "delivered", "2.0.0", func(
			_ *testing.T, c *relay.Config, refuse bool,
		) {
			c.Mailboxes = answering(refuse, delivery.Result{Delivered: true})
			known, down := c.AcceptedDomains[0].Recipients, true
			c.AcceptedDomains[0].SkipLookup = true
			c.AcceptedDomains[0].Recipients = domains.ResolverFunc(func(
				ctx context.Context, a domains.Address,
			) (bool, error) {
				if down {
					down = false
					return false, errSecret
				}
				return known.Resolve(ctx, a)
			})
		}},
		{"transport", false, "relayed", "2.0.0", func(_ *testing.T, c *relay.Config, refuse bool) {
			c.Transport = answering(
				refuse, delivery.Result{Delivered: true, Reply: delivery.Reply{Text: secret}},
			)
		}},
		{"transport with DSN", false, "", "", func(_ *testing.T, c *relay.Config, refuse bool) {
			c.Transport = answering(refuse, delivery.Result{Delivered: true, DSN: true})
		}},
		{"transport by LMTP", false, "delivered", "2.0.0", func(
			t *testing.T, c *relay.Config, refuse bool,
		) {
			c.Transport = delivery.SMTP(connector.NextHop{
				Hosts: []string{passive(t, refuse, true, true).addr()}, LMTP: true,
			})
		}},
		{"smart host", false, "relayed", "2.0.0", func(t *testing.T, c *relay.Config, refuse bool) {
			c.SendConnectors = []*connector.SendConnector{
				smart("out", "*", passive(t, refuse, false, true).addr()),
			}
		}},
		{"smart host with DSN", false, "", "", func(t *testing.T, c *relay.Config, refuse bool) {
			c.SendConnectors = []*connector.SendConnector{
				smart("out", "*", passive(t, refuse, false, false).addr()),
			}
		}},
		{"MX", false, "relayed", "2.0.0", func(t *testing.T, c *relay.Config, refuse bool) {
			mx := smart("mx", "*")
			mx.AllowPrivateAddresses = true
			mx.Port = int(netip.MustParseAddrPort(passive(t, refuse, false, true).addr()).Port())
			c.SendConnectors, c.Resolver = []*connector.SendConnector{mx}, mailDNS(
				"elsewhere.test", "mail.elsewhere.test",
			)
		}},
	} {
		for _, notify := range []spool.Notify{
			0, spool.NotifyNever, spool.NotifySuccess, spool.NotifyFailure, spool.NotifyDelay,
			spool.NotifySuccess | spool.NotifyFailure | spool.NotifyDelay,
		} {
			for _, refuse := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/%v", tt.name, notify, refuse), func(t *testing.T) {
					cfg, w := config()
					cfg.Connectors = nil
					cfg.Verifier = nil
					cfg.AcceptedDomains = cfg.AcceptedDomains[:1]
					to, from, back := "x@elsewhere.test", "alice@example.test", w.mailboxes
					if tt.inside {
						to, from, back = "alice@example.test", "app@elsewhere.test", w.out
					} else {
						cfg.Transport = nil
					}
					tt.set(t, &cfg, refuse)
					r := run(t, cfg)
					ask(t, r, notify, from, to)
					fate, want := event.Delivered, ""
					switch {
					case refuse:
						if fate = event.Bounced; notify == 0 || notify&spool.NotifyFailure != 0 {
							want = "failed " + to + " 5.1.1"
						}
					case tt.action != "" && notify&spool.NotifySuccess != 0:
						want = tt.action + " " + to + " " + tt.status
					}
					e := w.events.wait(t, func(e event.Event) bool {
						return e.Kind == fate && e.From == from
					})
					if (e.Report != "") != (want != "") {
						t.Fatalf("event names the report %q, want %q", e.Report, want)
					}
					if want == "" {
						return
					}
					report := back.wait(t, 1)[0]
					if got := actions(report.content); got != want || report.from != "" ||
						report.to != from {
						t.Errorf(
							"report to %s from <%s>: %s, want %s", report.to, report.from, got,
							want,
						)
					}
					if !strings.Contains(report.content, "Original-Envelope-Id: order 1042\r\n") ||
						strings.Contains(report.content, secret) {
						t.Errorf("report\n%s", report.content)
					}
					// RFC 3461 section 4.3: only a report of a failure holds
					// the content.
					if strings.Contains(report.content, "\r\n\r\nbody\r\n") != refuse {
						t.Errorf("content in the report\n%s", report.content)
					}
				})
			}
		}
	}
}

// TestReportIsSilent looks at the envelope of every kind of report.
func TestReportIsSilent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		cfg := local(delivery.TransportFunc(func(
			_ context.Context, a *delivery.Attempt,
		) []delivery.Result {
			mu.Lock()
			defer mu.Unlock()
			rcpt := a.Recipients[0]
			got = append(got, fmt.Sprintf("<%s> %s %s", a.Message.From, rcpt.Address, rcpt.Notify))
			return a.All(delivery.Result{Delivered: true})
		}), delivery.Mailbox(func(
			_ context.Context, to domains.Address, a *delivery.Attempt,
		) error {
			switch {
			case to.Local() == "bad" || to.Local() == "late" && a.Number > 40:
				return relay.Reject(550, "5.1.1", "No such user")
			case to.Local() == "late":
				return relay.Defer(451, "4.2.1", "Later")
			}
			return nil
		}))
		events := new(record)
		cfg.Events = events.add
		r := run(t, cfg)
		const all = spool.NotifySuccess | spool.NotifyFailure | spool.NotifyDelay
		for _, to := range []string{"good", "bad", "late"} {
			ask(t, r, all, "app@example.test", to+"@elsewhere.test")
			ask(t, r, all, "", to+"@elsewhere.test")
		}
		time.Sleep(10 * 24 * time.Hour)
		synctest.Wait()
		if len(got) != 4 {
			t.Errorf(
				"%d reports, want of success, of failure, of delay, and of failure after it",
				len(got),
			)
		}
		for _, s := range got {
			if s != "<> app@example.test NEVER" {
				t.Errorf("report %s", s)
			}
		}
		for _, e := range events.all() {
			if e.From == "" && e.Report != "" {
				t.Errorf("report on the null sender's message: %+v", e)
			}
		}
	})
}

// TestDelayOnce puts a recipient's mail off until it expires, over deferrals,
// restarts and crashes.
func TestDelayOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		// hook decides when the first process dies; if it does not say, after
		// six hours. nil: never.
		hook func(h *hooked, die func())
	}{
		{"one process", nil},
		{"restart", func(*hooked, func()) {}},
		{"crash before the step", func(h *hooked, die func()) {
			h.commit = func(_ context.Context, c spool.Commit) error {
				if len(c.Settle) > 0 {
					die()
				}
				return nil
			}
		}},
		{"crash after the step", func(h *hooked, die func()) {
			h.after = func(c spool.Commit) {
				if len(c.Settle) > 0 {
					die()
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				dir, later := t.TempDir(), t.TempDir()
				box, events := newCapture(), new(record)
				cfg := local(box, delivery.Mailbox(func(
					context.Context, domains.Address, *delivery.Attempt,
				) error {
					return &delivery.Error{
						Op: delivery.OpRcpt, Host: "mx.elsewhere.test [192.0.2.1]:25",
						Reply: delivery.Reply{Code: 451, Enhanced: "4.2.1", Text: "Later"},
					}
				}))
				cfg.Events = events.add
				store := &hooked{Store: file(t, dir)}
				cfg.Spool = store
				// what the first process does from now on does not count
				die := sync.OnceFunc(func() {
					if err := os.CopyFS(later, os.DirFS(dir)); err != nil {
						t.Error(err)
					}
				})
				if tt.hook != nil {
					tt.hook(store, die)
				}
				first, stop := process(t, cfg)
				ask(t, first, 0, "app@example.test", "x@elsewhere.test", "y@elsewhere.test")
				began := time.Now()
				if tt.hook != nil {
					time.Sleep(6 * time.Hour)
					synctest.Wait()
					die()
					stop()
					box, events = newCapture(), new(record)
					cfg.Mailboxes, cfg.Events, cfg.Spool = box, events.add, file(t, later)
					_, stop = process(t, cfg)
				}
				time.Sleep(72 * time.Hour)
				synctest.Wait()
				stop()
				var delayed, failed []string
				for _, c := range box.got {
					switch actions(c.content) {
					case "delayed x@elsewhere.test 4.2.1, delayed y@elsewhere.test 4.2.1":
						delayed = append(delayed, c.content)
					case "failed x@elsewhere.test 4.4.7, failed y@elsewhere.test 4.4.7":
						failed = append(failed, c.content)
					default:
						t.Errorf("report\n%s", c.content)
					}
				}
				if len(failed) != 1 {
					t.Errorf("%d reports of failure", len(failed))
				}
				if tt.name == "restart" { // told before it
					if len(delayed) != 0 {
						t.Errorf("%d reports of delay after the restart", len(delayed))
					}
					return
				}
				if len(delayed) != 1 {
					t.Fatalf("%d reports of delay", len(delayed))
				}
				for _, want := range []string{
					"Subject: Your message is delayed\r\n",
					"Remote-MTA: dns; mx.elsewhere.test\r\n",
					"Diagnostic-Code: smtp; 451 4.2.1 Later\r\n",
					"Will-Retry-Until: " + began.Add(48*time.Hour).Format(
						"Mon, 2 Jan 2006 15:04:05 -0700",
					) + "\r\n",
				} {
					if !strings.Contains(delayed[0], want) {
						t.Errorf("no %q in\n%s", want, delayed[0])
					}
				}
				var told []event.Event
				for _, e := range events.all(event.Deferred) {
					if e.Report != "" {
						told = append(told, e)
					}
				}
				if tt.name == "crash after the step" {
					return // whoever told of it is gone
				}
				if len(told) != 2 || told[0].Report != told[1].Report {
					t.Fatalf("events %s", show(told))
				}
				if age := told[0].Time.Sub(began); tt.hook == nil &&
					(age < 4*time.Hour || age > 4*time.Hour+11*time.Minute) {
					t.Errorf("told after %v", age)
				}
			})
		})
	}
}

// process runs a relay until it is told to stop, and closes its store.
func process(t *testing.T, cfg relay.Config) (*relay.Relay, func()) {
	t.Helper()
	cfg.Hostname = "relay.example.test"
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return r, func() {
		t.Helper()
		cancel()
		if err := errors.Join(<-done, cfg.Spool.Close()); err != nil {
			t.Error(err)
		}
	}
}

func file(t *testing.T, dir string) *filespool.Store {
	t.Helper()
	s, err := filespool.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDelayWanted lets messages wait that nobody is told of, or not yet.
func TestDelayWanted(t *testing.T) {
	for _, tt := range []struct {
		name   string
		from   string
		notify spool.Notify
		delay  time.Duration
		want   time.Duration // 0: never
	}{
		{"default", "app@example.test", 0, 0, 4 * time.Hour},
		{"asked", "app@example.test", spool.NotifyDelay, time.Hour, time.Hour},
		{
			"short", "app@example.test", spool.NotifyDelay | spool.NotifyFailure, time.Second,
			3 * time.Hour,
		},
		{"switched off", "app@example.test", spool.NotifyDelay, -1, 0},
		{"after the expiry", "app@example.test", spool.NotifyDelay, 48 * time.Hour, 0},
		{"null sender", "", spool.NotifyDelay, 0, 0},
		{"never", "app@example.test", spool.NotifyNever, 0, 0},
		{"others", "app@example.test", spool.NotifyFailure | spool.NotifySuccess, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				events := new(record)
				cfg := local(newCapture(), delivery.Mailbox(func(
					context.Context, domains.Address, *delivery.Attempt,
				) error {
					return relay.Defer(451, "4.2.1", "Later")
				}))
				cfg.Events = events.add
				cfg.Retry.DelayNotification = tt.delay
				if tt.name == "short" { // the first deferral there is
					cfg.Retry.Schedule = []time.Duration{3 * time.Hour}
				}
				r := run(t, cfg)
				began := time.Now()
				ask(t, r, tt.notify, tt.from, "x@elsewhere.test")
				time.Sleep(72 * time.Hour)
				synctest.Wait()
				var told []time.Duration
				for _, e := range events.all(event.Deferred) {
					if e.Report != "" {
						told = append(told, e.Time.Sub(began))
					}
				}
				if tt.want == 0 && len(told) == 0 {
					return
				}
				if tt.want == 0 || len(told) != 1 || told[0] < tt.want ||
					told[0] > tt.want*11/10+11*time.Minute {
					t.Errorf("told after %v, want %v", told, tt.want)
				}
			})
		})
	}
}

// TestDelayOfClients lets mail of clients wait. What a stranger says of itself
// may be forged, so it has to ask for the report.
func TestDelayOfClients(t *testing.T) {
	for _, tt := range []struct {
		connector string
		notify    spool.Notify
		want      int // reports: 1 of failure, 2 of delay too
	}{
		{"strangers", 0, 1},
		{"strangers", spool.NotifyDelay | spool.NotifyFailure, 2},
		{"hosts", 0, 2},
		{"hosts", spool.NotifyFailure, 1},
	} {
		t.Run(fmt.Sprint(tt.connector, " ", tt.notify), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				back := newCapture()
				cfg := local(delivery.Mailbox(func(
					context.Context, domains.Address, *delivery.Attempt,
				) error {
					return relay.Defer(451, "4.2.1", "Later")
				}), back)
				client := connector.MustParseRange("192.0.2.7")
				strangers := connector.FromInternet("strangers")
				strangers.RemoteIPRanges = []connector.Range{client}
				strangers.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:25")}
				hosts := connector.AnonymousRelay("hosts", client)
				hosts.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.2:25")}
				cfg.Connectors = []*connector.Connector{strangers, hosts}
				cfg.Hostname, cfg.Spool = "relay.example.test", memspool.New(nil)
				r, err := relay.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				c, err := r.OpenSession(
					t.Context(), tt.connector,
					relay.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:1"), Protocol: "HTTP"},
				)
				if err != nil {
					t.Fatal(err)
				}
				m := &relay.Message{
					From: "victim@elsewhere.test", To: []string{"alice@example.test"},
					Content: strings.NewReader("Subject: hi\n\nbody\n"), Notify: tt.notify,
				}
				if _, err := c.Submit(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				cfg.Connectors = nil // nothing is to listen
				if err := r.Reload(cfg); err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- r.Run(ctx) }()
				time.Sleep(72 * time.Hour)
				synctest.Wait()
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
				var got []string
				for _, m := range back.got {
					got = append(got, actions(m.content))
				}
				want := []string{
					"delayed alice@example.test 4.2.1", "failed alice@example.test 4.4.7",
				}[2-tt.want:]
				if !slices.Equal(got, want) {
					t.Errorf("reports %q, want %q", got, want)
				}
			})
		})
	}
}

// TestOneReportOfManyFates has recipients of one attempt delivered, delayed and
// refused.
func TestOneReportOfManyFates(t *testing.T) {
	bubble(t, func(t *testing.T) {
		box, events := newCapture(), new(record)
		began := time.Now()
		cfg := local(box, delivery.Mailbox(func(
			_ context.Context, to domains.Address, a *delivery.Attempt,
		) error {
			switch {
			case time.Since(began) < 4*time.Hour:
				return relay.Defer(451, "4.2.1", "Later")
			case to.Local() == "bad":
				return relay.Reject(550, "5.1.1", "No such user")
			case to.Local() == "late" && time.Since(began) < 24*time.Hour:
				return relay.Defer(452, "4.2.2", "Mailbox full")
			}
			return nil
		}))
		cfg.Events = events.add
		r := run(t, cfg)
		ask(t, r, spool.NotifySuccess|spool.NotifyFailure|spool.NotifyDelay, "app@example.test",
			"good@elsewhere.test", "late@elsewhere.test", "bad@elsewhere.test")
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		want := []string{
			"relayed good@elsewhere.test 2.0.0, delayed late@elsewhere.test 4.2.2, failed " +
				"bad@elsewhere.test 5.1.1",
			"relayed late@elsewhere.test 2.0.0",
		}
		for i, c := range box.got {
			if i >= len(want) || actions(c.content) != want[i] {
				t.Errorf("report %d\n%s", i, c.content)
			}
		}
		if len(box.got) != len(want) {
			t.Errorf("%d reports", len(box.got))
		}
		if n := len(events.all(event.Accepted)); n != 1+len(want) {
			t.Errorf("%d messages accepted", n)
		}
	})
}

// TestNoRoomForSuccess lets no report be queued: what was delivered does not go
// out again, its report is lost, and that of a delay comes when there is room.
func TestNoRoomForSuccess(t *testing.T) {
	bubble(t, func(t *testing.T) {
		box, events, l := newCapture(), new(record), new(logs)
		began, taken := time.Now(), 0
		cfg := local(box, delivery.Mailbox(func(
			_ context.Context, to domains.Address, _ *delivery.Attempt,
		) error {
			if to.Local() == "good" && time.Since(began) > 4*time.Hour {
				taken++
				return nil
			}
			return relay.Defer(451, "4.2.1", "Later")
		}))
		cfg.Spool = &hooked{Store: memspool.New(nil), commit: func(
			_ context.Context, c spool.Commit,
		) error {
			if len(c.Settle) > 0 && time.Since(began) < 6*time.Hour {
				return spool.ErrFull
			}
			return nil
		}}
		cfg.Events, cfg.Logger = events.add, l.logger()
		r := run(t, cfg)
		ask(
			t, r, spool.NotifySuccess|spool.NotifyDelay, "app@example.test", "good@elsewhere.test",
			"late@elsewhere.test",
		)
		ask(t, r, spool.NotifySuccess, "app@example.test", "good@elsewhere.test")
		time.Sleep(72 * time.Hour)
		synctest.Wait()
		if taken != 2 {
			t.Errorf("%d copies, want 2", taken)
		}
		if len(box.got) != 1 || actions(box.got[0].content) != "delayed late@elsewhere.test 4.2.1" {
			t.Errorf("reports %v", box.got)
		}
		for _, e := range events.all(event.Delivered) {
			if e.Report != "" {
				t.Errorf("event %+v", e)
			}
		}
		if !strings.Contains(l.String(), "report not queued") {
			t.Error("not logged")
		}
		if stats, err := r.Stats(t.Context()); err != nil || stats != (spool.Stats{}) {
			t.Errorf("left in the queue: %+v, %v", stats, err)
		}
	})
}

// BenchmarkDeliver measures the way of a message of the application through the
// queue to a mailbox.
func BenchmarkDeliver(b *testing.B) {
	for _, n := range []spool.Notify{0, spool.NotifySuccess} {
		b.Run(cmp.Or(n.String(), "nothing asked"), func(b *testing.B) {
			delivered := make(chan struct{}, 2)
			cfg := local(delivery.TransportFunc(func(
				_ context.Context, a *delivery.Attempt,
			) []delivery.Result {
				return a.All(delivery.Result{Delivered: true})
			}), nil)
			cfg.Hostname, cfg.Spool = "relay.example.test", memspool.New(nil)
			cfg.Events = func(e event.Event) {
				if e.Kind == event.Delivered && e.From != "" {
					delivered <- struct{}{}
				}
			}
			r, err := relay.New(cfg)
			if err != nil {
				b.Fatal(err)
			}
			go r.Run(b.Context())
			defer r.Close()
			b.ReportAllocs()
			for b.Loop() {
				ask(b, r, n, "app@example.test", "alice@example.test")
				<-delivered
			}
		})
	}
}

// A sender who asks for it is told of success.
func Example_reports() {
	reports := make(chan string, 1)
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.com", Recipients: domains.StaticRecipients("app", "tickets")},
		},
		Mailboxes: delivery.Mailbox(func(
			ctx context.Context, to domains.Address, a *delivery.Attempt,
		) error {
			if to.Local() == "app" {
				content, err := a.Open(ctx)
				if err != nil {
					return err
				}
				defer content.Close()
				report, err := io.ReadAll(content)
				reports <- string(report)
				return err
			}
			return nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	go r.Run(context.Background())
	defer r.Close()
	_, err = r.Submit(context.Background(), &relay.Message{
		From: "app@example.com", To: []string{"tickets@example.com"}, Notify: spool.NotifySuccess,
		Content: strings.NewReader("Subject: Printer on fire\n\nHelp\n"),
	})
	if err != nil {
		log.Fatal(err)
	}
	for line := range strings.Lines(<-reports) {
		if strings.HasPrefix(line, "Action:") || strings.HasPrefix(line, "Final-Recipient:") {
			fmt.Println(strings.TrimSpace(line))
		}
	}
	// Output:
	// Final-Recipient: rfc822; tickets@example.com
	// Action: delivered
}
