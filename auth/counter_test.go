package auth_test

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

	"github.com/postern-mail/postern/auth"
)

// common is a Counter in memory, which fails or hangs when it is told to.
type common struct {
	mu    sync.Mutex
	count map[string]int64
	ends  map[string]time.Time
	asked []string
	fail  error
	hangs bool
}

func newCommon() *common {
	return &common{count: map[string]int64{}, ends: map[string]time.Time{}}
}

func (c *common) Add(
	ctx context.Context, key string, n int64, ttl time.Duration,
) (int64, error) {
	if c.hangs {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, key)
	if c.fail != nil {
		return 0, c.fail
	}
	if !time.Now().Before(c.ends[key]) {
		c.count[key], c.ends[key] = 0, time.Now().Add(ttl)
	}
	c.count[key] += n
	return c.count[key], nil
}

// What one process has seen of a source slows it down in all others, after one
// more failure there.
func TestThrottlesShareFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opt := auth.ThrottleOptions{Counter: newCommon()}
		a, b := newGuarded(opt), newGuarded(opt)
		for i := range 19 {
			a.want(t, "192.0.2.1", fmt.Sprint("user", i), "guess", 0, "no")
		}
		b.want(t, "192.0.2.1", "x", "guess", 0, "no")
		b.want(t, "192.0.2.1", "y", "guess", 0, "no") // the 21st of all
		b.want(t, "192.0.2.1", "z", "guess", time.Second, "no")
		b.want(t, "192.0.2.1", "z2", "guess", 2*time.Second, "no")
		b.want(t, "192.0.2.9", "x", "guess", 0, "no") // another source
		a.want(t, "192.0.2.1", "v", "guess", 0, "no") // one, until it learns more
		a.want(t, "192.0.2.1", "w", "guess", 0, "later 8s")
	})
}

// So does what they have seen of a network, and of a user.
func TestThrottlesShareNetworksAndUsers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		opt := auth.ThrottleOptions{Counter: newCommon(), MaxUserDelay: 3 * time.Second}
		a, b := newGuarded(opt), newGuarded(opt)
		for i := range 81 { // 80 are free to a /56
			a.want(t, fmt.Sprintf("2001:db8:0:%x::1", i), fmt.Sprint("u", i), "guess", 0, "no")
		}
		b.want(t, "2001:db8:0:ff::1", "x", "guess", 0, "no")
		b.want(t, "2001:db8:0:fe::1", "x", "guess", 2*time.Second, "no")

		for i := range 25 {
			a.try(t, fmt.Sprintf("198.51.100.%d", i), "ANNA", "guess")
		}
		b.want(t, "198.51.100.101", "anna", "guess", 0, "no")
		b.want(t, "198.51.100.102", "anna", "guess", 3*time.Second, "no")
	})
}

// Known users and good secrets ask nothing.
func TestThrottleAsksTheCounterForFailuresOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCommon()
		g := newGuarded(auth.ThrottleOptions{Counter: c})
		for range 10 {
			g.want(t, "192.0.2.1", "anna", "secret", 0, "yes")
		}
		if len(c.asked) != 0 {
			t.Errorf("asked %q", c.asked)
		}
		g.want(t, "192.0.2.1", "anna", "guess", 0, "no")
		g.want(t, "192.0.2.1", "anna", "guess", 0, "no") // again
		if len(c.asked) != 2 {
			t.Errorf("asked %q", c.asked)
		}
		for _, key := range c.asked {
			if len(key) > 100 || strings.Contains(key, "192.0") || strings.Contains(key, "anna") {
				t.Errorf("key %q", key)
			}
		}
	})
}

// A Counter that fails or hangs holds up a logon in five seconds, for a second;
// the process goes by what it knows.
func TestThrottleOutlastsItsCounter(t *testing.T) {
	t.Parallel()
	for _, c := range []*common{{fail: errors.New("down")}, {hangs: true}} {
		synctest.Test(t, func(t *testing.T) {
			g := newGuarded(auth.ThrottleOptions{Counter: c})
			wait := time.Duration(0)
			if c.hangs {
				wait = time.Second
			}
			g.want(t, "192.0.2.1", "anna", "guess", wait, "no")
			for i := range 4 {
				g.want(t, "192.0.2.1", "anna", fmt.Sprint("guess", i), 0, "no")
			}
			g.want(t, "192.0.2.1", "bert", "secret", 0, "yes")
			g.want(t, "192.0.2.1", "anna", "guess4", 0, "no")
			g.want(t, "192.0.2.1", "anna", "guess5", time.Second, "no")
			if len(c.asked) > 1 {
				t.Errorf("asked %d times", len(c.asked))
			}
		})
	}
}

// The cap of a minute holds for all processes together.
func TestKeyringsShareTheCapOfAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store, c := new(auth.MemoryCredentials), newCommon()
		var told []string
		opt := &auth.KeyringOptions{Counter: c, OnError: func(err error) {
			told = append(told, err.Error())
		}}
		list := []*auth.Keyring{auth.NewKeyring(store, opt), auth.NewKeyring(store, opt)}
		_, id := issue(t, list[0], auth.Credential{Owner: "anna", PerMinute: 5})
		spend := func(want ...int) {
			t.Helper()
			var got []int
			for _, k := range list {
				n := 0
				for range 5 {
					err := k.Spend(t.Context(), &auth.Identity{User: "anna", Credential: id})
					if err == nil {
						n++
					} else if refusal(err) != "too many messages in a minute" {
						t.Error(err)
					}
				}
				got = append(got, n)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%v went, want %v", got, want)
			}
		}
		spend(5, 0)
		time.Sleep(time.Minute)
		spend(5, 0)
		time.Sleep(time.Minute)
		c.fail = errors.New("down")
		spend(5, 5) // each for itself
		if len(told) != 2 || !strings.Contains(told[0], id) {
			t.Errorf("told %q", told)
		}
		time.Sleep(time.Minute)
		c.fail = nil
		spend(5, 0)
		if key := c.asked[0]; len(key) > 100 || strings.Contains(key, id) {
			t.Errorf("key %q", key)
		}
	})
}
