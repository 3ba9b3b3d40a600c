package pgspool

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	committers = 2
	groupSteps = 256     // written in one transaction, at most
	groupBytes = 4 << 20 // of content in one transaction, about
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
	chunks     []chunk // those that are not in their table yet
	staged     bool    // others are
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
	q.list = append(q.list, t)
	q.more.Signal()
	return nil
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

// take returns a group of steps, and nothing when the store has ended. Those
// whose context is done are answered with that.
func (q *steps) take() []*step {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for len(q.list) == 0 && !q.ending {
			q.more.Wait()
		}
		if len(q.list) == 0 {
			return nil
		}
		if group := q.cut(); len(group) > 0 {
			return group
		}
	}
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
	q.list = append(q.list[:0:0], q.list[n:]...)
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
