package pgspool

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	committers = 2
	groupSteps = 256     // written in one transaction, at most
	groupBytes = 4 << 20 // of content in one transaction, about

	// Steps gather until there are so many, or the first of them has waited so
	// long: a transaction costs as much as ten steps, however few are in it.
	// While no committer is at work, as many are enough as were in the group
	// before, and any number if those were few.
	gatherSteps = 64
	gatherTime  = 8 * time.Millisecond
	gatherFew   = 8
)

// step is what is written as a whole, or not at all: a commit, with or without
// settlements, a settlement, or a message that a transaction of the application
// has left.
type step struct {
	message *newMessage
	wake    int64 // the row that left the message; its content is there already
	settle  []spool.Settlement
	events  []spool.Record // before those of settle
	claim   *spool.Claim

	ctx  context.Context // until it is taken
	done chan error
}

// newMessage is a message that is becoming visible.
type newMessage struct {
	id         spool.ID
	meta       []byte // nil: it is in its table already
	size       int64
	chunks     []chunk  // those that are not in their table yet
	content    []byte   // all of it, where it is in memory
	kept       bool     // content is, by others: it is not to be written to
	stage      spool.ID // what others are under; zero if there are none
	deliveries []spool.Delivery
}

// chunk is a row of content.
type chunk struct {
	n    int
	data []byte
}

// size tells how much of a group a step takes.
func (t *step) size() int {
	n := 0
	if t.message != nil {
		for i := range t.message.chunks {
			n += len(t.message.chunks[i].data)
		}
	}
	return n
}

// steps are those that wait for a committer.
type steps struct {
	mu     sync.Mutex
	more   sync.Cond
	list   []*step
	since  time.Time // when the first of the list came
	atWork int       // committers
	before int       // steps in the group that was taken last
	ending bool
}

func (q *steps) closed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ending
}

// close refuses further steps. It reports whether it was the first to do so.
func (q *steps) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := !q.ending
	q.ending = true
	q.more.Broadcast()
	return first
}

func (q *steps) add(t *step) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ending {
		return spool.ErrClosed
	}
	if q.list = append(q.list, t); len(q.list) == 1 {
		q.first()
	}
	q.more.Signal()
	return nil
}

// first notes that the list is not empty any more, and sees that it is looked
// at again when it has gathered for long enough.
func (q *steps) first() {
	q.since = time.Now()
	if q.atWork > 0 || q.enough() > 1 {
		time.AfterFunc(gatherTime, q.look)
	}
}

// look has a committer look at the list. With the lock: it does not miss it
// between its last look and its wait.
func (q *steps) look() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.more.Signal()
}

// ripe reports whether a committer is to take a group now.
func (q *steps) ripe() bool {
	return q.ending || len(q.list) >= q.enough() || time.Since(q.since) >= gatherTime
}

// enough is how many steps a committer does not let wait.
func (q *steps) enough() int {
	switch {
	case q.atWork > 0:
		return gatherSteps
	case q.before < gatherFew:
		return 1
	}
	return min(q.before, gatherSteps)
}

// remove takes a step back, unless a committer has it.
func (q *steps) remove(t *step) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.list, t)
	if i >= 0 {
		q.list = slices.Delete(q.list, i, i+1)
	}
	return i >= 0
}

// wait waits until a committer is to take a group, and is false when the store
// has ended. After it a committer calls take, then wrote.
func (q *steps) wait() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.ending && (len(q.list) == 0 || !q.ripe()) {
		q.more.Wait()
	}
	if len(q.list) == 0 {
		return false
	}
	q.atWork++
	return true
}

// take returns a group of steps, which may be empty by now. Those whose context
// is done are answered with that.
func (q *steps) take() []*step {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cut()
}

func (q *steps) wrote() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.atWork--
	q.more.Signal()
}

// cut takes a group from the front of the list.
func (q *steps) cut() (group []*step) {
	n, bytes := 0, 0
	for n < len(q.list) && len(group) < groupSteps && bytes < groupBytes {
		t := q.list[n]
		n++
		if err := t.ctx.Err(); err != nil {
			t.done <- err
			continue
		}
		group = append(group, t)
		bytes += t.size()
	}
	if len(group) > 0 { // or the other committer had it
		q.before = len(group)
	}
	if q.list = append(q.list[:0:0], q.list[n:]...); len(q.list) > 0 {
		q.first()
	}
	return group
}

// do hands a step to the committers and waits for its outcome. Nobody waits
// longer than his context before a committer has taken it.
func (s *Store) do(ctx context.Context, t *step) error {
	t.ctx, t.done = ctx, make(chan error, 1)
	if err := s.steps.add(t); err != nil {
		return err
	}
	select {
	case err := <-t.done:
		return err
	case <-ctx.Done():
	}
	if s.steps.remove(t) {
		return ctx.Err()
	}
	return <-t.done // it is being written
}

var errStopped = errors.New("pgspool: a committer has panicked")
