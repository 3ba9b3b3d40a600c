package pgspool

import (
	"context"
	"sync"
	"time"
)

// sequencing is the advisory lock of the sequencer; its second half is a digest
// of the schema's name.
const sequencing = 0x706f7376

const (
	placeMost  = 64                    // rows of events that are placed at once
	placePause = 20 * time.Millisecond // between two times, at least
	placeShare = 4                     // and that many times what the last one took
	placeLimit = 20 * time.Second      // for the statement
	placeBusy  = 5 * time.Millisecond  // while another node has the turn
	placeTries = 200                   // to get the turn

	// settledAfter is when a transaction that was under way has ended, or will
	// never be acknowledged: the committers give up sooner.
	settledAfter = groupLimit + outcomeLimit + 5*time.Second
	markEvery    = 5 * time.Second
	wholeEvery   = 30 * time.Second // between looks at all rows
)

// sequencer gives events their places. Any node may: the statement that moves
// rows from inbox to log is one transaction, and holds an advisory lock.
type sequencer struct {
	turn  chan struct{} // holds a token: one look at a time in this node
	nudge chan struct{}

	// Those below belong to who has the turn.
	marks []mark
	whole time.Time // of the last look at all rows

	mu     sync.Mutex
	begun  time.Time     // of the last look that left nothing behind
	newest int64         // the last place that is known
	grown  chan struct{} // nil while nobody waits
	ended  bool
}

// mark says that all rows up to an id were placed at a time, or not committed.
type mark struct {
	at time.Time
	id int64
}

func newSequencer() *sequencer {
	q := &sequencer{turn: make(chan struct{}, 1), nudge: make(chan struct{}, 1)}
	q.turn <- struct{}{}
	return q
}

// news tells that there may be events without a place.
func (q *sequencer) news() {
	select {
	case q.nudge <- struct{}{}:
	default:
	}
}

// floor is an id below which nothing is to be expected: an old snapshot keeps
// the rows that were moved, and each look would pass over all of them. What is
// committed very late lies below it, and is found by a look at all rows.
func (q *sequencer) floor(now time.Time) int64 {
	for len(q.marks) > 1 && now.Sub(q.marks[1].at) >= settledAfter {
		q.marks = q.marks[1:]
	}
	if now.Sub(q.whole) >= wholeEvery || len(q.marks) == 0 ||
		now.Sub(q.marks[0].at) < settledAfter {
		return 0
	}
	return q.marks[0].id
}

// note remembers that a look from a floor left nothing up to an id.
func (q *sequencer) note(begun time.Time, floor, id int64) {
	n := len(q.marks)
	if n > 0 && id < q.marks[n-1].id { // another server, with less
		q.marks, n = nil, 0
	}
	if n == 0 || begun.Sub(q.marks[n-1].at) >= markEvery {
		q.marks = append(q.marks, mark{begun, id})
	}
	if floor == 0 {
		q.whole = begun
	}
	q.mu.Lock()
	q.begun = begun
	q.mu.Unlock()
}

// fresh reports whether a look has begun since and left nothing.
func (q *sequencer) fresh(since time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.begun.After(since)
}

// reached tells who waits that the log goes up to a place.
func (q *sequencer) reached(newest int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if newest > q.newest && q.grown != nil {
		close(q.grown)
		q.grown = nil
	}
	q.newest = newest
}

// appended returns a channel that is closed when the log grows.
func (q *sequencer) appended() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.grown == nil {
		q.grown = make(chan struct{})
		if q.ended {
			close(q.grown)
		}
	}
	return q.grown
}

// end tells who waits that nothing will come.
func (q *sequencer) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.grown != nil && !q.ended {
		close(q.grown)
	}
	q.ended = true
}

// looked is what a look at the events without a place has brought.
type looked int

const (
	lookedBusy looked = iota + 1 // another node is at it
	lookedSome                   // there may be more
	lookedAll
)

// place gives events their places, some of them.
func (s *Store) place(ctx context.Context) (looked, error) {
	q := s.sequencer
	select {
	case <-q.turn:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { q.turn <- struct{}{} }()
	ctx, cancel := context.WithTimeout(ctx, placeLimit)
	defer cancel()
	begun := time.Now()
	floor := q.floor(begun)
	var moved, newest int64
	var top *int64
	err := s.row(ctx, s.pool, "SELECT moved, newest, top FROM @place($1, $2)", floor, placeMost).
		Scan(&moved, &newest, &top)
	if err != nil {
		return 0, err
	}
	q.reached(newest)
	switch {
	case top == nil:
		return lookedBusy, nil
	case moved == placeMost:
		return lookedSome, nil
	}
	q.note(begun, floor, *top-1) // of a sequence that is new, top is yet to come
	return lookedAll, nil
}

// placeAll gives all events their places that are committed by now.
func (s *Store) placeAll(ctx context.Context) error {
	since := time.Now()
	for tries := 0; tries < placeTries && !s.sequencer.fresh(since); {
		got, err := s.place(ctx)
		if err != nil || got == lookedAll {
			return err
		}
		if got == lookedBusy {
			tries++
			if err := pause(ctx, placeBusy); err != nil {
				return err
			}
		}
	}
	return nil
}

// pause waits a while.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// placeOn gives events their places until the store ends.
func (s *Store) placeOn() {
	for s.ctx.Err() == nil {
		begun := time.Now()
		got, err := s.place(s.ctx)
		rest := max(placePause, placeShare*time.Since(begun))
		if err != nil && s.ctx.Err() == nil {
			s.log.Warn("events have no places for now", "err", err)
			rest = watchAgain
		}
		if pause(s.ctx, rest) != nil || got != lookedAll {
			continue
		}
		select {
		case <-s.ctx.Done():
		case <-s.sequencer.nudge:
		case <-time.After(s.placeEvery()):
		}
	}
}

// placeEvery is how long to wait for news.
func (s *Store) placeEvery() time.Duration {
	if s.poll {
		return pollEvery
	}
	return tickEvery
}
