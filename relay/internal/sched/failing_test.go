package sched_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// closed is a store that leases nothing, and says so.
type closed struct {
	*memspool.Store
	calls atomic.Int64
}

func (c *closed) Lease(context.Context, spool.LeaseRequest) (spool.Leased, error) {
	c.calls.Add(1)
	return spool.Leased{}, errors.New("down")
}

// A store that fails is asked again after a second, whatever comes meanwhile.
func TestFailingStoreIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &closed{Store: memspool.New(nil)}
		b := newBench(t, store)
		go func() {
			for range 5000 {
				time.Sleep(time.Millisecond)
				b.sched.Wake()
			}
		}()
		b.run(t, 10*time.Second)
		if n := store.calls.Load(); n < 5 || n > 12 {
			t.Errorf("asked %d times in 10 seconds", n)
		}
	})
}

// keeping is a store that takes nothing back.
type keeping struct{ *memspool.Store }

func (keeping) Return(ctx context.Context, _ time.Duration, _ []spool.Held) error {
	<-ctx.Done()
	return ctx.Err()
}

// A store that hangs when it is to take deliveries back holds up the others for
// a second at a time, however many they are.
func TestHangingReturnHoldsUpLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTally(byDomain)
		for i := range 50 {
			streams(t, c, "app", fmt.Sprint("kept", i), 1, 0)
		}
		time.AfterFunc(5*time.Second, func() { streams(t, c, "app", "free", 1, 0) })
		begun := time.Now()
		c.run(t, 100*time.Second, func(cfg *sched.Config) {
			cfg.Store = keeping{c.store}
			cfg.Throttles = allBut("free")
		})
		if took := c.last["free"].Sub(begun); c.count["free"] != 1 || took > 15*time.Second {
			t.Errorf("%d delivered, after %v", c.count["free"], took)
		}
	})
}

// allBut keeps back what is not for a domain.
type allBut string

func (a allBut) Until(l *spool.Lease, _ sched.Site) time.Time {
	if l.Delivery.Key.Domain == string(a) {
		return time.Time{}
	}
	return time.Now().Add(time.Hour)
}

func (allBut) Slower(sched.Site) float64 { return 1 }
