package simtest_test

import (
	"context"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"github.com/postern-mail/postern/relay/internal/simtest"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

const brokenVariable = "SIMTEST_BROKEN"

// broken are stores that break a rule each, and what the history must show.
func broken() map[string]struct {
	open func() spool.Store
	sees string
} {
	mem := func() *memspool.Store { return memspool.New(nil) }
	return map[string]struct {
		open func() spool.Store
		sees string
	}{
		"acknowledges early": {
			func() spool.Store { return acknowledgesEarly{mem()} }, "I1: ",
		},
		"leases twice": {
			func() spool.Store { return &leasesTwice{Store: mem(), last: nil} }, "I9: ",
		},
		"settles without its event": {
			func() spool.Store { return settlesSilently{mem()} }, "I2: ",
		},
		"skips a position": {
			func() spool.Store { return skips{mem()} }, "I2: the application was never told",
		},
	}
}

// TestBroken sees that the simulation of two nodes fails with a store that is
// broken on purpose. Like a mutant, one does not show in every world.
func TestBroken(t *testing.T) {
	if name := os.Getenv(brokenVariable); name != "" {
		simtest.Seeds(t, "./relay/internal/simtest", nodes(0),
			func(t *testing.T, p simtest.Plan) *simtest.World {
				return simtest.New(t, one{store: broken()[name].open()}, p)
			})
		return
	}
	for name, b := range broken() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seenBy(t, os.Args[0], "TestBroken", b.sees, brokenVariable+"="+name)
		})
	}
}

// acknowledgesEarly loses one of many commits that it acknowledged.
type acknowledgesEarly struct{ *memspool.Store }

func (b acknowledgesEarly) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	w, err := b.Store.Create(ctx, id)
	return earlyWriter{w}, err
}

type earlyWriter struct{ spool.Writer }

func (w earlyWriter) Commit(ctx context.Context, c spool.Commit) error {
	if len(c.Settle) == 0 && rand.IntN(20) == 0 {
		return w.Abort()
	}
	return w.Writer.Commit(ctx, c)
}

// leasesTwice hands out some deliveries a second time, and takes the
// settlements of both.
type leasesTwice struct {
	*memspool.Store
	mu   sync.Mutex
	last []spool.Lease
}

func (b *leasesTwice) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	got, err := b.Store.Lease(ctx, r)
	b.mu.Lock()
	defer b.mu.Unlock()
	fresh := got.Leases
	if r.Max > len(fresh) && len(b.last) > 0 && rand.IntN(10) == 0 {
		got.Leases = append(fresh, b.last[0])
	}
	b.last = fresh
	return got, err
}

type settlesSilently struct{ *memspool.Store }

func (b settlesSilently) Settle(ctx context.Context, s spool.Settlement) error {
	if rand.IntN(20) == 0 {
		s.Events = nil
	}
	return b.Store.Settle(ctx, s)
}

// skips hides a record from who reads the log.
type skips struct{ *memspool.Store }

func (b skips) Records(
	ctx context.Context, after spool.Cursor, max int,
) ([]spool.Logged, error) {
	list, err := b.Store.Records(ctx, after, max)
	if max < 1000 && len(list) > 1 && list[0].At%20 == 0 {
		list = list[1:]
	}
	return list, err
}
