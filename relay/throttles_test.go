package relay_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/relaytest"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// refusers is a relay with the mail exchangers of a.test and b.test, whose
// answers a test chooses.
type refusers struct {
	*relaytest.Kit
	t      *testing.T
	events record
	a, b   *relaytest.Hop

	mu     sync.Mutex
	stage  relaytest.Stage
	answer relaytest.Answer // of that of a.test at stage
	met    int              // how often it came to that
}

// refusal is one of a class.
type refusal struct {
	stage  relaytest.Stage
	answer relaytest.Answer
}

var (
	tooFast = refusal{relaytest.Mail, relaytest.Reply(
		421, "4.7.28", "Unusual rate of mail from your address",
	)}
	disreputable = refusal{relaytest.Rcpt, relaytest.Reply(
		550, "5.7.1", "Your IP address has a poor reputation",
	)}
	unsigned = refusal{relaytest.Content, relaytest.Reply(
		550, "5.7.26", "This mail is not authenticated",
	)}
	unknown = refusal{relaytest.Rcpt, relaytest.Reply(550, "5.1.1", "No such user")}
)

// inRefusers runs a test on a clock of its own.
func inRefusers(t *testing.T, change func(*relay.Config), f func(t *testing.T, w *refusers)) {
	t.Helper()
	bubble(t, func(t *testing.T) {
		w := &refusers{t: t}
		w.Kit = relaytest.New(t, func(c *relay.Config) {
			c.Events = w.events.add
			c.EventLog.Retention = 240 * time.Hour
			c.SendConnectors = []*connector.SendConnector{{
				Name: "out", AddressSpaces: connector.AllDomains(),
				NextHop: connector.NextHop{TLS: connector.TLSNone, AllowPrivateAddresses: true},
			}}
			if change != nil {
				change(c)
			}
		})
		w.a = &relaytest.Hop{Name: "mx.a.test", Address: "192.0.2.1:25", Script: w.script}
		w.b = &relaytest.Hop{Name: "mx.b.test", Address: "192.0.2.2:25"}
		w.a.Start(t, w.Net)
		w.b.Start(t, w.Net)
		w.DNS.MX("a.test", 10, "mx.a.test").Host("mx.a.test", "192.0.2.1")
		w.DNS.MX("b.test", 10, "mx.b.test").Host("mx.b.test", "192.0.2.2")
		w.DNS.MX("own.test", 10, "mx.b.test")
		f(t, w)
	})
}

func (w *refusers) script(s relaytest.Step) relaytest.Answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	if s.Stage != w.stage {
		return relaytest.Answer{}
	}
	w.met++
	return w.answer
}

// refuse makes the host of a.test refuse everything from now on; the zero
// refusal takes it.
func (w *refusers) refuse(r refusal) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stage, w.answer, w.met = r.stage, r.answer, 0
}

