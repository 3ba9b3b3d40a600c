package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
)

// counted counts what the verifier behind a cache is asked.
func counted(n *int, opt auth.CacheOptions) (*auth.Cache, map[string]string) {
	var mu sync.Mutex
	users := map[string]string{"anna": "secret", "bert": "secret"}
	return auth.Cached(auth.VerifierFunc(func(
		ctx context.Context, c auth.Proof,
	) (*auth.Identity, error) {
		mu.Lock()
		defer mu.Unlock()
		*n++
		if c.Username == "down" {
			return nil, errors.New("down")
		}
		return auth.Static(users).Verify(ctx, c)
	}), &opt), users
}

func TestCached(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var n int
		c, users := counted(&n, auth.CacheOptions{})
		want := func(user, password, want string, asked int) {
			t.Helper()
			before := n
			if got := outcome(t, c, user, password); got != want || n-before != asked {
				t.Errorf(
					"%s with %s: %s after asking %d times; want %s, %d", user, password, got,
					n-before, want, asked,
				)
			}
		}
		want("anna", "secret", "yes", 1)
		want("anna", "secret", "yes", 0)
		want("anna", "guess", "no", 1)
		want("anna", "guess", "no", 0)
		want("ANNA", "secret", "no", 1)
		want("anna", "secret", "yes", 0)
		want("bert", "secret", "yes", 1)
		want("ann", "asecret", "no", 1)
		want("down", "x", "<nil>, down", 1)
		want("down", "x", "<nil>, down", 1)

		users["anna"] = "guess"
		want("anna", "guess", "no", 0)
		time.Sleep(10 * time.Second)
		want("anna", "guess", "yes", 1)
		want("anna", "secret", "yes", 0) // the old one
		c.Forget("anna")
		want("anna", "secret", "no", 1)
		want("anna", "guess", "yes", 1)
		want("bert", "secret", "yes", 0)
		time.Sleep(5 * time.Minute)
		want("bert", "secret", "yes", 1)
		time.Sleep(5*time.Minute - 1)
		want("bert", "secret", "yes", 0)
	})
}

// Answers hold for what was shown, and from where.
func TestCachedTellsApart(t *testing.T) {
	t.Parallel()
	var n int
	c := auth.Cached(auth.VerifierFunc(func(
		context.Context, auth.Proof,
	) (*auth.Identity, error) {
		n++
		return &auth.Identity{User: "x"}, nil
	}), nil)
	at := netip.MustParseAddrPort("192.0.2.1:1")
	all := []auth.Proof{
		{}, {Username: "a"}, {Password: "a"}, {Token: "a"}, {Authzid: "a"}, {Mechanism: "a"},
		{Username: "a", Password: "b"}, {Username: "ab"},
		{Username: "a", Password: "b", Remote: at},
		{Username: "a", Password: "b", Remote: netip.MustParseAddrPort("192.0.2.2:1")},
	}
	for range 2 {
		for _, cr := range all {
			if _, err := c.Verify(t.Context(), cr); err != nil {
				t.Fatal(err)
			}
		}
	}
	all[8].Remote = netip.AddrPortFrom(at.Addr(), 2)
	if _, err := c.Verify(t.Context(), all[8]); err != nil || n != len(all) {
		t.Errorf("asked %d times, %v", n, err)
	}
}

func TestCachedBounds(t *testing.T) {
	t.Parallel()
	var n int
	c, _ := counted(&n, auth.CacheOptions{Entries: 2})
	outcome(t, c, "anna", "secret")
	for i := range 100 {
		outcome(t, c, "anna", fmt.Sprint("guess", i))
	}
	n = 0
	outcome(t, c, "anna", "secret")  // still there
	outcome(t, c, "anna", "guess99") // still there
	outcome(t, c, "anna", "guess0")
	if n != 1 {
		t.Errorf("asked %d times", n)
	}
	c, _ = counted(&n, auth.CacheOptions{NegativeTTL: -1})
	n = 0
	for range 3 {
		outcome(t, c, "anna", "guess")
	}
	if n != 3 {
		t.Errorf("asked %d times", n)
	}
}

// An answer on its way when the user is forgotten is not remembered.
func TestCachedForgetMeanwhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		n := 0
		c := auth.Cached(auth.VerifierFunc(func(
			context.Context, auth.Proof,
		) (*auth.Identity, error) {
			n++
			time.Sleep(time.Second)
			return &auth.Identity{User: "anna"}, nil
		}), nil)
		done := make(chan string)
		go func() { done <- outcome(t, c, "anna", "secret") }()
		synctest.Wait()
		c.Forget("anna")
		if got := <-done; got != "yes" {
			t.Error(got)
		}
		outcome(t, c, "anna", "secret")
		if n != 2 {
			t.Errorf("asked %d times", n)
		}
	})
}

func BenchmarkCached(b *testing.B) {
	c := auth.Cached(auth.Static(map[string]string{"anna": "secret"}), nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Verify(
				b.Context(), auth.Proof{Username: "anna", Password: "secret"},
			); err != nil {
				b.Error(err)
			}
		}
	})
}
