package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// A panic in Events changes nothing for the client, Submit, delivery and the
// other events.
func TestEventsPanic(t *testing.T) {
	for _, k := range []event.Kind{event.Accepted, event.Attempted, event.Delivered} {
		t.Run(k.String(), func(t *testing.T) {
			log, told := new(logs), newEvents()
			w := start(t, func(cfg *relay.Config) {
				cfg.Logger = log.logger()
				cfg.Events = func(e event.Event) {
					told.add(e)
					if e.Kind == k {
						panic("boom")
					}
				}
			})
			w.dial(t, "apps").Play(strings.Repeat(envelope+message+"S: 250 2.0.0\n", 2))
			submit(t, w.relay, "", "x@elsewhere.test")
			w.out.wait(t, 3)
			if err := w.relay.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if s, err := w.relay.Stats(t.Context()); err != nil || s != (spool.Stats{}) {
				t.Errorf("left in the queue: %+v, %v", s, err)
			}
			if n := len(told.all(event.Delivered)); n != 3 {
				t.Errorf("%d of 3 Delivered events", n)
			}
			s := log.String()
			if strings.Count(s, "panic=boom") != 3 || !strings.Contains(s, "live_events_test.go") {
				t.Errorf("log %s", s)
			}
		})
	}
}

// Events that ends its goroutine, as t.FailNow does, gets the other events all
// the same.
func TestEventsEndsItsGoroutine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := 0
		cfg := local(newCapture(), newCapture())
		cfg.Events = func(event.Event) {
			n++
			panicOrExit(nil)
		}
		r := run(t, cfg)
		for range 3 {
			submit(t, r, "", "x@elsewhere.test")
		}
		synctest.Wait()
		if n != 9 { // Accepted, Attempted, Delivered
			t.Errorf("%d events", n)
		}
	})
}

// An Events that never returns holds up neither mail nor, for long, the end.
func TestEventsBlock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		box, release := newCapture(), make(chan struct{})
		cfg := local(box, newCapture())
		cfg.Hostname, cfg.Spool = "relay.example.test", memspool.New(nil)
		cfg.Events = func(event.Event) { <-release }
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ran := make(chan error, 1)
		go func() { ran <- r.Run(context.Background()) }()
		for range 100 {
			submit(t, r, "", "alice@example.test")
		}
		box.wait(t, 100)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		err = r.Shutdown(ctx)
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("it took %v", d)
		}
		if !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), " 300 events") {
			t.Errorf("Shutdown: %v", err)
		}
		if got := <-ran; !errors.Is(got, err) {
			t.Errorf("Run: %v", got)
		}
		close(release)
	})
}

// Events that find no room are dropped and counted. Refusals, which strangers
// make, leave room for what happens to mail.
func TestEventsAreBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, release, total := new(logs), make(chan struct{}), 0
		kinds := map[event.Kind]int{}
		cfg := local(newCapture(), newCapture())
		cfg.Logger = log.logger()
		in := bind(connector.New("in", connector.Internet), "127.0.0.1")
		cfg.Connectors = []*connector.Connector{in}
		cfg.Hostname, cfg.Spool = "relay.example.test", memspool.New(nil)
		cfg.Events = func(e event.Event) {
			<-release
			kinds[e.Kind]++
			total++
		}
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		stranger := relay.Peer{Remote: netip.MustParseAddrPort("192.0.2.1:1"), Protocol: "TEST"}
		const refused, accepted = 30_000, 5_000
		for range refused {
			c, err := r.OpenSession(t.Context(), "in", stranger)
			if err != nil {
				t.Fatal(err)
			}
			if c.Refuse(t.Context(), "data", relay.Reject(550, "5.7.1", "no")) == nil {
				t.Fatal("not refused")
			}
		}
		for range accepted {
			submit(t, r, "", "alice@example.test")
		}
		time.Sleep(time.Minute)
		submit(t, r, "", "alice@example.test")
		close(release)
		if err := r.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if kinds[event.Accepted] != accepted+1 {
			t.Errorf("%d of %d Accepted events", kinds[event.Accepted], accepted+1)
		}
		if n := kinds[event.Rejected]; n < 10_000 || n > 16_384 {
			t.Errorf("%d of %d Rejected events", n, refused)
		}
		dropped := 0
		for line := range strings.Lines(log.String()) {
			if _, n, ok := strings.Cut(line, " dropped="); ok {
				var d int
				fmt.Sscan(n, &d)
				dropped += d
			}
		}
		if dropped+total != refused+accepted+1 {
			t.Errorf("%d events, %d dropped by the log", total, dropped)
		}
	})
}

// Delivery does not wait for the commit to return, and Accepted comes first
// none the less.
func TestAcceptedComesFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		box, told := newCapture(), new(record)
		store := &hooked{Store: memspool.New(nil), wake: make(chan struct{}, 1)}
		store.after = func(spool.Commit) {
			store.wake <- struct{}{}
			box.wait(t, 1)
			synctest.Wait()
		}
		cfg := local(box, newCapture())
		cfg.Spool, cfg.Events = store, told.add
		r := run(t, cfg)
		submit(t, r, "", "alice@example.test")
		synctest.Wait()
		var kinds []event.Kind
		for _, e := range told.all() {
			kinds = append(kinds, e.Kind)
		}
		if fmt.Sprint(kinds) != "[accepted attempted delivered]" {
			t.Errorf("events %v", kinds)
		}
	})
}

// A lock that the application holds around Submit and takes in Events is no
// deadlock.
func TestSubmitInsideALock(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var lock sync.Mutex
		told := new(record)
		cfg := local(newCapture(), newCapture())
		cfg.Events = func(e event.Event) {
			lock.Lock()
			defer lock.Unlock()
			told.add(e)
		}
		r := run(t, cfg)
		lock.Lock()
		submit(t, r, "", "alice@example.test")
		lock.Unlock()
		synctest.Wait()
		if n := len(told.all()); n != 3 {
			t.Errorf("%d events", n)
		}
	})
}
