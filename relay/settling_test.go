package relay_test

import (
	"context"
	"errors"
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

// slowToSettle is a store that takes 25 s to settle what was delivered.
type slowToSettle struct{ *memspool.Store }

func (s slowToSettle) Settle(ctx context.Context, t spool.Settlement) error {
	time.Sleep(25 * time.Second)
	return s.Store.Settle(ctx, t)
}

// A store that takes its time to settle keeps no connection from the next
// message.
func TestSlowSettlingHoldsUpNoConnection(t *testing.T) {
	change := func(c *relay.Config) {
		c.Spool = slowToSettle{memspool.New(nil)}
		c.SendConnectors[0].NextHop.MaxConnections = 1
	}
	inRefusers(t, change, func(t *testing.T, w *refusers) {
		for range 5 {
			if _, err := w.Relay.Submit(t.Context(), &relay.Message{
				From: "shop@own.test", To: []string{"x@a.test"}, Content: strings.NewReader(text),
			}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		w.wantTaken(5, 0)
		if n := len(w.events.all(event.Delivered)); n > 0 {
			t.Errorf("%d are settled already", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(w.events.all(event.Delivered)); n != 5 {
			t.Errorf("%d of 5 are settled", n)
		}
	})
}

// away is a store that cannot settle until some time has passed.
func away(d time.Duration) spool.Store {
	back := time.Now().Add(d)
	return &hooked{Store: memspool.New(nil), settle: func(spool.Settlement) error {
		if time.Now().Before(back) {
			return errors.New("no connection to the database")
		}
		return nil
	}}
}

// A database that is gone for a while, as one that fails over, costs no second
// copy and no rest.
func TestOutcomeWaitsForTheStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		events, taken := new(record), 0
		cfg := local(newCapture(), delivery.Mailbox(func(
			context.Context, domains.Address, *delivery.Attempt,
		) error {
			taken++
			return nil
		}))
		cfg.Spool, cfg.Events = away(90*time.Second), events.add
		r := run(t, cfg)
		submit(t, r, "", "x@elsewhere.test")
		time.Sleep(100 * time.Second)
		synctest.Wait()
		if got := events.all(event.Delivered); len(got) != 1 || taken != 1 {
			t.Errorf("%d copies, events %s", taken, show(got))
		}
	})
}

// What nobody has got is tried again soon after an outcome that was lost with
// the store, and what somebody has got is not.
func TestLostOutcomeRests(t *testing.T) {
	for _, test := range []struct {
		name        string
		err         error
		least, most time.Duration // until the second attempt
	}{
		{"deferred", relay.Reject(450, "4.2.1", "Later"), 3 * time.Minute, 6 * time.Minute},
		{"refused", relay.Reject(550, "5.1.1", "No such user"), 3 * time.Minute, 6 * time.Minute},
		{"taken", nil, time.Hour, 65 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				began := time.Now()
				var attempts []time.Duration
				cfg := local(newCapture(), delivery.Mailbox(func(
					context.Context, domains.Address, *delivery.Attempt,
				) error {
					attempts = append(attempts, time.Since(began))
					return test.err
				}))
				cfg.Spool = away(2*time.Minute + 30*time.Second)
				submit(t, run(t, cfg), "", "x@elsewhere.test")
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				if len(attempts) < 2 || attempts[1] < test.least || attempts[1] > test.most {
					t.Errorf("attempts after %v", attempts)
				}
			})
		})
	}
}

// A database that is gone for a while costs no report either.
func TestReportWaitsForTheStore(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		kind event.Kind
	}{
		"failure": {relay.Reject(550, "5.1.1", "No such user"), event.Bounced},
		"success": {nil, event.Delivered},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				events, box := new(record), newCapture()
				cfg := local(box, delivery.Mailbox(func(
					context.Context, domains.Address, *delivery.Attempt,
				) error {
					return test.err
				}))
				back := time.Now().Add(40 * time.Second)
				away := func() error {
					if time.Now().Before(back) {
						return errors.New("no connection to the database")
					}
					return nil
				}
				cfg.Spool, cfg.Events = &hooked{
					Store:  memspool.New(nil),
					settle: func(spool.Settlement) error { return away() },
					commit: func(_ context.Context, c spool.Commit) error {
						if len(c.Settle) == 0 {
							return nil
						}
						return away()
					},
				}, events.add
				r := run(t, cfg)
				_, err := r.Submit(t.Context(), &relay.Message{
					From: "app@example.test", To: []string{"x@elsewhere.test"},
					Notify:  spool.NotifySuccess | spool.NotifyFailure,
					Content: strings.NewReader(text),
				})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(50 * time.Second)
				synctest.Wait()
				for _, e := range events.all(test.kind) {
					if e.From != "" && e.Attempt == 1 && e.Report != "" {
						return
					}
				}
				t.Errorf("events %s", show(events.all()))
			})
		})
	}
}
