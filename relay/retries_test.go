package relay_test

import (
	"context"
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

const (
	least = iota // of a wait
	most
)

// spread are the bounds of each wait of a schedule.
func spread(shorter, longer time.Duration, waits ...time.Duration) (bounds [][2]time.Duration) {
	for _, d := range waits {
		low := d
		if shorter > 0 {
			low -= d / shorter
		}
		bounds = append(bounds, [2]time.Duration{low, d + d/longer})
	}
	return bounds
}

func times(n int, d time.Duration) (list []time.Duration) {
	for range n {
		list = append(list, d)
	}
	return list
}

// refusing is a relay of which every attempt at x@a.test is refused for now by
// a host, or by a mailbox. It returns when the attempts were.
func refusing(
	t *testing.T, route string, refusal relaytest.Answer, events *record,
	change func(*relay.Config),
) (*relaytest.Kit, func() []time.Time) {
	var made record
	note := func() { made.add(event.Event{Time: time.Now()}) }
	kit := relaytest.New(t, func(c *relay.Config) {
		c.Events = events.add
		next := connector.NextHop{TLS: connector.TLSNone, AllowPrivateAddresses: true}
		switch route {
		case "smart host":
			next.Hosts = []string{"192.0.2.1:25"}
		case "mailbox":
			c.AcceptedDomains = []domains.AcceptedDomain{{
				Domain: "a.test", Recipients: domains.StaticRecipients("x"),
			}}
			c.Mailboxes = delivery.Mailbox(func(
				context.Context, domains.Address, *delivery.Attempt,
			) error {
				note()
				return relay.Defer(451, "4.2.1", "later")
			})
		}
		c.SendConnectors = []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(), NextHop: next,
		}}
		if change != nil {
			change(c)
		}
	})
	kit.DNS.MX("a.test", 10, "mx.a.test").Host("mx.a.test", "192.0.2.1")
	(&relaytest.Hop{Address: "192.0.2.1:25", Script: func(s relaytest.Step) relaytest.Answer {
		if s.Stage != relaytest.Rcpt {
			return relaytest.Answer{}
		}
		note()
		return refusal
	}}).Start(t, kit.Net)
	return kit, func() (at []time.Time) {
		for _, e := range made.all() {
			at = append(at, e.Time)
		}
		return at
	}
}

// alone gives a relay a store that it cannot share with others: it makes no
// signs of life, of which there are very many in days.
func alone(c *relay.Config) { c.Spool = struct{ spool.Store }{memspool.New(nil)} }

// A message that is refused for now all the time is tried by the schedule of
// its route, up to its age of 48 hours, and expires then.
func TestWholeTimeline(t *testing.T) {
	const m = time.Minute
	exchange := append(append(times(4, m), times(6, 5*m)...), times(250, 10*m)...)
	mx := append([]time.Duration{m, 5 * m, 10 * m, 20 * m, 40 * m}, times(38, 66*m)...)
	for _, tt := range []struct {
		route       string
		waits       [][2]time.Duration
		few, enough int // attempts
	}{
		{"mx", spread(5, 5, mx...), 45, 51},
		{"smart host", spread(0, 10, exchange...), 262, 294},
		{"mailbox", spread(0, 10, exchange...), 262, 294},
	} {
		t.Run(tt.route, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				events := new(record)
				later := relaytest.Reply(451, "4.3.0", "Later")
				kit, made := refusing(t, tt.route, later, events, alone)
				begun := time.Now()
				submit(t, kit.Relay, "", "x@a.test")
				time.Sleep(49 * time.Hour)
				synctest.Wait()
				at := made()
				if len(at) < tt.few || len(at) > tt.enough {
					t.Errorf("%d attempts, want %d to %d", len(at), tt.few, tt.enough)
				}
				wantWaits(t, at, tt.waits[:min(len(tt.waits), len(at)-1)])
				expired := events.all(event.Expired)
				if len(expired) != 1 || expired[0].Attempt != len(at) {
					t.Fatalf("%d attempts, and %s", len(at), show(expired))
				}
				if age := expired[0].Time.Sub(begun).Round(time.Second); age != 48*time.Hour {
					t.Errorf("expired after %v", age)
				}
			})
		})
	}
}

// wantWaits compares the waits between attempts with their bounds.
func wantWaits(t *testing.T, at []time.Time, want [][2]time.Duration) {
	t.Helper()
	if len(at) <= len(want) {
		t.Fatalf("%d attempts, want more than %d", len(at), len(want))
	}
	for i, bounds := range want {
		// The scheduler and the hop take their own moment.
		got := at[i+1].Sub(at[i])
		if got < bounds[least]-time.Second || got > bounds[most]+time.Second {
			t.Errorf("wait %d is %v, want %v to %v", i, got, bounds[least], bounds[most])
		}
	}
}

