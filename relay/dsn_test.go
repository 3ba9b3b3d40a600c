package relay_test

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
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
