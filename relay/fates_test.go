package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
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

// TestSurvivesRestart queues on disk, ends, and delivers from another process's
// point of view.
func TestSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	open := func() *filespool.Store {
		s, err := filespool.Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	store := open()
	r := idle(t, func(c *relay.Config) { c.Spool = store })
	id := submit(t, r, "app@example.test", "x@elsewhere.test", "alice@example.test")
	if err := errors.Join(r.Close(), store.Close()); err != nil {
		t.Fatal(err)
	}
	store = open()
	defer store.Close()
	w := start(t, func(c *relay.Config) { c.Spool = store })
	for _, c := range []*capture{w.out, w.mailboxes} {
		if got := c.wait(t, 1)[0]; !strings.Contains(got.content, id) ||
			!strings.HasSuffix(got.content, text) {
			t.Errorf("got %q", got.content)
		}
	}
	w.events.wait(t, func(e event.Event) bool {
		return e.Kind == event.Delivered && e.To[0] == "alice@example.test"
	})
	w.events.wait(t, func(e event.Event) bool {
		return e.Kind == event.Delivered && e.To[0] == "x@elsewhere.test"
	})
	w.relay.Close()
	if stats, err := store.Stats(t.Context()); err != nil || stats.Messages != 0 {
		t.Errorf("stats %+v, %v", stats, err)
	}
}

// TestNoRoomForReports lets a report fail to be queued for hours: nobody gets a
// second copy meanwhile, and the report comes at last.
func TestNoRoomForReports(t *testing.T) {
	bubble(t, func(t *testing.T) {
		box, events := newCapture(), new(record)
		began, taken := time.Now(), 0
		store := &hooked{Store: memspool.New(nil), commit: func(
			_ context.Context, c spool.Commit,
		) error {
			if len(c.Settle) > 0 && time.Since(began) < 6*time.Hour {
				return spool.ErrFull
			}
			return nil
		}}
		cfg := local(box, delivery.Mailbox(func(
			_ context.Context, to domains.Address, _ *delivery.Attempt,
		) error {
			if to.Local() == "good" {
				taken++
				return nil
			}
			return relay.Reject(550, "5.1.1", "No such user")
		}))
		cfg.Spool, cfg.Events = store, events.add
		r := run(t, cfg)
		submit(t, r, "app@example.test", "bad@elsewhere.test", "good@elsewhere.test")
		time.Sleep(12 * time.Hour)
		synctest.Wait()
		if taken != 1 {
			t.Errorf("the good recipient got %d copies", taken)
		}
		if got := box.wait(t, 1); len(got) != 1 ||
			!strings.Contains(got[0].content, "bad@elsewhere.test") {
			t.Errorf("reports %v", got)
		}
		if got := events.all(event.Bounced); len(got) != 1 || got[0].Report == "" {
			t.Errorf("events %s", show(got))
		}
		if got := events.all(event.Deferred); len(got) == 0 || !got[0].Next.After(got[0].Time) {
			t.Errorf("events %s", show(got))
		}
	})
}

// TestStoreHasFailed ends attempts whose store takes nothing any more, without
// a loop.
func TestStoreHasFailed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		attempts := 0
		cfg := local(newCapture(), delivery.Mailbox(func(
			context.Context, domains.Address, *delivery.Attempt,
		) error {
			attempts++
			return nil
		}))
		cfg.Spool = &hooked{Store: memspool.New(nil), settle: func(spool.Settlement) error {
			return spool.ErrFailed
		}}
		r := run(t, cfg)
		submit(t, r, "", "x@elsewhere.test")
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if attempts != 1 {
			t.Errorf("%d attempts in half an hour", attempts)
		}
	})
}

