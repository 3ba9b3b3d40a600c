package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
)

// guarded is a verifier of anna and bert behind a throttle, and counts what it
// is asked.
type guarded struct {
	*auth.Throttle
	auth.Verifier
	asked atomic.Int64
	takes time.Duration
}

func newGuarded(opt auth.ThrottleOptions) *guarded {
	g := &guarded{Throttle: auth.NewThrottle(&opt)}
	users := auth.Static(map[string]string{"anna": "secret", "bert": "secret"})
	g.Verifier = g.Guard(auth.VerifierFunc(func(
		ctx context.Context, c auth.Proof,
	) (*auth.Identity, error) {
		g.asked.Add(1)
		time.Sleep(g.takes)
		return users.Verify(ctx, c)
	}))
	return g
}

// try logs on and returns how long that took and what came of it.
func (g *guarded) try(t *testing.T, source, user, password string) (time.Duration, string) {
	t.Helper()
	began := time.Now()
	_, err := g.Verify(t.Context(), auth.Proof{
		Username: user, Password: password,
		Remote: netip.AddrPortFrom(netip.MustParseAddr(source), 1234),
	})
	what := "yes"
	if throttled, ok := errors.AsType[*auth.ThrottledError](err); ok {
		what = fmt.Sprint("later ", throttled.RetryAfter.Round(time.Second))
	} else if errors.Is(err, auth.ErrBadCredentials) {
		what = "no"
	} else if err != nil {
		what = err.Error()
	}
	return time.Since(began).Round(500 * time.Millisecond), what
}

func (g *guarded) want(
	t *testing.T, source, user, password string, wait time.Duration, want string,
) {
	t.Helper()
	if took, got := g.try(t, source, user, password); took != wait || got != want {
		t.Errorf(
			"%s as %s from %s: %q after %v; want %q after %v", password, user, source, got, took,
			want, wait,
		)
	}
}

func TestThrottleGrows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(auth.ThrottleOptions{})
		for i := range 6 {
			g.want(t, "192.0.2.1", "anna", fmt.Sprint("guess", i), 0, "no")
		}
		g.want(t, "192.0.2.1", "anna", "guess6", time.Second, "no")
		g.want(t, "192.0.2.1", "anna", "guess7", 2*time.Second, "no")
		g.want(t, "192.0.2.1", "anna", "guess8", 4*time.Second, "no")
		for range 100 {
			g.want(t, "192.0.2.1", "anna", "secret", 0, "later 8s") // right, but unseen
		}
		if n := g.asked.Load(); n != 9 {
			t.Errorf("asked %d times", n)
		}
		// Nobody else is held up: another source, another user of the same
		// source.
		g.want(t, "192.0.2.2", "anna", "secret", 0, "yes")
		g.want(t, "192.0.2.1", "bert", "secret", 0, "yes")
		time.Sleep(4 * time.Second)
		g.want(t, "192.0.2.1", "anna", "secret", 4*time.Second, "yes")
		for i := range 3 { // the waits begin again, but there are no new tries
			g.want(t, "192.0.2.1", "anna", fmt.Sprint("guess", i), 0, "no")
			g.want(t, "192.0.2.1", "anna", "secret", 0, "yes")
		}

		for i := range 30 {
			g.try(t, "192.0.2.3", "anna", fmt.Sprint("guess", i))
			time.Sleep(20 * time.Minute)
		}
		g.want(t, "192.0.2.3", "anna", "guess", 0, "no") // MaxDelay
		time.Sleep(24 * time.Hour)
		for i := range 5 { // forgotten
			g.want(t, "192.0.2.3", "anna", fmt.Sprint("guess", i), 0, "no")
		}
		if waiting, running := g.Waiting(); waiting != 0 || running != 0 {
			t.Errorf("%d waiting, %d running", waiting, running)
		}
	})
}

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

// A device with an old password does not lock out its neighbours.
func TestThrottleSamePassword(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(auth.ThrottleOptions{})
		for range 1000 {
			g.want(t, "192.0.2.1", "anna", "old", 0, "no")
		}
		if n := g.asked.Load(); n != 1 {
			t.Errorf("looked at %d times", n)
		}
		for range 1000 {
			time.Sleep(10 * time.Second)
			g.want(t, "192.0.2.1", "anna", "old", 0, "no")
		}
		if n := g.asked.Load(); n != 1001 {
			t.Errorf("looked at %d times", n)
		}
		g.want(t, "192.0.2.1", "anna", "secret", 0, "yes")
		g.want(t, "192.0.2.1", "anna", "old", 0, "no")
		g.want(t, "192.0.2.1", "anna", "old", 0, "no")
		if n := g.asked.Load(); n != 1002 {
			t.Errorf("looked at %d times", n)
		}
		g.want(t, "192.0.2.1", "bert", "secret", 0, "yes")
	})
}

