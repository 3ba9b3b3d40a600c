package pgspool

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	wakeEvery  = 100 * time.Millisecond // between looks at wake
	wakeSoon   = 25 * time.Millisecond  // while this process has put something in
	wakeExpect = 3 * time.Second        // how long that is expected to be committed
	wakePage   = 64                     // rows in a statement
	// rows that became visible later, the look without a bound finds
	wakeLate   = 2 * time.Second
	wakeShare  = 20               // such a look has a rest of that many times what asking took
	wakeRest   = 10 * time.Second // at most: a server that is away is slow to answer, too
	wakeAside  = 10 * time.Second // until a row is tried again that could not be taken
	wakeFailed = 1000             // rows that are remembered for that
)

// waker takes what transactions of the application have left: it makes the
// deliveries of their messages, and brings their events into the log.
type waker struct {
	hint  chan struct{} // a transaction of this process may commit soon
	until atomic.Int64  // when that is expected no more, in nanoseconds

	low, mark int64     // a look with a bound is at the rows above low
	marked    time.Time // when mark became the last number that was drawn
	top       int64     // the highest row that was seen
	whole     time.Time // when a look without a bound is due
	failed    map[int64]time.Time
}

func newWaker() *waker {
	return &waker{hint: make(chan struct{}, 1), failed: make(map[int64]time.Time)}
}

// expect tells that a transaction of this process may commit soon.
func (w *waker) expect() {
	w.until.Store(time.Now().Add(wakeExpect).UnixNano())
	select {
	case w.hint <- struct{}{}:
	default:
	}
}

// every is how long to wait between two looks.
func (w *waker) every() time.Duration {
	if time.Now().UnixNano() < w.until.Load() {
		return wakeSoon
	}
	return wakeEvery
}

// wakeOn takes what is left behind until the store ends.
func (s *Store) wakeOn() {
	for s.ctx.Err() == nil {
		wait, hint := s.waker.every(), s.waker.hint
		if err := s.lookAtWake(); err != nil {
			if s.steps.closed() {
				return
			}
			s.log.Warn("not all that transactions have left can be taken now", "err", err)
			wait, hint = watchAgain, nil
		}
		select {
		case <-s.ctx.Done():
		case <-hint:
			time.Sleep(wakeSoon)
		case <-time.After(wait):
		}
	}
}

// lookAtWake takes all rows above a bound, which spares it those that were
// taken and are not cleared away yet. A transaction may commit long after its
// row got a number: now and then, as often as that is cheap, there is no bound.
func (s *Store) lookAtWake() error {
	w, start, failed := s.waker, time.Now(), error(nil)
	from, whole := w.low, !start.Before(w.whole)
	if whole {
		from = math.MinInt64
	}
	var asking time.Duration
	for {
		asked := time.Now()
		rows, err := s.wakeRows(from)
		if err != nil {
			return err
		}
		asking += time.Since(asked)
		if err := s.take(rows); err != nil {
			if !isOfServer(err) || errors.Is(err, spool.ErrFull) {
				return err
			}
			failed = err
		}
		if len(rows) < wakePage {
			break
		}
		from = rows[len(rows)-1].n
	}
	if whole {
		w.whole = time.Now().Add(min(wakeShare*asking, wakeRest))
	}
	if time.Since(w.marked) > wakeLate {
		w.low, w.mark, w.marked = w.mark, s.wakeTop(), time.Now()
	}
	return failed
}

// wakeTop is a number that rows have reached: the last that was drawn, or, for
// who may not ask for that, the highest that was seen.
func (s *Store) wakeTop() int64 {
	ctx, cancel := context.WithTimeout(s.ctx, watchLimit)
	defer cancel()
	var last int64
	if s.row(ctx, s.pool, "SELECT last_value - 1 FROM @wake_n_seq").Scan(&last) != nil {
		return s.waker.top
	}
	return last
}

// wakeRow is what a transaction has left.
type wakeRow struct {
	n    int64
	id   spool.ID
	step []byte
}

// wakeRows returns the first rows above a number.
func (s *Store) wakeRows(above int64) ([]wakeRow, error) {
	ctx, cancel := context.WithTimeout(s.ctx, watchLimit)
	defer cancel()
	rows, err := s.query(ctx, s.pool,
		"SELECT n, id, step FROM @wake WHERE n > $1 ORDER BY n LIMIT $2", above, wakePage)
	if err != nil {
		return nil, err
	}
	return collectWake(rows)
}

func collectWake(rows pgx.Rows) ([]wakeRow, error) {
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (w wakeRow, err error) {
		err = r.Scan(&w.n, &w.id, &w.step)
		return w, err
	})
}

// take hands rows to the committers, all at once, and waits for them. Other
// nodes may do the same: one of them has each row. What fails stays, and is put
// aside for a while so that it does not keep the others.
func (s *Store) take(rows []wakeRow) error {
	var steps []*step
	for i := range rows {
		r := &rows[i]
		s.waker.top = max(s.waker.top, r.n)
		if time.Now().Before(s.waker.failed[r.n]) {
			continue
		}
		t := s.wakeStep(r)
		if err := s.steps.add(t); err != nil {
			return err
		}
		steps = append(steps, t)
	}
	var failed error
	for _, t := range steps {
		err := <-t.done
		if err == nil || errors.Is(err, errTaken) {
			delete(s.waker.failed, t.wake)
			continue
		}
		failed = err
		s.waker.putAside(t.wake)
	}
	return failed
}

func (w *waker) putAside(n int64) {
	if len(w.failed) >= wakeFailed {
		clear(w.failed)
	}
	w.failed[n] = time.Now().Add(wakeAside)
}

// wakeStep makes a step of a row. What cannot be read becomes a delivery that
// is leased as a damaged one: the relay makes the loss known.
func (s *Store) wakeStep(r *wakeRow) *step {
	t, err := readStep(r.id, r.step)
	if err != nil {
		s.log.Error("what a transaction has left is damaged",
			"table", "wake", "n", r.n, "message", r.id, "err", err)
	}
	t.wake, t.ctx, t.done = r.n, s.ctx, make(chan error, 1)
	return t
}

// takeWakeOf makes the deliveries of a message whose transaction has committed
// a moment ago. On nil they are there, whoever has made them, unless they are
// finished.
func (s *Store) takeWakeOf(ctx context.Context, id spool.ID) error {
	for {
		rows, err := s.query(ctx, s.pool, `
SELECT n, id, step FROM @wake WHERE id = $1 AND EXISTS (SELECT FROM @message WHERE id = $1)`, id)
		if err != nil {
			return err
		}
		list, err := collectWake(rows)
		if err != nil || len(list) == 0 {
			return err
		}
		if err = s.do(ctx, s.wakeStep(&list[0])); !errors.Is(err, errTaken) {
			return err
		}
		// Somebody is about to take it, and may fail to.
		_, err = s.exec(ctx, s.pool, "SELECT FROM @wake WHERE n = $1 FOR UPDATE", list[0].n)
		if err != nil {
			return err
		}
	}
}