// A greylisted first attempt is made again when most hosts let it through; a
// later one goes by the schedule.
func TestGreylistedFirstAttempt(t *testing.T) {
	const m = time.Minute
	greylisted := relaytest.Reply(451, "4.7.1", "Greylisted, please try again later")
	for _, route := range []string{"mx", "smart host"} {
		t.Run(route, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				kit, made := refusing(t, route, greylisted, new(record), nil)
				submit(t, kit.Relay, "", "x@a.test")
				time.Sleep(30 * m)
				second := spread(5, 5, 5*m)
				if route == "smart host" {
					second = spread(0, 10, m)
				}
				wantWaits(t, made(), append(spread(0, 10, 6*m), second...))
			})
		})
	}
}

// What waits for its time, NotBefore, is not tried before it, and its age
// counts from then on.
func TestScheduleBeginsWithNotBefore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		events := new(record)
		later := relaytest.Reply(451, "4.3.0", "Later")
		kit, made := refusing(t, "mx", later, events, alone)
		begin := time.Now().Add(5 * time.Hour)
		if _, err := kit.Relay.Submit(t.Context(), &relay.Message{
			To: []string{"x@a.test"}, NotBefore: begin, Content: strings.NewReader(text),
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(54 * time.Hour)
		synctest.Wait()
		at := made()
		if len(at) < 45 || len(at) > 51 || at[0].Before(begin) ||
			at[0].Sub(begin) > 10*time.Second {
			t.Errorf("%d attempts, the first at %v of %v", len(at), at[0], begin)
		}
		expired := events.all(event.Expired)
		if len(expired) != 1 {
			t.Fatalf("events %s", show(expired))
		}
		if age := expired[0].Time.Sub(begin).Round(time.Second); age != 48*time.Hour {
			t.Errorf("expired after %v", age)
		}
	})
}

// A copy that this relay has not tried has one attempt at its end, also at the
// very time at which it expires.
func TestAttemptAtExpiryOverMX(t *testing.T) {
	for _, late := range []time.Duration{0, time.Hour} {
		bubble(t, func(t *testing.T) {
			store, events := memspool.New(nil), new(record)
			later := relaytest.Reply(451, "4.3.0", "Later")
			_, made := refusing(t, "mx", later, events,
				func(c *relay.Config) { c.Spool = store })
			expires := time.Now().Add(-late)
			putDelivery(t, store, spool.Delivery{
				Key: spool.Key{Route: "mx/out", Domain: "a.test"}, Attempts: 40,
				Due: expires, Expires: expires,
				Recipients: []spool.Recipient{{Address: "x@a.test", Status: "4.3.0"}},
			})
			time.Sleep(time.Minute)
			synctest.Wait()
			expired := events.all(event.Expired)
			if len(made()) != 1 || len(expired) != 1 || expired[0].Attempt != 41 {
				t.Errorf("%v late: %d attempts, %s", late, len(made()), show(expired))
			}
		})
	}
}

// putDelivery queues a message of one delivery.
func putDelivery(t *testing.T, s spool.Store, d spool.Delivery) {
	t.Helper()
	w, err := s.Create(t.Context(), spool.NewID(time.Now()))
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err == nil {
		err = w.Commit(t.Context(), spool.Commit{
			Message: spool.Message{Created: time.Now()}, Deliveries: []spool.Delivery{d},
		})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// The end of a short life comes in time: the last wait is cut.
func TestShortLifeOverMX(t *testing.T) {
	bubble(t, func(t *testing.T) {
		events := new(record)
		kit, made := refusing(t, "mx", relaytest.Reply(451, "4.3.0", "Later"), events,
			func(c *relay.Config) { c.Retry.Expires = 10 * time.Minute })
		begun := time.Now()
		submit(t, kit.Relay, "", "x@a.test")
		time.Sleep(time.Hour)
		synctest.Wait()
		expired := events.all(event.Expired)
		if len(made()) != 3 || len(expired) != 1 ||
			expired[0].Time.Sub(begun).Round(time.Second) != 10*time.Minute {
			t.Errorf("%d attempts, %s", len(made()), show(expired))
		}
	})
}

// Waits of seconds are kept as well, though the relay looks at a queue in which
// nothing happens once in five seconds only.
func TestWaitsOfSeconds(t *testing.T) {
	for _, route := range []string{"mx", "smart host", "mailbox"} {
		t.Run(route, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				events, waits := new(record), times(4, 2*time.Second)
				later := relaytest.Reply(451, "4.3.0", "Later")
				kit, made := refusing(t, route, later, events, func(c *relay.Config) {
					alone(c)
					c.Retry = delivery.Retry{
						MX: waits, Schedule: waits, Expires: 11 * time.Second,
						DelayNotification: -1,
					}
				})
				begun := time.Now()
				submit(t, kit.Relay, "", "x@a.test")
				time.Sleep(time.Minute)
				synctest.Wait()
				wantWaits(t, made(), spread(5, 5, waits...))
				expired := events.all(event.Expired)
				if len(expired) != 1 ||
					expired[0].Time.Sub(begun).Round(time.Second) != 11*time.Second {
					t.Errorf("begun at %v, %s", begun, show(expired))
				}
			})
		})
	}
}
