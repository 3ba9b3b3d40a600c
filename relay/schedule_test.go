package relay_test

import (
	"context"
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