// The right name is not wrong because another capitalisation of it was, which
// counts as the same user all the same.
func TestThrottleCapitalisation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(auth.ThrottleOptions{})
		for range 3 {
			g.want(t, "192.0.2.1", "ANNA", "secret", 0, "no")
			g.want(t, "192.0.2.1", "anna", "secret", 0, "yes")
		}
		g.want(t, "192.0.2.1", "ANNA", "secret", 0, "no")
		g.want(t, "192.0.2.1", "ANNA", "secret", 0, "no")
		if n := g.asked.Load(); n != 4 { // once for the wrong one
			t.Errorf("looked at %d times", n)
		}
		for i := range 6 {
			name := []string{"anna", "Anna", "ANNA"}[i%3]
			g.want(t, "192.0.2.2", name, fmt.Sprint("guess", i), 0, "no")
		}
		g.want(t, "192.0.2.2", "aNNa", "guess6", time.Second, "no")
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

// An application that opens many sessions at once is not taken for an attacker.
func TestThrottleGoodBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(auth.ThrottleOptions{})
		g.takes = 100 * time.Millisecond
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				if took, got := g.try(t, "192.0.2.1", "anna", "secret"); got != "yes" ||
					took > 500*time.Millisecond {
					t.Errorf("%s after %v", got, took)
				}
			})
		}
		all.Wait()
	})
}

