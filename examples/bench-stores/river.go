package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"golang.org/x/sync/errgroup"
)

// job is a message as a job of River.
type job struct {
	To   string `json:"to"`
	Body string `json:"body"`
}

func (job) Kind() string { return "mail" }

type jobWorker struct{ river.WorkerDefaults[job] }

func (jobWorker) Work(context.Context, *river.Job[job]) error { return nil }

// inserter inserts n jobs.
type inserter func(ctx context.Context, c *river.Client[pgx.Tx], m *mail, n int) error

func newJob(m *mail) job {
	text, c := m.next()
	return job{To: c.Deliveries[0].Recipients[0].Address, Body: text}
}

func insertOne(ctx context.Context, c *river.Client[pgx.Tx], m *mail, n int) error {
	return inParallel(ctx, 20, n, func(ctx context.Context) error {
		_, err := c.Insert(ctx, newJob(m), nil)
		return err
	})
}

const riverBatch = 20

func insertFast(ctx context.Context, c *river.Client[pgx.Tx], m *mail, n int) error {
	return inParallel(ctx, 5, n/riverBatch, func(ctx context.Context) error {
		list := make([]river.InsertManyParams, riverBatch)
		for i := range list {
			list[i].Args = newJob(m)
		}
		_, err := c.InsertManyFast(ctx, list)
		return err
	})
}

// river inserts jobs and works on them until all are completed.
func (b *bench) river(ctx context.Context, n int, insert inserter) (figures, error) {
	pool, drop, err := b.server.pool(ctx)
	if err != nil {
		return nil, err
	}
	f, err := b.riverOn(ctx, pool, n/riverBatch*riverBatch, insert)
	return f, errors.Join(err, drop())
}

func (b *bench) riverOn(
	ctx context.Context, pool *pgxpool.Pool, n int, insert inserter,
) (figures, error) {
	driver := riverpgxv5.New(pool)
	logger := slog.New(slog.DiscardHandler)
	m, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: logger})
	if err != nil {
		return nil, err
	}
	if _, err := m.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, jobWorker{})
	c, err := river.NewClient(driver, &river.Config{
		Queues:        map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 1000}},
		FetchCooldown: 2 * time.Millisecond, Workers: workers, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	completed, end := c.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: 2 * n, Kinds: []river.EventKind{river.EventKindJobCompleted},
	})
	defer end()
	if err := c.Start(ctx); err != nil {
		return nil, err
	}
	defer c.StopAndCancel(context.WithoutCancel(ctx))
	return b.riverN(ctx, n, func(ctx context.Context, n int) error {
		g, ctx := errgroup.WithContext(ctx)
		mail := newMail(false)
		g.Go(func() error { return insert(ctx, c, mail, n) })
		g.Go(func() error { return await(ctx, completed, n) })
		return g.Wait()
	})
}

func (b *bench) riverN(
	ctx context.Context, n int, pass func(ctx context.Context, n int) error,
) (figures, error) {
	if err := pass(ctx, 5*riverBatch); err != nil { // connections open
		return nil, err
	}
	meter, err := b.measure()
	if err != nil {
		return nil, err
	}
	if err := pass(ctx, n); err != nil {
		return nil, err
	}
	return meter.end(n)
}

// await returns when n jobs are completed, and that is recorded.
func await(ctx context.Context, completed <-chan *river.Event, n int) error {
	for range n {
		select {
		case <-completed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