// TestReportRoutes follows reports to senders of every kind.
func TestReportRoutes(t *testing.T) {
	for from, want := range map[string]string{
		"alice@example.test":   "mailbox", // ours
		"nobody@example.test":  "nowhere", // ours, and unknown: there is nobody to tell
		"carol@internal.test":  "mailbox",
		"nobody@internal.test": "out",
		"x@elsewhere.test":     "out",
	} {
		t.Run(from, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				in, out, events := newCapture(), newCapture(), new(record)
				cfg, _ := config()
				cfg.Connectors, cfg.Verifier = nil, nil
				cfg.Mailboxes, cfg.Transport, cfg.Events = in, out, events.add
				out.reply = func(to string) error {
					if to == "gone@elsewhere.test" {
						return relay.Reject(550, "5.1.1", "no")
					}
					return nil
				}
				r := run(t, cfg)
				submit(t, r, from, "gone@elsewhere.test")
				synctest.Wait()
				got := map[string]int{"mailbox": len(in.got), "out": len(out.got)}
				bounced := events.all(event.Bounced)
				if len(bounced) != 1 || (bounced[0].Report == "") != (want == "nowhere") {
					t.Errorf("events %s", show(bounced))
				}
				for route, n := range got {
					if (n == 1) != (route == want) || n > 1 {
						t.Errorf("%d reports by %s, want %s", n, route, want)
					}
				}
				if stats, err := r.Stats(t.Context()); err != nil || stats != (spool.Stats{}) {
					t.Errorf("stats %+v, %v", stats, err)
				}
			})
		})
	}
}

// TestLookupsAtDelivery has a domain whose recipients are looked up after RCPT.
func TestLookupsAtDelivery(t *testing.T) {
	var down atomic.Bool
	w := start(t, func(cfg *relay.Config) {
		cfg.AcceptedDomains[0].SkipLookup = true
		known := cfg.AcceptedDomains[0].Recipients
		cfg.AcceptedDomains[0].Recipients = domains.ResolverFunc(func(
			ctx context.Context, a domains.Address,
		) (bool, error) {
			if down.Load() {
				return false, errSecret
			}
			return known.Resolve(ctx, a)
		})
		cfg.Retry.Schedule = []time.Duration{time.Second}
	})
	mail := "C: MAIL FROM:<bob@example.test>\nS: 250\n"
	c := w.dial(t, "in")
	c.Play(
		mail + "C: RCPT TO:<nobody@example.test>\nS: 250\n" + message + "S: 550 5.1.1 User unknown",
	)
	c.Play(
		mail +
			"C: RCPT TO:<nobody@example.test>\nS: 250\nC: RCPT TO:<alice@example.test>\nS: 250\n" +
			message + "S: 250",
	)
	if got := w.mailboxes.wait(t, 1)[0]; got.to != "alice@example.test" {
		t.Errorf("went to %s", got.to)
	}
	// A stranger's claim of a sender gets no report.
	if e := w.events.wait(t, kind(event.Bounced)); e.To[0] != "nobody@example.test" ||
		e.Report != "" {
		t.Errorf("event %+v", e)
	}
	// A relaying host hears of it.
	w.dial(t, "apps").Play(
		mail +
			"C: RCPT TO:<nobody@example.test>\nS: 250\nC: RCPT TO:<alice@example.test>\nS: 250\n" +
			message + "S: 250",
	)
	if e := w.events.wait(t, func(e event.Event) bool {
		return e.Kind == event.Bounced && e.Connector == "apps"
	}); e.Report == "" {
		t.Errorf("event %+v", e)
	}
	got := w.mailboxes.wait(t, 3)
	if got[1].to == got[2].to {
		t.Errorf("got %v", got)
	}
	// What cannot be known now is neither refused nor bounced.
	down.Store(true)
	c.Play(mail + "C: RCPT TO:<alice@example.test>\nS: 250\n" + message + "S: 250")
	if e := w.events.wait(t, kind(event.Deferred)); e.To[0] != "alice@example.test" {
		t.Errorf("event %+v", e)
	}
	down.Store(false)
	w.mailboxes.wait(t, 4)
}