// Nor is one that has logged on before, however many sessions it opens and
// whatever its neighbours do.
func TestThrottleKnownBurst(t *testing.T) {
	t.Parallel()
	// without one as with SCRAM, where guesses side by side are bounded
	for _, password := range []string{"secret", ""} {
		synctest.Test(t, func(t *testing.T) {
			takes := 20 * time.Millisecond
			v := auth.NewThrottle(nil).Guard(auth.VerifierFunc(func(
				_ context.Context, c auth.Proof,
			) (*auth.Identity, error) {
				time.Sleep(takes)
				if c.Password != password {
					return nil, auth.ErrBadCredentials
				}
				return &auth.Identity{User: c.Username}, nil
			}))
			logOn := func(password string) error {
				_, err := v.Verify(
					t.Context(),
					auth.Proof{
						Username: "anna", Password: password,
						Remote: netip.MustParseAddrPort("192.0.2.1:1"),
					},
				)
				return err
			}
			if err := logOn(password); err != nil {
				t.Fatal(err)
			}
			for i := range 50 {
				if password != "" {
					logOn(fmt.Sprint("guess", i))
				}
			}
			began := time.Now()
			var all sync.WaitGroup
			for range 400 {
				all.Go(func() {
					if err := logOn(password); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if took := time.Since(began); password != "" && took > takes || took > 2*time.Second {
				t.Errorf("%q: %v", password, took)
			}
		})
	}
}

// What is wrong as a password may be right as a token.
func TestThrottleTokenAsPassword(t *testing.T) {
	t.Parallel()
	v := auth.NewThrottle(
		nil,
	).Guard(auth.VerifierFunc(func(_ context.Context, c auth.Proof) (*auth.Identity, error) {
		if c.Token != "secret" {
			return nil, auth.ErrBadCredentials
		}
		return &auth.Identity{User: c.Username}, nil
	}))
	_, first := v.Verify(t.Context(), auth.Proof{Username: "anna", Password: "secret"})
	_, second := v.Verify(t.Context(), auth.Proof{Username: "anna", Token: "secret"})
	if !errors.Is(first, auth.ErrBadCredentials) || second != nil {
		t.Errorf("%v, %v", first, second)
	}
}

// Who may not use a connector with the right password may use another at once.
func TestThrottleAccept(t *testing.T) {
	t.Parallel()
	s := &auth.Server{
		Passwords: auth.Static(map[string]string{"anna": "secret"}),
		Throttle:  auth.NewThrottle(nil),
	}
	for _, verdict := range []error{auth.ErrBadCredentials, nil, auth.ErrBadCredentials, nil} {
		x, err := s.Begin(auth.Plain, auth.Conn{
			Remote: netip.MustParseAddrPort("192.0.2.1:1"), InsecurePlaintext: true,
			Accept: func(context.Context, *auth.Identity) error { return verdict },
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := x.Next(t.Context(), []byte("\x00anna\x00secret")); err != verdict {
			t.Errorf("%v, want %v", err, verdict)
		}
	}
}

func TestThrottleWaiters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(auth.ThrottleOptions{MaxWaiting: 16})
		for s := range 20 {
			for i := range 8 {
				g.try(t, fmt.Sprint("192.0.2.", s), "anna", fmt.Sprint("guess", i))
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var ended, refused atomic.Int64
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				_, err := g.Verify(ctx, auth.Proof{
					Username: "anna", Password: strconv.Itoa(i),
					Remote: netip.AddrPortFrom(
						netip.AddrFrom4([4]byte{192, 0, 2, byte(i % 20)}), 1,
					),
				})
				if _, ok := errors.AsType[*auth.ThrottledError](err); ok {
					refused.Add(1)
				} else if errors.Is(err, context.Canceled) {
					ended.Add(1)
				} else {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if waiting, _ := g.Waiting(); waiting != 16 || refused.Load() != 184 {
			t.Errorf("%d wait, %d refused", waiting, refused.Load())
		}
		g.want(t, "198.51.100.1", "bert", "secret", 0, "yes")
		cancel()
		all.Wait()
		if waiting, running := g.Waiting(); waiting != 0 || running != 0 || ended.Load() != 16 {
			t.Errorf("%d waiting, %d running, %d ended", waiting, running, ended.Load())
		}
	})
}

// A flood of names and sources does not clear the record of who has failed
// most.
func TestThrottleFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGuarded(auth.ThrottleOptions{Entries: 64})
		for i := range 9 {
			g.try(t, "192.0.2.1", "anna", fmt.Sprint("guess", i))
		}
		for i := range 10_000 {
			a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			g.try(t, a.String(), fmt.Sprint("user", i), "guess")
		}
		time.Sleep(time.Second)
		if _, got := g.try(t, "192.0.2.1", "anna", "secret"); got == "yes" || got == "no" {
			t.Errorf("%s", got)
		}
		g.want(t, "198.51.100.1", "bert", "secret", 0, "yes") // a newcomer is not held up
	})
}

func TestThrottleCountsOnlyFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		throttle := auth.NewThrottle(nil)
		down := errors.New("down")
		v := throttle.Guard(auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			if c.Username == "panic" {
				panic(down)
			}
			return nil, down
		}))
		for i := range 100 {
			for _, user := range []string{"anna", "panic", ""} {
				func() {
					defer func() { recover() }()
					_, err := v.Verify(
						t.Context(), auth.Proof{Username: user, Password: strconv.Itoa(i)},
					)
					if !errors.Is(err, down) {
						t.Errorf("%s: %v", user, err)
					}
				}()
			}
		}
		if waiting, running := throttle.Waiting(); waiting != 0 || running != 0 {
			t.Errorf("%d waiting, %d running", waiting, running)
		}
	})
}

func BenchmarkThrottle(b *testing.B) {
	yes := auth.VerifierFunc(func(context.Context, auth.Proof) (*auth.Identity, error) {
		return nil, nil
	})
	no := auth.VerifierFunc(func(context.Context, auth.Proof) (*auth.Identity, error) {
		return nil, auth.ErrBadCredentials
	})
	remote := netip.MustParseAddrPort("192.0.2.1:25")
	b.Run("good", func(b *testing.B) {
		v := auth.NewThrottle(nil).Guard(yes)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				v.Verify(
					b.Context(),
					auth.Proof{Username: "anna", Password: "secret", Remote: remote},
				)
			}
		})
	})
	b.Run("refused", func(b *testing.B) {
		v := auth.NewThrottle(&auth.ThrottleOptions{MaxWait: 1, Free: 1}).Guard(no)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			v.Verify(
				b.Context(),
				auth.Proof{Username: "anna", Password: strconv.Itoa(i), Remote: remote},
			)
		}
	})
	b.Run("flood", func(b *testing.B) {
		v := auth.NewThrottle(nil).Guard(no)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			a := netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)})
			v.Verify(
				b.Context(),
				auth.Proof{
					Username: strconv.Itoa(i), Password: "x", Remote: netip.AddrPortFrom(a, 1),
				},
			)
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			auth.NewThrottle(nil)
		}
	})
}
