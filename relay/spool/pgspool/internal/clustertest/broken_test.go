//go:build unix

package clustertest_test

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// The ways in which a store is broken on purpose, to see that the check finds
// it.
const (
	notBroken         = "not"
	acknowledgesEarly = "acknowledges early"
	leasesTwice       = "leases twice"
	forgetsEvents     = "settles without its event"
	skipsPositions    = "skips a position"
	lagsBehind        = "lags behind" // the replica
)

func breakStore(s *pgspool.Store, how string) spool.Store {
	switch how {
	case acknowledgesEarly:
		return earlyStore{s}
	case leasesTwice:
		return twiceStore{s}
	case forgetsEvents:
		return forgetfulStore{s}
	case skipsPositions:
		return skippingStore{s}
	default:
		return s
	}
}

// earlyStore answers a commit half a second before it is made.
type earlyStore struct{ *pgspool.Store }

func (b earlyStore) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	w, err := b.Store.Create(ctx, id)
	return earlyWriter{w}, err
}

type earlyWriter struct{ spool.Writer }

func (w earlyWriter) Commit(ctx context.Context, c spool.Commit) error {
	ctx = context.WithoutCancel(ctx)
	time.AfterFunc(500*time.Millisecond, func() { _ = w.Writer.Commit(ctx, c) })
	return nil
}

func (earlyWriter) Abort() error { return nil }

// twiceStore gives leases of which some end at once, and tells nobody.
type twiceStore struct{ *pgspool.Store }

func (b twiceStore) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	if rand.N(4) == 0 {
		r.TTL = time.Millisecond
	}
	return b.Store.Lease(ctx, r)
}

func (twiceStore) Renew(context.Context, time.Duration, []spool.Held) ([]spool.Held, error) {
	return nil, nil
}

// forgetfulStore settles some deliveries without their events.
type forgetfulStore struct{ *pgspool.Store }

func (b forgetfulStore) Settle(ctx context.Context, s spool.Settlement) error {
	if rand.N(10) == 0 {
		s.Events = nil
	}
	return b.Store.Settle(ctx, s)
}

// skippingStore never shows some records, as a log with positions by serial
// number hides what commits late.
type skippingStore struct{ *pgspool.Store }

func (b skippingStore) Records(
	ctx context.Context, after spool.Cursor, limit int,
) ([]spool.Logged, error) {
	list, err := b.Store.Records(ctx, after, limit)
	if n := len(list); n > 1 && rand.N(4) == 0 {
		list = append(list[:n-2:n-2], list[n-1])
	}
	return list, err
}