// TestFromInternet lets nobody in who pretends to write from our own domain.
func TestFromInternet(t *testing.T) {
	w := start(t, func(cfg *relay.Config) {
		c := bind(connector.FromInternet("world"), "127.0.0.4")
		c.Limits.MaxProtocolErrors = -1
		cfg.Connectors = append(cfg.Connectors, c)
	})
	c := w.dial(t, "world")
	c.Play("C: MAIL FROM:<alice@example.test>\nS: 550 5.7.1")
	stranger := "C: MAIL FROM:<x@elsewhere.test>\nS: 250\nC: RCPT TO:<alice@example.test>\nS: " +
		"250\nC: DATA\nS: 354\n"
	c.Play(stranger + "C: From: alice@example.test\nC: \nC: .\nS: 550 5.7.1")
	c.Play(
		stranger +
			"C: From: x@elsewhere.test\nC: Sender: alice@example.test\nC: \nC: .\nS: 550 5.7.1",
	)
	c.Play(stranger + "C: From: x@elsewhere.test\nC: \nC: .\nS: 250")
	w.mailboxes.wait(t, 1)
}

// TestOddReplies hands out what remote hosts and transports say in one line, in
// events and in reports.
func TestOddReplies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		box, events := newCapture(), new(record)
		odd := &delivery.Error{
			Op: delivery.OpData, Host: "mx\r\nX: y", Permanent: true,
			Reply: delivery.Reply{
				Code: 554, Enhanced: "bad",
				Text: "one\r\n\r\n--two\nSubject: three " + strings.Repeat("x", 3000),
			},
		}
		cfg := local(box, delivery.TransportFunc(func(
			_ context.Context, a *delivery.Attempt,
		) []delivery.Result {
			return []delivery.Result{
				{Err: odd},
				delivery.Taken("mx", delivery.Reply{Code: 250, Enhanced: "2.0.0", Text: "taken"}),
				delivery.Taken("", delivery.Reply{Text: "fine"}),
			}
		}))
		cfg.Events = events.add
		r := run(t, cfg)
		submit(t, r, "app@example.test", "a@elsewhere.test", "b@elsewhere.test", "c@elsewhere.test")
		synctest.Wait()
		bounced := events.all(event.Bounced)[0]
		if bounced.Code != 554 || bounced.Enhanced != "5.0.0" ||
			strings.ContainsAny(bounced.Text, "\r\n") {
			t.Errorf("event %s", show([]event.Event{bounced}))
		}
		// the report
		delivered := slices.DeleteFunc(events.all(event.Delivered), func(e event.Event) bool {
			return e.From == ""
		})
		if d := delivered[0]; d.Code != 250 || d.Host != "mx" ||
			!strings.HasSuffix(d.Text, "taken") {
			t.Errorf("event %s", show(delivered))
		}
		if d := delivered[1]; d.Code != 0 || d.Text != "fine" {
			t.Errorf("event %s", show(delivered))
		}
		report := box.wait(t, 1)[0].content
		for line := range strings.SplitSeq(report, "\r\n") {
			if strings.HasPrefix(line, "X: y") || strings.HasPrefix(line, "--two") ||
				strings.HasPrefix(line, "Subject: three") || len(line) > 998 ||
				strings.ContainsAny(line, "\r\n") {
				t.Errorf("line %q in the report", line)
			}
		}
	})
}

// TestRateBy counts messages in each way.
func TestRateBy(t *testing.T) {
	for by, want := range map[connector.RateSource]int{
		connector.RateByAddress: 421, connector.RateByAll: 421, connector.RateByUser: 421,
		connector.RateByNone: 0,
	} {
		t.Run(fmt.Sprint(by), func(t *testing.T) {
			w := start(t, func(c *relay.Config) {
				c.Connectors[0].Limits.MessageRate, c.Connectors[0].Limits.MessageRateBy = 1, by
			})
			inOneMinute()
			if err := send(
				w.addr("apps"), nil, "app@example.test", "x@elsewhere.test",
			); err != nil {
				t.Fatal(err)
			}
			if err := send(
				w.addr("apps"), nil, "app@example.test", "x@elsewhere.test",
			); code(err) != want {
				t.Errorf("second message: %v", err)
			}
		})
	}
}
