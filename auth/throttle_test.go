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
