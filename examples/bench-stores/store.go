package main

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	riverFast = "River, InsertManyFast by 20"
	riverOne  = "River, Insert"
)

// store moves messages through the whole queue.
func (b *bench) store() scenario {
	n := b.messages(20_000)
	through := func(open opener, events, follow bool) func(context.Context) (figures, error) {
		return func(ctx context.Context) (figures, error) {
			return b.passThrough(ctx, open, newMail(events), follow, n)
		}
	}
	return scenario{
		title:   "Store: accept, lease, read and settle; 100 sessions, 10 KB",
		columns: costs(),
		subjects: []subject{
			{"pgspool", through(b.openPostgres, false, false)},
			{"pgspool, events", through(b.openPostgres, true, false)},
			{"pgspool, events, a follower", through(b.openPostgres, true, true)},
			{"filespool", through(b.openDirectory, false, false)},
			{"filespool, events", through(b.openDirectory, true, false)},
			{riverFast, func(ctx context.Context) (figures, error) {
				return b.river(ctx, b.messages(10_000), insertFast)
			}},
			{riverOne, func(ctx context.Context) (figures, error) {
				return b.river(ctx, b.messages(4_000), insertOne)
			}},
		},
		targets: []target{
			fraction("beside River's InsertManyFast, at least 2", "pgspool", riverFast, rate, 2),
			fraction("beside River's Insert, at least 8", "pgspool", riverOne, rate, 8),
			atMost("CPU s per 1,000, at most 0.7", "pgspool", cpuBoth, 0.7),
			atMost("the same with events, at most 1.0", "pgspool, events", cpuBoth, 1),
		},
	}
}

func (b *bench) passThrough(
	ctx context.Context, open opener, m *mail, follow bool, n int,
) (figures, error) {
	q, err := open(ctx)
	if err != nil {
		return nil, err
	}
	f, err := b.passN(ctx, q, m, follow, n)
	return f, errors.Join(err, q.close())
}

func (b *bench) passN(
	ctx context.Context, q *queue, m *mail, follow bool, n int,
) (figures, error) {
	if err := move(ctx, q, m, n/20); err != nil { // connections open
		return nil, err
	}
	f, err := b.measure()
	if err != nil {
		return nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	if log, ok := q.Store.(spool.Log); ok && follow {
		g.Go(func() error { return readLog(ctx, log, 2*(n+n/20)) })
	}
	g.Go(func() error { return move(ctx, q, m, n) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return f.end(n)
}

// move sends n messages and works until they are settled.
func move(ctx context.Context, q *queue, m *mail, n int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.sendAll(ctx, q, n) })
	g.Go(func() error { return newWorker(q.Store, m).run(ctx, n) })
	return g.Wait()
}

// readLog follows the log for n records, as Relay.Follow does.
func readLog(ctx context.Context, log spool.Log, n int) error {
	var at spool.Cursor
	for n > 0 {
		appended := log.Appended()
		list, err := log.Records(ctx, at, 100)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			select {
			case <-appended:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		n -= len(list)
		at = list[len(list)-1].At
		if err := log.Advance(ctx, "bench", at); err != nil {
			return err
		}
	}
	return nil
}
