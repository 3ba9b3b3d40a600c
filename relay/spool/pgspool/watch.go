package pgspool

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	pollEvery   = 100 * time.Millisecond // for what transactions of the application leave
	tickEvery   = time.Second            // for what has become due, unless told
	scanEvery   = 30 * time.Second       // for everything
	tidyEvery   = time.Minute
	scanPage    = 1000             // keys
	tickMost    = 1000             // keys
	watchLimit  = 20 * time.Second // for a statement
	listenAgain = 5 * time.Second
)

// watcher looks for what other processes and transactions of the application
// have written, once somebody leases or follows.
type watcher struct {
	mu      sync.Mutex
	started bool
	nudge   chan struct{} // there is news
	seen    time.Time     // rows that were due before that have been looked at
}

// start makes the first scan and starts the goroutine that goes on.
func (w *watcher) start(ctx context.Context, s *Store) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started {
		return nil
	}
	w.seen = time.Time{}
	if _, err := s.scan(ctx, math.MinInt64); err != nil {
		return err
	}
	w.nudge, w.started = make(chan struct{}, 1), true
	s.tasks.Go(func() { s.watchOn() })
	return nil
}

const scanText = `
WITH RECURSIVE k AS (
	(SELECT key, route, domain, stream, at FROM @delivery
	WHERE NOT held AND key > $1 ORDER BY key, at LIMIT 1)
	UNION ALL
	SELECT x.* FROM k CROSS JOIN LATERAL (
		SELECT d.key, d.route, d.domain, d.stream, d.at FROM @delivery d
		WHERE NOT d.held AND d.key > k.key ORDER BY d.key, d.at LIMIT 1) x)
SELECT route, domain, stream, at, false FROM k LIMIT $2`

// scan finds keys behind one in the order of their digests, and the place to go
// on; MaxInt64 is the end.
func (s *Store) scan(ctx context.Context, after int64) (next int64, err error) {
	rows, err := s.query(ctx, s.pool, scanText, after, scanPage)
	if err != nil {
		return after, err
	}
	due, err := readDue(rows)
	if err != nil {
		return after, err
	}
	s.ready.add(due...)
	if len(due) < scanPage {
		return math.MaxInt64, nil
	}
	return digest(due[len(due)-1].key), nil
}

const tickText = `
SELECT route, domain, stream, min(at), false FROM @delivery
WHERE NOT held AND at > $1 AND at <= @clock() GROUP BY key, route, domain, stream LIMIT $2`

// tick finds the keys of rows that have become due since the last tick.
func (s *Store) tick(ctx context.Context) error {
	var now time.Time
	if err := s.row(ctx, s.pool, "SELECT @clock()").Scan(&now); err != nil {
		return err
	}
	since := s.watch.seen.Add(-late)
	if s.watch.seen.IsZero() {
		since = now.Add(-scanEvery)
	}
	rows, err := s.query(ctx, s.pool, tickText, since, tickMost)
	if err != nil {
		return err
	}
	due, err := readDue(rows)
	if err != nil {
		return err
	}
	s.ready.tick(now)
	s.ready.add(due...)
	if len(due) < tickMost { // or the scan finds the rest
		s.watch.seen = now
	}
	return nil
}

// Wake receives a value when a delivery is due sooner than the last Lease told.
func (s *Store) Wake() <-chan struct{} { return s.ready.wake }

// watchOn looks for news until the store ends.
func (s *Store) watchOn() {
	for s.ctx.Err() == nil {
		s.round()
		select {
		case <-s.ctx.Done():
		case <-s.watch.nudge:
		case <-time.After(pollEvery):
		}
	}
}

// round is one look at everything.
func (s *Store) round() {
	ctx, cancel := context.WithTimeout(s.ctx, watchLimit)
	defer cancel()
	if err := s.tick(ctx); err != nil && s.ctx.Err() == nil {
		s.log.Warn("the queue cannot be looked at", "err", err)
	}
}

// events tells the watcher that there are events without a place.
func (w *watcher) events() {}

// notify tells other processes.
func (t *transaction) notify(ctx context.Context) {}

// ended tells who follows that the store has ended.
func (s *Store) ended() {}

var (
	_ spool.Store = (*Store)(nil)
	_ spool.Waker = (*Store)(nil)
	_             = pgx.ErrNoRows
	_             = fmt.Sprint
)
