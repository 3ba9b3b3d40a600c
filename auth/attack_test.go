package auth_test

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/postern-mail/postern/auth"
)

// BenchmarkAttack measures logons that cost a bcrypt hash, in peace and while
// 100 addresses fail 10,000 times a minute: of regulars, who have logged on
// from the same place before, and of newcomers. The attackers name all of them.
func BenchmarkAttack(b *testing.B) {
	const users = 200
	stored, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.DefaultCost)
	if err != nil {
		b.Fatal(err)
	}
	for _, attack := range []bool{false, true} {
		b.Run(fmt.Sprintf("attack=%v", attack), func(b *testing.B) {
			var guesses atomic.Int64
			hasher := auth.NewHasher(nil)
			v := auth.NewThrottle(nil).Guard(auth.VerifierFunc(func(
				ctx context.Context, c auth.Proof,
			) (*auth.Identity, error) {
				if c.Password != "secret" {
					guesses.Add(1)
				}
				match, err := hasher.Match(ctx, c, string(stored))
				if err == nil && !match {
					err = auth.ErrBadCredentials
				}
				return &auth.Identity{User: c.Username}, err
			}))
			logOn := func(i int) time.Duration {
				began := time.Now()
				from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i % users)}), 1)
				if _, err := v.Verify(
					b.Context(),
					auth.Proof{
						Username: fmt.Sprint("user", i%users), Password: "secret", Remote: from,
					},
				); err != nil {
					b.Fatal(err)
				}
				return time.Since(began)
			}
			for i := range users / 2 {
				logOn(i)
			}
			ctx, cancel := context.WithCancel(b.Context())
			var attackers sync.WaitGroup
			for s := range 100 {
				if !attack {
					break
				}
				attackers.Go(func() {
					from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(s)}), 1)
					tick := time.NewTicker(600 * time.Millisecond)
					defer tick.Stop()
					for i := 0; ; i++ {
						attackers.Go(func() {
							v.Verify(
								ctx,
								auth.Proof{
									Username: fmt.Sprint("user", (s+i)%users),
									Password: fmt.Sprint("guess", i), Remote: from,
								},
							)
						})
						select {
						case <-tick.C:
						case <-ctx.Done():
							return
						}
					}
				})
			}
			var regulars, newcomers []time.Duration
			for i := 0; b.Loop(); i++ {
				time.Sleep(20 * time.Millisecond)
				if d := logOn(i); i%users < users/2 {
					regulars = append(regulars, d)
				} else if i < users {
					newcomers = append(newcomers, d)
				}
			}
			cancel()
			attackers.Wait()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			for name, took := range map[string][]time.Duration{
				"regular": regulars, "newcomer": newcomers,
			} {
				slices.Sort(took)
				for _, p := range []int{50, 99} {
					if len(took) > 0 {
						b.ReportMetric(
							float64(took[len(took)*p/100].Microseconds())/1000,
							fmt.Sprintf("%s-p%d-ms", name, p),
						)
					}
				}
			}
			b.ReportMetric(float64(guesses.Load()), "guesses-seen")
			b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "heap-MiB")
		})
	}
}
