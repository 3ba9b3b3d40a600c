package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"
)

const (
	steady = 1000 // messages per second
	parts  = 10   // of the window, that are compared
)

// snapshot measures leases while an old snapshot keeps every dead row.
func (b *bench) snapshot() scenario {
	return scenario{
		title: fmt.Sprintf("Snapshot: 1,000 messages/s for %v while an old one is held", b.window),
		columns: []column{
			{"messages/s", 0}, {"a lease, first tenth: median, ms", 2},
			{"last tenth: median, ms", 2}, {"ratio", 2},
		},
		subjects: []subject{{"pgspool", b.snapshotOnce}},
		rounds:   1,
		targets: []target{
			atLeast("messages per second, at least 900", "pgspool", 0, 0.9*steady),
			atMost("last tenth beside the first, at most 2", "pgspool", 3, 2),
		},
	}
}

func (b *bench) snapshotOnce(ctx context.Context) (f figures, err error) {
	pool, drop, err := b.server.pool(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	q, err := openPool(ctx, pool)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	end, err := holdSnapshot(ctx, pool)
	if err != nil {
		return nil, err
	}
	f, err = b.leasesAt(ctx, &queue{Store: q})
	return f, errors.Join(err, end())
}

// holdSnapshot begins a transaction that sees the database as it is now.
func holdSnapshot(ctx context.Context, pool *pgxpool.Pool) (end func() error, err error) {
	c, err := pgx.Connect(ctx, pool.Config().ConnString())
	if err != nil {
		return nil, err
	}
	for _, sql := range []string{
		"BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM pg_class",
	} {
		if _, err := c.Exec(ctx, sql); err != nil {
			return nil, errors.Join(err, c.Close(ctx))
		}
	}
	return func() error { return c.Close(context.Background()) }, nil
}

// leasesAt moves messages at a steady rate and compares how long leases took in
// the first part of the window and in the last.
func (b *bench) leasesAt(ctx context.Context, q *queue) (figures, error) {
	var mu sync.Mutex
	var took [parts][]time.Duration
	n := int(b.window.Seconds() * steady)
	m := newMail(false)
	w := newWorker(q.Store, m)
	w.expecter = nil // a statement leases them all
	begin := time.Now()
	w.leased = func(d time.Duration, leased int) {
		if leased == 0 {
			return
		}
		part := min(int(parts*time.Since(begin)/b.window), parts-1)
		mu.Lock()
		defer mu.Unlock()
		took[part] = append(took[part], d)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return atRate(ctx, steady, n, func() error { return m.send(ctx, q) })
	})
	g.Go(func() error { return w.run(ctx, n) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	first, last := quantile(took[0], 0.5), quantile(took[parts-1], 0.5)
	return figures{
		float64(n) / time.Since(begin).Seconds(), milliseconds(first), milliseconds(last),
		float64(last) / float64(first),
	}, nil
}

// atRate calls f n times, at so many a second, however long each takes.
func atRate(ctx context.Context, perSecond, n int, f func() error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(sessions * 10)
	begin := time.Now()
	for i := range n {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(perSecond))))
		if ctx.Err() != nil {
			break
		}
		g.Go(f)
	}
	return g.Wait()
}
