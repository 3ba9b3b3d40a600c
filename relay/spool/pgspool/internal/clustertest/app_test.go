//go:build unix

package clustertest_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// app is an application that queues mail in its own transactions. Its relay
// never runs.
type app struct {
	proxy   *pgspooltest.Proxy
	pool    *pgxpool.Pool
	queue   *pgspool.Store
	relay   *relay.Relay
	letters *letters
	history *history
}

func newApp(t *testing.T, c *cluster) *app {
	t.Helper()
	a := &app{
		proxy: pgspooltest.NewProxy(t, c.server.Addr()), letters: &c.letters, history: c.history,
	}
	var err error
	a.pool, err = pgxpool.New(t.Context(), patient(a.proxy.URL(t, c.url)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.pool.Close)
	if a.queue, err = pgspool.Open(t.Context(), a.pool, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.queue.Close() })
	if a.relay, err = relay.New(configure(a.queue, "app.test", "", c.hop.addr)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.relay.Close() })
	if _, err := a.pool.Exec(t.Context(), "CREATE TABLE orders (id text PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	return a
}

// watch reads the event log as it grows, until ctx ends.
func (a *app) watch(ctx context.Context) {
	for at := spool.Cursor(0); ctx.Err() == nil; wait(ctx, 100*time.Millisecond) {
		events, err := a.read(ctx, at)
		if err == nil && len(events) > 0 {
			at = events[len(events)-1].at
			a.history.read(events)
		}
	}
}

// pulse feels how the database and the machine are until ctx ends. A write that
// takes long is a fault: what a relay had to write took long as well.
func (a *app) pulse(ctx context.Context) {
	for ctx.Err() == nil {
		began := time.Now()
		_, err := a.pool.Exec(ctx, "SELECT pg_logical_emit_message(true, '', '')")
		if took := time.Since(began); err == nil && took > slow {
			a.history.note(fault{"slow", "", began, time.Now()})
		}
		wait(ctx, 100*time.Millisecond)
	}
}

// left tells what is left in the tables of a queue that has nothing to do.
func (a *app) left(ctx context.Context) (string, error) {
	var left string
	err := a.pool.QueryRow(ctx, `SELECT concat_ws(', ',
		(SELECT 'message ' || id FROM postern.message LIMIT 1),
		(SELECT 'delivery ' || id FROM postern.delivery LIMIT 1),
		(SELECT 'wake ' || id FROM postern.wake LIMIT 1),
		(SELECT 'chunk ' || id FROM postern.chunk
			WHERE id NOT IN (SELECT id FROM postern.staged) LIMIT 1))`).Scan(&left)
	return left, err
}

// read reads the event log behind a place.
func (a *app) read(ctx context.Context, at spool.Cursor) ([]logged, error) {
	var all []logged
	for {
		batch, err := a.queue.Records(ctx, at, 1000)
		if err != nil || len(batch) == 0 {
			return all, err
		}
		for _, b := range batch {
			e, err := event.Parse(b.Data)
			if err != nil {
				return nil, err
			}
			at, all = b.At, append(all, logged{b.At, e})
		}
	}
}
