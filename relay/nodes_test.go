package relay_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// What a killed relay was busy with is delivered by another one within two and
// a half minutes.
func TestMailOfAKilledRelayGoesOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 10*time.Second)
		a := c.begin("a", c.config("a", "*"))
		b := c.begin("b", c.config("b", "*"))
		b.cut.Store(true) // it gets nothing to begin with
		time.Sleep(time.Second)
		to := c.submit(a, 5, "x.test")
		time.Sleep(time.Second)
		a.kill()
		b.cut.Store(false)
		time.Sleep(150 * time.Second)
		if n := c.delivered(to, "* by b"); n != 5 || c.left() != 0 {
			t.Errorf("delivered %d of 5, left %d", n, c.left())
		}
	})
}

// A relay that is cut off from the store stops delivering before another one
// begins, and what its attempts came to then does not count.
func TestRelayThatIsCutOffStops(t *testing.T) {
	for name, lease := range map[string]time.Duration{
		"by default": 2 * time.Minute, "a short lease": 5 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 5*lease)
				cfg := func(name string) relay.Config {
					cfg := c.config(name, "*")
					cfg.LeaseTime = lease
					return cfg
				}
				a := c.begin("a", cfg("a"))
				to := c.submit(a, 5, "x.test")
				time.Sleep(lease / 2)
				a.cut.Store(true)
				b := c.begin("b", cfg("b"))
				time.Sleep(5 * lease / 4)
				if n := c.peak("a", 0); n != 0 {
					t.Errorf("%d transactions of the one that is cut off", n)
				}
				if n := c.peak("b", 0); n != 5 {
					t.Errorf("%d transactions of the other one, want 5", n)
				}
				time.Sleep(lease)
				a.cut.Store(false)
				time.Sleep(6 * lease)
				if n := c.delivered(to, "* by b"); n != 5 || c.left() != 0 {
					t.Errorf("delivered %d of 5, left %d", n, c.left())
				}
				b.stop()
				to = c.submit(a, 1, "x.test")
				time.Sleep(6 * lease)
				if n := c.delivered(to, "* by a"); n != 1 {
					t.Error("the one that was cut off does not go on")
				}
			})
		})
	}
}

// What an attempt came to after its lease had ended does not count, even if the
// store would take it: the message is delivered by another attempt.
func TestFailureWithoutALeaseDoesNotCount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, time.Hour)
		a := c.begin("a", c.config("a", "*"))
		to := c.submit(a, 5, "x.test")
		time.Sleep(time.Second)
		c.takes.Store(int64(time.Second))
		a.noRenew.Store(true)
		time.Sleep(2 * time.Minute)
		a.noRenew.Store(false)
		time.Sleep(time.Minute)
		if n := c.delivered(to, "* by a"); n != 5 || c.left() != 0 {
			t.Errorf("delivered %d of 5, left %d", n, c.left())
		}
	})
}

// Relays divide what a destination is to get, and one that is left alone has
// all of it.
func TestRelaysDivideLimits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 500*time.Millisecond)
		a := c.begin("a", c.config("a", "*"))
		time.Sleep(time.Second)
		b := c.begin("b", c.config("b", "*"))
		time.Sleep(10 * time.Second)
		rankA, liveA := a.Nodes()
		rankB, liveB := b.Nodes()
		if rankA != 0 || liveA != 2 || rankB != 1 || liveB != 2 {
			t.Errorf("%d of %d and %d of %d", rankA, liveA, rankB, liveB)
		}
		c.submit(a, 800, "x.test")
		time.Sleep(3 * time.Second)
		if x, y := c.peak("a", time.Second), c.peak("b", time.Second); x != 10 || y != 10 {
			t.Errorf("%d and %d at once, want 10 each", x, y)
		}
		b.stop()
		time.Sleep(10 * time.Second)
		if n := c.peak("a", time.Second); n != 20 {
			t.Errorf("%d at once, want 20", n)
		}
		if _, live := a.Nodes(); live != 1 {
			t.Errorf("%d relays", live)
		}
		time.Sleep(time.Minute)
		if c.left() != 0 {
			t.Errorf("left %d", c.left())
		}
	})
}

// Each relay delivers by the connectors that it has, and leaves to others what
// is for theirs, until they are gone for good.
func TestConnectorOfAnotherRelay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 10*time.Millisecond)
		a := c.begin("a", c.config("a", "a.test", "*"))
		b := c.begin("b", c.config("b", "b.test", "*"))
		time.Sleep(time.Second)
		toA, toB := c.submit(a, 50, "a.test"), c.submit(b, 50, "b.test")
		time.Sleep(time.Minute)
		if x, y := c.delivered(toA, "a.test by a"), c.delivered(toB, "b.test by b"); x+y != 100 {
			t.Errorf("delivered %d and %d of 50 each", x, y)
		}
		c.takes.Store(int64(time.Hour))
		toB = c.submit(b, 5, "b.test")
		time.Sleep(time.Second)
		c.takes.Store(int64(10 * time.Millisecond))
		b.stop()
		time.Sleep(80 * time.Second)
		if c.left() != 5 {
			t.Errorf("%d left of what waits for a relay that starts again", c.left())
		}
		b = c.begin("b", c.config("b", "b.test", "*"))
		time.Sleep(20 * time.Second)
		if n := c.delivered(toB, "b.test by b"); n != 5 {
			t.Errorf("delivered %d of 5 after the restart", n)
		}
		c.takes.Store(int64(time.Hour))
		toB = c.submit(b, 5, "b.test")
		time.Sleep(time.Second)
		c.takes.Store(int64(10 * time.Millisecond))
		b.kill()
		time.Sleep(150 * time.Second)
		if n := c.delivered(toB, "* by a"); n != 5 || c.left() != 0 {
			t.Errorf("delivered %d of 5 once the other one is gone, left %d", n, c.left())
		}
	})
}