// send sends a message and waits until its first attempt is over.
func (w *refusers) send(stream, to string) {
	w.t.Helper()
	_, err := w.Relay.Submit(w.t.Context(), &relay.Message{
		From: "shop@own.test", To: []string{to}, Stream: stream, Content: strings.NewReader(text),
		Labels: map[string]string{"order": "7"},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	synctest.Wait()
}

// rest makes the mail of a stream to a.test rest.
func (w *refusers) rest(r refusal) relay.Throttle {
	w.t.Helper()
	w.refuse(r)
	for i := range 3 {
		w.send("", fmt.Sprintf("x%d@a.test", i))
	}
	list := w.Relay.Throttles()
	if len(list) != 1 || list[0].Share != 0 {
		w.t.Fatalf("throttles %+v, events %s", list, show(w.events.all()))
	}
	return list[0]
}

// taken is how much the host of a.test has taken, and that of b.test.
func (w *refusers) taken() [2]int {
	synctest.Wait()
	return [2]int{len(w.a.Taken()), len(w.b.Taken())}
}

func (w *refusers) wantTaken(a, b int) {
	w.t.Helper()
	if got := w.taken(); got != [2]int{a, b} {
		w.t.Errorf("the hosts took %v, want %d and %d; %s", got, a, b, show(w.events.all()))
	}
}

func TestRefusedForItsRate(t *testing.T) {
	inRefusers(t, nil, func(t *testing.T, w *refusers) {
		w.refuse(tooFast)
		w.send("", "x@a.test")
		list := w.Relay.Throttles()
		if len(list) != 1 || list[0].Share != .5 || list[0].Class != bounce.RateLimited ||
			list[0].Code != 421 || !strings.Contains(list[0].Host, "mx.a.test") {
			t.Fatalf("throttles %+v, events %s", list, show(w.events.all()))
		}
		e := w.events.all(event.Throttled)
		if len(e) != 1 || e[0].Throttle != list[0].ID || e[0].Site != list[0].Site ||
			e[0].Class != bounce.RateLimited || e[0].Code != 421 || len(e[0].To) != 0 ||
			e[0].QueueID != "" || len(e[0].Labels) != 0 || e[0].Attempt != 1 ||
			e[0].Next.Sub(e[0].Time).Round(time.Minute) != 50*time.Minute {
			t.Errorf("events %+v", e)
		}
		w.refuse(refusal{})
		time.Sleep(51 * time.Minute)
		w.wantTaken(1, 0)
		if list := w.Relay.Throttles(); len(list) != 0 {
			t.Errorf("throttles %+v", list)
		}
	})
}

// What Follow tells of a throttle is what was told live, once; that it was
// lifted is told live only.
func TestFollowTellsOfThrottles(t *testing.T) {
	inRefusers(t, nil, func(t *testing.T, w *refusers) {
		if err := w.Relay.LiftThrottle(w.rest(disreputable).ID); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var got []event.Event
		done := make(chan error)
		go func() {
			done <- w.Relay.Follow(ctx, "test", func(_ context.Context, l []event.Event) error {
				got = append(got, l...)
				return nil
			})
		}()
		time.Sleep(time.Second)
		synctest.Wait()
		cancel()
		<-done
		got = slices.DeleteFunc(got, func(e event.Event) bool {
			return e.Kind != event.Throttled && e.Kind != event.Lifted
		})
		live := w.events.all(event.Throttled)
		if len(got) != 1 || len(live) != 1 || got[0].ID != live[0].ID ||
			got[0].Throttle != live[0].Throttle || got[0].Class != bounce.Reputation ||
			got[0].Site != live[0].Site || !got[0].Next.Equal(live[0].Next) {
			t.Errorf("got  %+v\nlive %+v", got, live)
		}
	})
}

// The copy that was refused has its own fate; those behind it wait.
func TestRefusedForItsReputation(t *testing.T) {
	inRefusers(t, nil, func(t *testing.T, w *refusers) {
		got := w.rest(disreputable)
		if got.Sender != "own.test" || got.Class != bounce.Reputation {
			t.Errorf("%+v", got)
		}
		if n := len(w.events.all(event.Bounced)); n != 3 {
			t.Errorf("%d have bounced, want 3", n)
		}
		reports := len(w.b.Taken())
		w.refuse(refusal{})
		w.send("", "late@a.test")
		w.send("", "y@b.test")
		w.wantTaken(0, reports+1)
		time.Sleep(119 * time.Minute)
		w.wantTaken(0, reports+1)
		time.Sleep(2 * time.Minute)
		w.wantTaken(1, reports+1)
		if list := w.Relay.Throttles(); len(list) != 0 {
			t.Errorf("%+v is left", list)
		}
	})
}

func TestRefusedForItsSignature(t *testing.T) {
	inRefusers(t, nil, func(t *testing.T, w *refusers) {
		got := w.rest(unsigned)
		if got.Sender != "own.test" || got.Class != bounce.Authentication || got.Stream != "" {
			t.Errorf("%+v", got)
		}
		w.refuse(refusal{})
		w.send("", "late@a.test")
		w.send("orders", "x@a.test")
		w.wantTaken(1, w.taken()[1])
		time.Sleep(62 * time.Minute)
		w.wantTaken(2, w.taken()[1])
	})
}

// A refused recipient says nothing of the host.
func TestUnknownRecipientsDoNotMakeASiteRest(t *testing.T) {
	inRefusers(t, nil, func(t *testing.T, w *refusers) {
		w.refuse(unknown)
		for i := range 10 {
			w.send("", fmt.Sprintf("x%d@a.test", i))
		}
		if list := w.Relay.Throttles(); len(list) != 0 {
			t.Errorf("throttles %+v", list)
		}
	})
}

// After a rest one delivery tries; refused again, the next rest is longer.
func TestOneTriesAfterARest(t *testing.T) {
	inRefusers(t, nil, func(t *testing.T, w *refusers) {
		first := w.rest(disreputable)
		for i := range 5 {
			w.send("", fmt.Sprintf("late%d@a.test", i))
		}
		w.refuse(disreputable)
		time.Sleep(2*time.Hour + time.Minute)
		synctest.Wait()
		w.mu.Lock()
		met := w.met
		w.mu.Unlock()
		if met != 1 {
			t.Errorf("%d tries, want 1", met)
		}
		list := w.Relay.Throttles()
		if len(list) != 1 || list[0].ID != first.ID || list[0].Times != 2 ||
			time.Until(list[0].Until).Round(time.Hour) != 4*time.Hour {
			t.Errorf("throttles %+v", list)
		}
		if e := w.events.all(event.Throttled); len(e) != 2 || e[0].ID == e[1].ID {
			t.Errorf("events %+v", e)
		}
	})
}

func TestLiftThrottle(t *testing.T) {
	inRefusers(t, nil, func(t *testing.T, w *refusers) {
		got := w.rest(disreputable)
		w.refuse(refusal{})
		w.send("", "late@a.test")
		if err := w.Relay.LiftThrottle("other"); !errors.Is(err, relay.ErrNotFound) {
			t.Errorf("%v", err)
		}
		if err := w.Relay.LiftThrottle(got.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.wantTaken(1, w.taken()[1])
		e := w.events.all(event.Lifted)
		if len(e) != 1 || e[0].Throttle != got.ID || e[0].Site != got.Site || e[0].ID == "" {
			t.Errorf("events %+v", e)
		}
	})
}

// What rests grows old as ever: its sender is told, and it expires. That nobody
// has tried it does not count, since others of its kind were refused.
func TestRestIsNoFate(t *testing.T) {
	inRefusers(t, func(c *relay.Config) {
		c.Retry.DelayNotification, c.Retry.Expires = 30*time.Minute, 3*time.Hour
	}, func(t *testing.T, w *refusers) {
		w.rest(disreputable)
		reports := len(w.b.Taken())
		w.send("", "tries@a.test")
		w.send("", "waits@a.test")
		time.Sleep(31 * time.Minute)
		w.wantTaken(0, reports+2)
		time.Sleep(150 * time.Minute)
		w.wantTaken(0, reports+4)
		expired := w.events.all(event.Expired)
		if len(expired) != 1 || len(w.events.all(event.Bounced)) != 4 {
			t.Errorf("events %s", show(w.events.all()))
		}
	})
}

// What comes while its kind rests ends when its time does, before the rest is
// over.
func TestRestDoesNotOutlastExpires(t *testing.T) {
	inRefusers(t, nil, func(t *testing.T, w *refusers) {
		w.rest(disreputable)
		w.refuse(refusal{})
		end := time.Now().Add(10 * time.Minute)
		_, err := w.Relay.Submit(t.Context(), &relay.Message{
			From: "shop@own.test", To: []string{"code@a.test"}, Expires: end,
			Content: strings.NewReader(text),
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		expired := w.events.all(event.Expired)
		if len(expired) != 1 || expired[0].Time.Before(end) ||
			expired[0].Time.After(end.Add(10*time.Second)) || len(w.a.Taken()) != 0 {
			t.Errorf("events %s, taken %d", show(w.events.all()), len(w.a.Taken()))
		}
	})
}

// What was deferred shortly before its end waits for that, and no longer: a
// rest of its kind that began meanwhile does not count.
func TestRestDoesNotOutlastLastWait(t *testing.T) {
	inRefusers(t, func(c *relay.Config) {
		c.Spool = slowToSettle{memspool.New(nil)} // it is due behind its end
	}, func(t *testing.T, w *refusers) {
		w.refuse(refusal{relaytest.Rcpt, relaytest.Reply(450, "4.2.1", "Mailbox busy")})
		end := time.Now().Add(45 * time.Second)
		_, err := w.Relay.Submit(t.Context(), &relay.Message{
			From: "shop@own.test", To: []string{"code@a.test"}, Expires: end,
			Content: strings.NewReader(text),
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		w.rest(disreputable)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		expired := w.events.all(event.Expired)
		if len(expired) != 1 || expired[0].Time.Before(end) ||
			expired[0].Time.After(end.Add(time.Minute)) || expired[0].Attempt != 1 {
			t.Errorf("events %s", show(w.events.all()))
		}
	})
}

func TestKeepGoing(t *testing.T) {
	inRefusers(t, func(c *relay.Config) {
		c.Shaping.KeepGoing = true
	}, func(t *testing.T, w *refusers) {
		w.refuse(disreputable)
		for i := range 10 {
			w.send("", fmt.Sprintf("x%d@a.test", i))
		}
		if len(w.events.all(event.Bounced)) != 10 || len(w.events.all(event.Throttled)) != 0 {
			t.Errorf("events %s", show(w.events.all()))
		}
		if list := w.Relay.Throttles(); len(list) != 0 {
			t.Errorf("throttles %+v", list)
		}
	})
}
