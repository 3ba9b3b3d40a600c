package relay_test

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

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
