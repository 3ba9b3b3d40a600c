package relay_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/relaytest"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// silence listens on 127.0.0.2 and takes connections, but never says a word. A
// healthy host listens on the same port of 127.0.0.1.
func silence(t *testing.T) (healthy *sink, port uint16) {
	t.Helper()
	var l net.Listener
	for range 20 { // another program may have the port of the first ones
		healthy = sinkFor(t, nil)
		port = netip.MustParseAddrPort(healthy.addr()).Port()
		var err error
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", port)); err == nil {
			break
		}
	}
	if l == nil {
		t.Fatal("no port is free on both addresses")
	}
	var mu sync.Mutex
	var conns []net.Conn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			c.Close()
		}
	})
	return healthy, port
}

// hosts is a Resolver: domains under silent.test live on 127.0.0.2, all others
// on 127.0.0.1.
type hosts struct{ *relaytest.Zone }

func (hosts) LookupNetIP(
	_ context.Context, _, name string,
) (a delivery.Answer[netip.Addr], err error) {
	addr := "127.0.0.1"
	if strings.HasSuffix(name, "silent.test") {
		addr = "127.0.0.2"
	}
	a.Records = []netip.Addr{netip.MustParseAddr(addr)}
	return a, nil
}

// TestSilentHostsHoldUpNobody attacks a relay with hosts that take connections
// and never say a word: one message to a hundred of their domains, a stranger's
// hundred messages whose success reports go there, the backlog of four such
// destinations after a restart, and one of two smart hosts. Mail to mailboxes
// and to healthy destinations does not wait until a host counts as slow, which
// takes ten seconds, or is given up.
func TestSilentHostsHoldUpNobody(t *testing.T) {
	healthy, port := silence(t)
	mute := fmt.Sprintf("127.0.0.2:%d", port)

	store, err := filespool.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	spaces := func(domains ...string) (list []connector.AddressSpace) {
		for _, d := range domains {
			list = append(list, connector.AddressSpace{Domain: d})
		}
		return list
	}
	settings := func(c *relay.Config) {
		c.Spool, c.Resolver, c.Transport = store, hosts{relaytest.NewZone()}, nil
		c.Connectors[1].Limits.MessageRate = -1
		c.DrainTimeout = 100 * time.Millisecond
		c.SendConnectors = []*connector.SendConnector{
			{
				Name: "mx", AddressSpaces: spaces("*"), NextHop: connector.NextHop{Port: int(port),
					AllowPrivateAddresses: true},
			},
			{
				Name: "pair", AddressSpaces: spaces("pair.test"),
				NextHop: connector.NextHop{Hosts: []string{mute, healthy.addr()}},
			},
		}
		for i := range 4 {
			c.SendConnectors = append(c.SendConnectors, &connector.SendConnector{
				Name:          fmt.Sprint("stalled", i),
				AddressSpaces: spaces(fmt.Sprintf("stalled%d.test", i)),
				NextHop:       connector.NextHop{Hosts: []string{mute}},
			})
		}
	}
	before := idle(t, settings) // an earlier process
	for range 50 {
		for i := range 4 {
			submit(t, before, "app@example.test", fmt.Sprintf("x@stalled%d.test", i))
		}
	}
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}

	w := start(t, settings)
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("x@d%d.silent.test", i))
	}
	submit(t, w.relay, "app@example.test", many...)
	stranger := w.dial(t, "in")
	for i := range 100 {
		stranger.Play(fmt.Sprintf("C: MAIL FROM:<x@r%d.silent.test>\nS: 250 ", i))
		stranger.Play("C: RCPT TO:<alice@example.test> NOTIFY=SUCCESS\nS: 250 ")
		stranger.Play("C: DATA\nS: 354 ")
		stranger.Send("From: x@silent.test\r\n\r\nhi\r\n.\r\n")
		stranger.Expect("250 ")
	}
	for i := range 20 {
		submit(t, w.relay, "app@example.test", fmt.Sprintf("x%d@pair.test", i))
	}
	time.Sleep(1500 * time.Millisecond) // until all that can hang does

	for _, to := range []string{
		"bob@example.test", "x@healthy.test", "x@other.test", "fresh@pair.test",
	} {
		began := time.Now()
		id := submit(t, w.relay, "app@example.test", to)
		w.events.wait(t, func(e event.Event) bool {
			return e.Kind == event.Delivered && e.QueueID == id
		})
		if d := time.Since(began); d > 9*time.Second { // on a busy machine too
			t.Errorf("%s waited for %v", to, d)
		}
	}
}

// reports are the messages of a capture that hold all of the words.
func reports(c *capture, words ...string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.got {
		found := true
		for _, word := range words {
			found = found && strings.Contains(m.content, word)
		}
		if found {
			n++
		}
	}
	return n
}

// down is a transport whose next hop cannot be reached, until it is up.
type down struct {
	mu    sync.Mutex
	up    bool
	tried map[string]int // attempts by queue id
	takes time.Duration
}

func (d *down) Deliver(_ context.Context, a *delivery.Attempt) []delivery.Result {
	time.Sleep(d.takes)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tried == nil {
		d.tried = make(map[string]int)
	}
	d.tried[a.QueueID]++
	results := make([]delivery.Result, len(a.Recipients))
	for i := range results {
		if d.up {
			results[i] = delivery.Taken(
				"", delivery.Reply{Code: 250, Enhanced: "2.0.0", Text: "taken"},
			)
			continue
		}
		results[i].Err = &delivery.Error{
			Op: delivery.OpDial, Err: errors.New("no route to host"),
			Reply: delivery.Reply{Enhanced: "4.4.1"},
		}
	}
	return results
}

