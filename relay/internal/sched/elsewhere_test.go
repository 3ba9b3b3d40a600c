package sched_test

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
)

// ownedBy leaves the keys of a connector to others while somebody has it.
func ownedBy(connector string, lives *atomic.Bool) func(*sched.Config) {
	return func(cfg *sched.Config) {
		cfg.Elsewhere = func(k spool.Key) bool {
			return strings.HasPrefix(k.Route, connector+"/") && lives.Load()
		}
	}
}

// What another process is for is left to it, and holds up neither that one nor
// anything else.
func TestDeliveriesOfOthersAreLeftToThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 10*time.Millisecond)
		var lives atomic.Bool
		lives.Store(true)
		b := c.begin("b", ownedBy("theirs", &lives))
		each(t, c.store, "app", slices.Repeat(routes("theirs/d%d", 20), 25))
		each(t, c.store, "app", routes("ours/d%d", 20))
		b.Wake()
		time.Sleep(10 * time.Minute)
		if n := c.count(c.settled, "b"); n != 20 {
			t.Errorf("settled %d of its 20", n)
		}
		// Each route is looked at 11 times to 15 seconds, and 40 times from
		// then on.
		if n := b.handed() - 20; n > 20*5*(11+40+1) {
			t.Errorf("leased %d deliveries of others in 10 minutes", n)
		}
		a := c.begin("a", nil)
		time.Sleep(5 * time.Second)
		if n := c.count(c.settled, "a"); n != 500 {
			t.Errorf("who they are for has settled %d of 500", n)
		}
		a.stop()
		each(t, c.store, "app", routes("theirs/d%d", 20))
		b.Wake()
		time.Sleep(time.Minute)
		lives.Store(false)
		time.Sleep(20 * time.Second)
		if n := c.count(c.settled, "b"); n != 40 || c.left() != 0 {
			t.Errorf("settled %d of 40 once nobody else is there, left %d", n, c.left())
		}
	})
}

// However many domains the route of another process has, they are not looked at
// again and again.
func TestManyDomainsOfOthersCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 10*time.Millisecond)
		var lives atomic.Bool
		lives.Store(true)
		b := c.begin("b", ownedBy("theirs", &lives))
		const n = 3000
		for i := range n {
			k := spool.Key{Route: "theirs/mx", Domain: fmt.Sprint(i)}
			commitKeys(t, c.store, "app", k)
		}
		commit(t, c.store, "app", "ours/d")
		b.Wake()
		time.Sleep(2 * time.Minute)
		if got := b.handed(); got > n {
			t.Errorf("leased %d deliveries of others in 2 minutes", got)
		}
		if n := c.count(c.settled, "b"); n != 1 {
			t.Errorf("settled %d of its own", n)
		}
		c.begin("a", nil)
		time.Sleep(5 * time.Second)
		if got := c.count(c.settled, "a"); got != n {
			t.Errorf("who they are for has settled %d of %d", got, n)
		}
	})
}

// A limit that becomes less lets attempts end, and one that grows again is used
// in full.
func TestLimitsOfRoutesFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 100*time.Millisecond)
		var limit atomic.Int64
		limit.Store(20)
		a := c.begin("a", func(cfg *sched.Config) {
			cfg.RouteLimit = func(spool.Key) int { return int(limit.Load()) }
		})
		each(t, c.store, "app", slices.Repeat([]string{"mx/d"}, 2000))
		a.Wake()
		peak := func() int {
			c.mu.Lock()
			c.most["a"] = c.active["a"]
			c.mu.Unlock()
			time.Sleep(2 * time.Second)
			return c.count(c.most, "a")
		}
		time.Sleep(3 * time.Second)
		if n := peak(); n != 20 {
			t.Errorf("%d at once, want 20", n)
		}
		limit.Store(7)
		a.Limit()
		time.Sleep(200 * time.Millisecond)
		if n := peak(); n != 7 {
			t.Errorf("%d at once, want 7", n)
		}
		limit.Store(20)
		a.Limit()
		time.Sleep(3 * time.Second)
		if n := peak(); n != 20 {
			t.Errorf("%d at once, want 20 again", n)
		}
	})
}