// A relay that has no send connector for a message leaves it to one that has.
func TestRelayThatDoesNotSendToAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 10*time.Millisecond)
		edge := c.begin("edge", c.config("edge", "other.test"))
		inner := c.begin("inner", c.config("inner", "*"))
		time.Sleep(10 * time.Second)
		inner.cut.Store(true)
		to := c.submit(edge, 50, "x.test")
		time.Sleep(20 * time.Second)
		inner.cut.Store(false)
		time.Sleep(20 * time.Second)
		if n := c.delivered(to, "* by inner"); n != 50 {
			t.Errorf("delivered %d of 50", n)
		}
	})
}

// Relays are restarted one after the other with a new configuration, and then
// fewer: nothing is stranded, and each message leaves by the connector that it
// was queued for, as long as a relay has it.
func TestRollingRestartStrandsNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 50*time.Millisecond)
		old, now := []string{"old.test", "*"}, []string{"new.test", "*"}
		var members []*member
		for _, name := range []string{"a", "b", "c"} {
			members = append(members, c.begin(name, c.config(name, old...)))
		}
		time.Sleep(10 * time.Second)
		var all, fresh []string
		put := func(m *member, domains ...string) {
			for _, d := range domains {
				to := c.submit(m, 20, d)
				all = append(all, to...)
				if d == "new.test" {
					fresh = append(fresh, to...)
				}
			}
		}
		for i, m := range members {
			put(m, "old.test", "x.test")
			time.Sleep(100 * time.Millisecond)
			m.stop()
			time.Sleep(5 * time.Second)
			members[i] = c.begin(m.name, c.config(m.name, now...))
			put(members[i], "new.test", "x.test")
			time.Sleep(20 * time.Second)
		}
		put(members[2], "new.test", "x.test")
		time.Sleep(100 * time.Millisecond)
		members[0].stop()
		members[2].stop()
		time.Sleep(3 * time.Minute)
		if c.left() != 0 {
			t.Errorf("left %d", c.left())
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, rcpt := range all {
			if f := c.fates[rcpt]; len(f) != 1 || f[0] != event.Delivered {
				t.Errorf("%s: %v", rcpt, f)
			}
			if by := c.by[rcpt]; slices.Contains(fresh, rcpt) != strings.HasPrefix(by, "new.test") {
				t.Errorf("%s left by %s", rcpt, by)
			}
		}
	})
}

// A relay alone routes the mail of a connector that it has no more anew, and at
// once.
func TestRelayAloneReroutesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, time.Hour)
		a := c.begin("a", c.config("a", "a.test", "*"))
		to := c.submit(a, 10, "a.test")
		time.Sleep(time.Second)
		a.stop()
		c.takes.Store(int64(10 * time.Millisecond))
		a = c.begin("a", c.config("a", "*"))
		time.Sleep(2 * time.Second)
		if n := c.delivered(to, "* by a"); n != 10 {
			t.Errorf("delivered %d of 10 by the other connector", n)
		}
		to = c.submit(a, 1, "x.test")
		time.Sleep(time.Second)
		if n := c.delivered(to, "* by a"); n != 1 {
			t.Error("other mail waits")
		}
	})
}

func TestLeaseTimeIsChecked(t *testing.T) {
	for lease, ok := range map[time.Duration]bool{
		0: true, time.Second: true, time.Hour: true,
		-time.Second: false, time.Nanosecond: false, time.Second - 1: false,
	} {
		_, err := relay.New(relay.Config{
			Hostname: "relay.example.test", Spool: memspool.New(nil), LeaseTime: lease,
		})
		if (err == nil) != ok {
			t.Errorf("%v: %v", lease, err)
		}
		if e, is := errors.AsType[*postern.FieldError](err); !ok &&
			(!is || e.Field != "LeaseTime") {
			t.Errorf("%v: %v", lease, err)
		}
	}
	r, err := relay.New(relay.Config{Hostname: "relay.example.test", Spool: memspool.New(nil)})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(relay.Config{LeaseTime: 2 * time.Minute}); err != nil {
		t.Error(err)
	}
	e, ok := errors.AsType[*postern.FieldError](r.Reload(relay.Config{LeaseTime: time.Minute}))
	if !ok || e.Field != "LeaseTime" {
		t.Errorf("a reload with another one: %v", e)
	}
}
