package relay_test

import (
	"context"
	"slices"
	"sync"
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

// TestOneReport makes the step that settles an attempt and queues its report
// fail once, before and after it took effect.
func TestOneReport(t *testing.T) {
	for _, tt := range []string{"commit fails", "settle fails", "open fails"} {
		t.Run(tt, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				box, events := newCapture(), new(record)
				once := sync.OnceValue(func() error { return errSecret })
				failed := false
				fail := func() error {
					if failed {
						return nil
					}
					failed = true
					return once()
				}
				store := &hooked{Store: memspool.New(nil)}
				switch tt {
				case "commit fails":
					store.commit = func(_ context.Context, c spool.Commit) error {
						if len(c.Settle) == 0 {
							return nil
						}
						return fail()
					}
				case "settle fails":
					store.settle = func(spool.Settlement) error { return fail() }
				case "open fails":
					store.create = func(spool.ID) error {
						if len(events.all(event.Attempted)) > 0 {
							return fail()
						}
						return nil
					}
				}
				taken := 0
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
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				if got := box.wait(t, 1); len(got) != 1 {
					t.Errorf("%d reports", len(got))
				}
				if got := events.all(event.Bounced, event.Delivered); len(got) != 3 {
					t.Errorf("events %s", show(got))
				}
				if taken != 1 {
					t.Errorf("the good recipient got %d copies", taken)
				}
			})
		})
	}
}

// TestReportsAreNotReported lets reports fail in every way.
func TestReportsAreNotReported(t *testing.T) {
	for name, failure := range map[string]error{
		"for good":          relay.Reject(550, "5.1.1", "No"),
		"until they expire": relay.Defer(451, "4.2.1", "Later"),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				events := new(record)
				cfg := local(
					newCapture(),
					delivery.Mailbox(func(
						context.Context, domains.Address, *delivery.Attempt,
					) error {
						return failure
					}),
				)
				cfg.Events = events.add
				r := run(t, cfg)
				submit(t, r, "y@elsewhere.test", "x@elsewhere.test")
				submit(t, r, "", "x@elsewhere.test")
				time.Sleep(10 * 24 * time.Hour)
				synctest.Wait()
				got := events.all(event.Bounced, event.Expired)
				reports := slices.DeleteFunc(slices.Clone(got), func(e event.Event) bool {
					return e.Report == ""
				})
				made := 1
				if name == "until they expire" {
					made = 2 // one of the delay
				}
				if len(got) != 2+made || len(reports) != 1 ||
					len(events.all(event.Accepted)) != len(got) ||
					reports[0].From != "y@elsewhere.test" {
					t.Errorf("events %s", show(got))
				}
			})
		})
	}
}
