package nodes_test

import (
	"errors"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool/memspool"
)

// until looks up a route until the answer is another, and returns how long that
// took.
func (n *node) until(route string, elsewhere bool) time.Duration {
	begun := time.Now()
	for n.Elsewhere(route) != elsewhere && time.Since(begun) < time.Hour {
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(begun)
}

func within(t *testing.T, what string, took, least, most time.Duration) {
	t.Helper()
	if took < least || took > most {
		t.Errorf("%s took %v, want %v to %v", what, took, least, most)
	}
}

const lease = 2 * time.Minute

// A relay that is alone knows at once that a route is nobody else's.
func TestRouteOfNobodyAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a := begin(t, memspool.New(nil), lease)
		within(t, "knowing", a.until("send/gone", false), 0, time.Second)
	})
}

// Beside others, a route is nobody's only after a while: who has just begun may
// not have told of it yet.
func TestRouteOfNobodyBesideOthers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := memspool.New(nil)
		a := begin(t, m, lease)
		b := begin(t, m, lease, "send/b")
		time.Sleep(10 * time.Second)
		within(t, "knowing", a.until("send/gone", false), 5*time.Second, 11*time.Second)
		if !a.Elsewhere("send/gone2") {
			t.Error("a route is nobody's before anybody was asked")
		}
		b.serve("send/b", "send/gone2")
		for range 100 {
			time.Sleep(time.Second)
			if !a.Elsewhere("send/gone2") {
				t.Fatal("a new route of another one counts as nobody's")
			}
		}
	})
}

// A route is another one's for as long as a lease after its last sign of life:
// a restart strands nothing, and one that does not come back leaves it to
// others.
func TestRouteOutlivesARestart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := memspool.New(nil)
		a := begin(t, m, lease)
		b := begin(t, m, lease, "send/b")
		time.Sleep(10 * time.Second)
		watch := func(d time.Duration) {
			t.Helper()
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				if !a.Elsewhere("send/b") {
					t.Fatalf("nobody's after %v", d-time.Until(end))
				}
			}
		}
		watch(10 * time.Minute)
		b.stop()
		watch(80 * time.Second)
		c := begin(t, m, lease, "send/b")
		watch(10 * time.Minute)
		c.kill()
		within(t, "leaving it", a.until("send/b", false), 80*time.Second, lease+20*time.Second)
	})
}

// A route that is taken out of a configuration is nobody's soon.
func TestRouteIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := memspool.New(nil)
		a := begin(t, m, lease)
		b := begin(t, m, lease, "send/b", "send/c")
		time.Sleep(10 * time.Second)
		a.until("send/c", true)
		b.serve("send/b")
		within(t, "leaving it", a.until("send/c", false), 0, 12*time.Second)
		if !a.Elsewhere("send/b") {
			t.Error("the other one is nobody's too")
		}
	})
}

// The last relay takes its routes along, so that the next one with another
// configuration need not wait.
func TestLastRelayTakesItsRoutes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := memspool.New(nil)
		begin(t, m, lease, "send/old").stop()
		a := begin(t, m, lease, "send/new")
		within(t, "knowing", a.until("send/old", false), 0, time.Second)
	})
}

// What is not known, since the store does not answer, may be another one's.
func TestUnansweredRouteMayBeAnotherOnes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := memspool.New(nil)
		a := begin(t, m, lease)
		begin(t, m, lease)
		time.Sleep(10 * time.Second)
		within(t, "knowing", a.until("send/b", false), 0, 12*time.Second)
		a.set(errors.New("down"), "")
		time.Sleep(20 * time.Second)
		if !a.Elsewhere("send/b") {
			t.Error("an old answer counts")
		}
	})
}
