package sched

import (
	"context"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// returns gathers what goes back to the store without an attempt.
type returns struct {
	list []returned
	held []spool.Held // scratch
}

type returned struct {
	wait time.Duration
	held spool.Held
}

func (b *returns) add(l *spool.Lease, wait time.Duration) {
	b.list = append(b.list, returned{
		wait: coarse(wait), held: spool.Held{ID: l.Delivery.ID, Token: l.Token},
	})
}

// coarse rounds a wait up, so that many are the same.
func coarse(d time.Duration) time.Duration {
	return (max(d, 0) + gather - 1) / gather * gather
}

// flush gives back what has gathered, with a call for each wait, and returns
// the shortest; ok if there was any. When a call hangs, the rest waits for the
// end of its leases.
func (b *returns) flush(store spool.Store) (soonest time.Duration, ok bool, failed error) {
	if len(b.list) == 0 {
		return 0, false, nil
	}
	slices.SortStableFunc(b.list, func(x, y returned) int { return int(x.wait - y.wait) })
	for i := 0; i < len(b.list); {
		wait := b.list[i].wait
		b.held = b.held[:0]
		for ; i < len(b.list) && b.list[i].wait == wait; i++ {
			b.held = append(b.held, b.list[i].held)
		}
		ctx, cancel := context.WithTimeout(context.Background(), storeWait)
		if err := store.Return(ctx, wait, b.held); err != nil {
			failed = err
		}
		hangs := ctx.Err() != nil
		cancel()
		if hangs {
			break
		}
	}
	soonest = b.list[0].wait
	b.list = b.list[:0]
	return soonest, true, failed
}
