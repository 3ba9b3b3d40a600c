package auth_test

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
)

func TestThrottleSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(
			auth.ThrottleOptions{Exempt: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}},
		)
		g.want(t, "192.0.2.1", "anna", "secret", 0, "yes")
		for _, tt := range []struct{ first, second, other string }{
			{"192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"},
			{"2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1"},
		} {
			for i := range 21 {
				g.want(t, tt.first, fmt.Sprint("user", i), "guess", 0, "no")
			}
			g.want(t, tt.second, "bert", "secret", time.Second, "yes")
			g.want(t, tt.second, "user", "guess", 0, "no")
			g.want(t, tt.second, "user", "other", 2*time.Second, "no")
			g.want(t, tt.other, "user", "other", 0, "no")
		}
		g.want(t, "192.0.2.1", "anna", "secret", 0, "yes") // has been here before
		for i := range 100 {
			g.want(t, "198.51.100.1", "anna", fmt.Sprint("guess", i), 0, "no")
		}
	})
}

func TestThrottleNoSource(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(auth.ThrottleOptions{})
		for i := range 10 {
			_, err := g.Verify(
				t.Context(), auth.Proof{Username: "anna", Password: fmt.Sprint(i)},
			)
			if throttled, ok := errors.AsType[*auth.ThrottledError](err); ok != (i == 9) {
				t.Errorf("%d: %v, %v", i, throttled, err)
			}
		}
	})
}

// Whoever holds an IPv6 /48 has 65536 sources, and not as many tries;
// neighbours who have been there before do not wait.
func TestThrottleNetworks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name             string
		source           string // of the nth attempt
		free             int
		same, next, user string
	}{
		{
			"56", "2001:db8:0:1%02x::1", 80,
			"2001:db8:0:1ff:1::1", "2001:db8:0:200::1", "2001:db8:0:1ff::1",
		},
		{
			"48", "2001:db8:0:%02x00::1", 320,
			"2001:db8:0:ffff::1", "2001:db8:1::1", "2001:db8:0:1::1",
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newGuarded(auth.ThrottleOptions{})
			g.want(t, tt.user, "anna", "secret", 0, "yes")
			for i := range tt.free + 1 {
				source := fmt.Sprintf(tt.source, i%250)
				g.want(t, source, fmt.Sprint("user", i), "guess", 0, "no")
			}
			g.want(t, tt.same, "user", "guess", time.Second, "no")
			g.want(t, tt.same, "other", "guess", 2*time.Second, "no")
			g.want(t, tt.user, "anna", "secret", 0, "yes")
			g.want(t, tt.next, "anna", "secret", 0, "yes")
			g.want(t, "192.0.2.1", "anna", "secret", 0, "yes")
			if waiting, running := g.Waiting(); waiting != 0 || running != 0 {
				t.Errorf("%d waiting, %d running", waiting, running)
			}
		})
	}
}

// Guesses made side by side from a /48 count as if made one after the other.
func TestThrottleNetworksSideBySide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(auth.ThrottleOptions{})
		g.takes = 10 * time.Second
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				g.try(t, fmt.Sprintf("2001:db8:0:%x::1", i*64), fmt.Sprint("user", i), "guess")
			})
		}
		wg.Wait()
		if n := g.asked.Load(); n > 330 {
			t.Errorf("%d guesses were looked at", n)
		}
		if waiting, running := g.Waiting(); waiting != 0 || running != 0 {
			t.Errorf("%d waiting, %d running", waiting, running)
		}
	})
}

// An attacker who names a user from everywhere costs the user no more than a
// moment, and nothing where the user has been before.
func TestThrottleVictim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(auth.ThrottleOptions{})
		g.want(t, "192.0.2.1", "anna", "secret", 0, "yes")
		var all sync.WaitGroup
		for s := range 100 {
			all.Go(func() {
				for i := range 100 {
					g.try(t, fmt.Sprint("10.0.0.", s), "anna", fmt.Sprint("guess", i))
				}
			})
		}
		all.Wait()
		if n := g.asked.Load(); n > 1001 {
			t.Errorf("%d guesses", n)
		}
		for range 10 {
			g.want(t, "192.0.2.1", "anna", "secret", 0, "yes")
		}
		g.want(t, "192.0.2.2", "anna", "secret", time.Second, "yes")
		g.want(t, "192.0.2.2", "anna", "secret", 0, "yes")
		g.want(t, "192.0.2.3", "bert", "secret", 0, "yes")
	})
}

// Guesses side by side are no more than guesses one after the other.
func TestThrottleSideBySide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(auth.ThrottleOptions{})
		g.takes = 100 * time.Millisecond
		var all sync.WaitGroup
		for i := range 1000 {
			all.Go(func() { g.try(t, "192.0.2.1", "anna", fmt.Sprint("guess", i)) })
		}
		all.Wait()
		if n := g.asked.Load(); n < 6 || n > 9 {
			t.Errorf("%d guesses", n)
		}
		if waiting, running := g.Waiting(); waiting != 0 || running != 0 {
			t.Errorf("%d waiting, %d running", waiting, running)
		}
	})
}

// Whoever shares an address with a user does not guess more for it: neither
// side by side, nor between the user's own logons.
func TestThrottleNeighbour(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(auth.ThrottleOptions{})
		g.takes = 100 * time.Millisecond
		g.want(t, "192.0.2.1", "anna", "secret", 0, "yes")
		var all sync.WaitGroup
		for i := range 1000 {
			all.Go(func() { g.try(t, "192.0.2.1", "anna", fmt.Sprint("guess", i)) })
		}
		all.Wait()
		if n := g.asked.Load(); n > 30 {
			t.Errorf("%d guesses side by side", n)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(auth.ThrottleOptions{})
		seen := 0
		for i := range 1000 {
			if _, got := g.try(t, "192.0.2.1", "anna", fmt.Sprint("guess", i)); got == "no" {
				seen++
			}
			if i%5 == 4 {
				time.Sleep(time.Minute)
				g.try(t, "192.0.2.1", "anna", "secret")
			}
		}
		if seen > 150 {
			t.Errorf("%d guesses in 200 minutes", seen)
		}
	})
}
