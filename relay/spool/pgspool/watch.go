package pgspool

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	tickEvery  = time.Second            // for what has become due, unless told
	pollEvery  = 100 * time.Millisecond // for what nobody tells of
	scanEvery  = 30 * time.Second       // for everything
	scanPage   = 1000                   // keys in a statement
	scanPause  = 10 * time.Millisecond  // between two of them
	tickMost   = maxKeys                // keys in a statement
	nudgePause = 10 * time.Millisecond  // between looks, however often it is told
	watchLimit = 20 * time.Second       // for a statement
	watchAgain = time.Second            // after a failure
)

// watcher looks for what other processes and transactions of the application
// have written, once somebody leases or follows.
type watcher struct {
	nudge chan struct{} // there is news

	first   sync.Mutex // of who makes the first page of the scan
	scanned bool       // under first

	mu      sync.Mutex
	started bool
	told    time.Time // rows may be new that are due since then

	seen time.Time // rows that were due before that have been looked at

	page sync.Mutex
	next int64 // where the scan goes on; under page
}

func newWatcher() watcher { return watcher{nudge: make(chan struct{}, 1), next: math.MinInt64} }

// news tells the watcher that there is something to look at.
func (w *watcher) news() {
	select {
	case w.nudge <- struct{}{}:
	default:
	}
}

// newsSince tells it of rows that are due since a time.
func (w *watcher) newsSince(t time.Time) {
	w.lookFrom(t)
	w.news()
}

// lookFrom has the next tick begin at a time, or before it.
func (w *watcher) lookFrom(t time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told.IsZero() || t.Before(w.told) {
		w.told = t
	}
}

// from is where the next tick begins.
func (w *watcher) from(now time.Time) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	from := w.seen
	if !w.told.IsZero() && !from.IsZero() {
		from = earlier(from, w.told)
	}
	w.told = time.Time{}
	if from.IsZero() {
		return now.Add(-scanEvery) // the scan finds what is older
	}
	return from
}

// start makes the first page of the scan and begins to watch.
func (w *watcher) start(ctx context.Context, s *Store) error {
	w.first.Lock()
	defer w.first.Unlock()
	if w.scanned {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, watchLimit)
	defer cancel()
	if _, err := s.scan(ctx); err != nil {
		return err
	}
	w.scanned = true
	w.begin(s)
	return nil
}

// end keeps the watcher from beginning.
func (w *watcher) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.started = true
}

// begin begins to watch, unless the store has ended.
func (w *watcher) begin(s *Store) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.started {
		return
	}
	w.started = true
	s.tasks.Go(s.watchOn)
	s.tasks.Go(s.placeOn)
	s.tasks.Go(s.tidyOn)
	s.tasks.Go(s.wakeOn)
	if !s.poll {
		s.tasks.Go(s.listenOn)
	}
}

// chore is something that the watcher does again and again.
type chore struct {
	// do returns when it is to be done next.
	do func(context.Context) (time.Duration, error)
	// told makes it be done when there is news, too.
	told bool
	next time.Time
}

// watchOn looks for news until the store ends.
func (s *Store) watchOn() {
	chores := []*chore{
		{do: s.tick, told: true},
		{do: s.scan},
		{do: s.takeBack},
	}
	for s.ctx.Err() == nil {
		wait := s.round(chores)
		select {
		case <-s.ctx.Done():
		case <-time.After(wait):
		case <-s.watch.nudge:
			for _, c := range chores {
				if c.told {
					c.next = time.Time{}
				}
			}
			time.Sleep(nudgePause)
		}
	}
}

// round does what is to be done now, and returns how long to wait.
func (s *Store) round(chores []*chore) time.Duration {
	wait := tickEvery
	for _, c := range chores {
		if time.Until(c.next) <= 0 {
			c.next = time.Now().Add(s.run(c))
		}
		wait = min(wait, time.Until(c.next))
	}
	return max(wait, 0)
}

func (s *Store) run(c *chore) time.Duration {
	ctx, cancel := context.WithTimeout(s.ctx, watchLimit)
	defer cancel()
	wait, err := c.do(ctx)
	if err != nil && s.ctx.Err() == nil {
		s.log.Warn("the queue cannot be looked at", "err", err)
		return watchAgain
	}
	return wait
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

// scan finds keys, a page of them at a time, in the order of their digests.
func (s *Store) scan(ctx context.Context) (time.Duration, error) {
	s.watch.page.Lock()
	defer s.watch.page.Unlock()
	due, err := s.askDue(ctx, scanText, s.watch.next, scanPage)
	if err != nil {
		return 0, err
	}
	s.ready.add(due...)
	if len(due) < scanPage {
		s.watch.next = math.MinInt64
		return scanEvery, nil
	}
	s.watch.next = digest(due[len(due)-1].key)
	return scanPause, nil
}

// askDue runs a statement that returns what readDue reads.
func (s *Store) askDue(ctx context.Context, sql string, args ...any) (due []dueKey, err error) {
	err = s.ask(ctx, func(rows pgx.Rows) (err error) {
		due, err = readDue(rows)
		return err
	}, sql, args...)
	return due, err
}

// CASE is the condition of the index on at alone.
const tickText = `
SELECT route, domain, stream, min(at), false FROM @delivery
WHERE CASE WHEN held THEN 1 ELSE 0 END = 0 AND at > $1 AND at <= $2
GROUP BY key, route, domain, stream LIMIT $3`

// tick finds the keys of rows that have become due since the last tick, or were
// written late.
func (s *Store) tick(ctx context.Context) (time.Duration, error) {
	asked, now := time.Now(), time.Time{}
	if err := s.row(ctx, s.pool, "SELECT @clock()").Scan(&now); err != nil {
		return 0, err
	}
	s.ready.tick(now, asked)
	since := s.watch.from(now)
	due, err := s.askDue(ctx, tickText, since.Add(-late), now, tickMost)
	if err != nil {
		s.watch.lookFrom(since)
		return 0, err
	}
	s.ready.add(due...)
	s.watch.seen = now
	if s.poll {
		return pollEvery, nil
	}
	return tickEvery, nil
}

// Wake receives a value when a delivery is due sooner than the last Lease told.
func (s *Store) Wake() <-chan struct{} { return s.ready.wake }

// ended tells who follows that the store has ended.
func (s *Store) ended() { s.sequencer.end() }
