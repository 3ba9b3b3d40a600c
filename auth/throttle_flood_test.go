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
