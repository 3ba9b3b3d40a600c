package simtest

import (
	"context"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// The optional parts of a store behind a link.

func (k *link) Commit(ctx context.Context, p *spool.Prepared) error {
	return k.do(ctx, func(ctx context.Context) error { return k.store.Commit(ctx, p) })
}

func (k *link) Records(
	ctx context.Context, after spool.Cursor, max int,
) ([]spool.Logged, error) {
	return call(ctx, k, func(ctx context.Context) ([]spool.Logged, error) {
		return k.store.Records(ctx, after, max)
	})
}

func (k *link) Cursor(ctx context.Context, consumer string) (spool.Cursor, error) {
	return call(ctx, k, func(ctx context.Context) (spool.Cursor, error) {
		return k.store.Cursor(ctx, consumer)
	})
}

func (k *link) Advance(ctx context.Context, consumer string, to spool.Cursor) error {
	return k.do(ctx, func(ctx context.Context) error { return k.store.Advance(ctx, consumer, to) })
}

func (k *link) Truncate(ctx context.Context, before time.Time) error {
	return k.do(ctx, func(ctx context.Context) error { return k.store.Truncate(ctx, before) })
}

func (k *link) Appended() <-chan struct{} { return k.store.Appended() }

func (k *link) Bounds(ctx context.Context) (oldest, newest spool.Cursor, err error) {
	err = k.do(ctx, func(ctx context.Context) error {
		oldest, newest, err = k.store.Bounds(ctx)
		return err
	})
	return oldest, newest, err
}

func (k *link) Claimed(
	ctx context.Context, scope, key string,
) (id spool.ID, digest [32]byte, ok bool, err error) {
	err = k.do(ctx, func(ctx context.Context) error {
		id, digest, ok, err = k.store.Claimed(ctx, scope, key)
		return err
	})
	return id, digest, ok, err
}

func (k *link) Find(
	ctx context.Context, id spool.ID,
) (m spool.Message, items []spool.Item, err error) {
	err = k.do(ctx, func(ctx context.Context) error {
		m, items, err = k.store.Find(ctx, id)
		return err
	})
	return m, items, err
}

func (k *link) List(ctx context.Context, q spool.Query) ([]spool.Item, error) {
	return call(ctx, k, func(ctx context.Context) ([]spool.Item, error) {
		return k.store.List(ctx, q)
	})
}

func (k *link) Take(
	ctx context.Context, id spool.DeliveryID, ttl time.Duration,
) (spool.Lease, error) {
	return call(ctx, k, func(ctx context.Context) (spool.Lease, error) {
		return k.store.Take(ctx, id, ttl)
	})
}

func (k *link) Add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error) {
	return call(ctx, k, func(ctx context.Context) (int64, error) {
		return k.store.Add(ctx, key, n, ttl)
	})
}

func (k *link) Get(ctx context.Context, key string) ([]byte, error) {
	return call(ctx, k, func(ctx context.Context) ([]byte, error) {
		return k.store.Get(ctx, key)
	})
}

func (k *link) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return k.do(ctx, func(ctx context.Context) error { return k.store.Put(ctx, key, value, ttl) })
}

func (k *link) Beat(
	ctx context.Context, group, member string, ttl time.Duration,
) (rank, live int, err error) {
	err = k.do(ctx, func(ctx context.Context) error {
		rank, live, err = k.store.Beat(ctx, group, member, ttl)
		return err
	})
	return rank, live, err
}

func (k *link) Live(ctx context.Context, group string) (int, error) {
	return call(ctx, k, func(ctx context.Context) (int, error) {
		return k.store.Live(ctx, group)
	})
}