// TestExpiresWhileHostIsDown keeps 60 messages for a host that is down: all get
// their delay notice and their end in time, though few of them are attempted.
func TestExpiresWhileHostIsDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		box, events := newCapture(), new(record)
		host := &down{takes: time.Second}
		cfg := local(box, host)
		cfg.Events = events.add
		cfg.Retry.Expires = 8 * time.Hour
		r := run(t, cfg)
		began := time.Now()
		for range 60 {
			submit(t, r, "app@example.test", "x@elsewhere.test")
		}
		time.Sleep(4*time.Hour + 12*time.Minute) // a few are not due before
		synctest.Wait()
		if n := reports(box, "Action: delayed", "Status: 4.4.1"); n != 60 {
			t.Errorf("%d delay notices of 60", n)
		}
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		expired := events.all(event.Expired)
		if len(expired) != 60 {
			t.Errorf("%d of 60 expired", len(expired))
		}
		tries := 0
		for _, e := range expired {
			if age := e.Time.Sub(began); age < 8*time.Hour || age > 8*time.Hour+2*time.Second {
				t.Errorf("%s expired after %v", e.QueueID, age)
			}
			if e.Report == "" || e.Enhanced != "4.4.1" {
				t.Errorf("event %+v", e)
			}
			tries += host.tried[e.QueueID]
			if host.tried[e.QueueID] == 0 {
				t.Errorf("%s was never tried", e.QueueID)
			}
		}
		if n := reports(box, "Action: failed", "Status: 4.4.7"); n != 60 {
			t.Errorf("%d failure reports of 60", n)
		}
		if n := reports(box, "Action: delayed"); n != 60 {
			t.Errorf("%d delay notices of 60 in the end", n)
		}
		if tries > 8*60+100 {
			t.Errorf("%d attempts: the route did not rest", tries)
		}
		if stats, err := r.Stats(t.Context()); err != nil || stats.Messages != 0 {
			t.Errorf("left %+v, %v", stats, err)
		}
	})
}

// TestOwnDowntimeBouncesNothing ends a relay for three days: what has expired
// meanwhile gets an attempt before it ends.
func TestOwnDowntimeBouncesNothing(t *testing.T) {
	for name, up := range map[string]bool{"the host is up": true, "the host is down": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				store := memspool.New(nil)
				box, events := newCapture(), new(record)
				host := &down{}
				cfg := local(box, host)
				cfg.Spool, cfg.Hostname, cfg.Events = store, "relay.example.test", events.add
				first, err := relay.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				go first.Run(context.Background())
				ids := make(map[string]int)
				for range 20 {
					ids[submit(t, first, "app@example.test", "x@elsewhere.test")] = 0
				}
				time.Sleep(time.Hour)
				first.Close()
				for id := range ids {
					ids[id] = host.tried[id]
				}
				time.Sleep(72 * time.Hour)
				host.up = up
				r := run(t, cfg)
				time.Sleep(time.Hour)
				synctest.Wait()
				for id, before := range ids {
					if n := host.tried[id] - before; n != 1 {
						t.Errorf("%s was tried %d times after the start, want once", id, n)
					}
				}
				delivered, expired := events.all(event.Delivered), events.all(event.Expired)
				for _, e := range expired {
					if _, ok := ids[e.QueueID]; up && ok {
						t.Errorf("expired: %+v", e)
					}
				}
				if up && len(delivered) < 20 || !up && len(expired) != 20 {
					t.Errorf("%d delivered, %d expired", len(delivered), len(expired))
				}
				if stats, err := r.Stats(t.Context()); err != nil || stats.Messages != 0 {
					t.Errorf("left %+v, %v", stats, err)
				}
			})
		})
	}
}

// TestLateNoticeComesOnce lets the notice fail to be queued: it comes later and
// once.
func TestLateNoticeComesOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		box := newCapture()
		began, failed := time.Now(), atomic.Int64{}
		store := &hooked{Store: memspool.New(nil), commit: func(
			_ context.Context, c spool.Commit,
		) error {
			if len(c.Settle) > 0 && time.Since(began) < 6*time.Hour {
				failed.Add(1)
				return spool.ErrFull
			}
			return nil
		}}
		cfg := local(box, &down{})
		cfg.Spool = store
		r := run(t, cfg)
		for range 20 {
			submit(t, r, "app@example.test", "x@elsewhere.test", "y@elsewhere.test")
		}
		time.Sleep(12 * time.Hour)
		synctest.Wait()
		if n := reports(box, "Action: delayed"); n != 20 || failed.Load() == 0 {
			t.Errorf("%d notices of 20, %d failures of the store", n, failed.Load())
		}
	})
}

// TestUntriedExpireWhileHostIsDown gives each message its one attempt although
// the route rests, so that all end soon after they have expired.
func TestUntriedExpireWhileHostIsDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		events, host := new(record), &down{}
		cfg := local(newCapture(), host)
		cfg.Events, cfg.Retry.Expires = events.add, time.Minute
		r := run(t, cfg)
		for range 200 {
			submit(t, r, "app@example.test", "x@elsewhere.test")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := len(events.all(event.Expired)); n != 200 || len(host.tried) != 200 {
			t.Errorf("%d of 200 expired, %d tried", n, len(host.tried))
		}
	})
}
