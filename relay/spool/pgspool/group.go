package pgspool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	groupLimit = 30 * time.Second // for a connection and the transaction
	groupTries = 3                // after a deadlock
)

// SQLSTATEs.
const (
	uniqueViolation = "23505"
	serialization   = "40001"
	deadlock        = "40P01"
)

func (s *Store) startCommitters() {
	s.steps.more.L = &s.steps.mu
	for i := range committers {
		c := &committer{Store: s, index: i}
		s.tasks.Go(c.run)
	}
}

// committer writes groups of steps, one after the other.
type committer struct {
	*Store
	index   int
	counted int         // how often it has counted
	rows    [3]copyRows // kept for their memory, about groupBytes
}

func (c *committer) run() {
	for {
		group := c.steps.take()
		if len(group) == 0 {
			return
		}
		c.commit(group)
		c.steps.wrote()
	}
}

// commit writes a group and answers its steps. If the group cannot be written,
// each step is tried alone.
func (c *committer) commit(group []*step) {
	defer func() {
		if v := recover(); v != nil {
			c.log.Error("a committer has panicked", "panic", fmt.Sprint(v))
			for _, t := range group {
				answer(t, errStopped)
			}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), groupLimit)
	defer cancel()
	err := c.try(ctx, group)
	if err != nil && len(group) > 1 && isOfServer(err) {
		for _, t := range group {
			c.commit([]*step{t})
		}
		return
	}
	for _, t := range group {
		if err != nil {
			answer(t, verdict(err))
		}
	}
}

// answer tells who waits for a step; a second answer is dropped.
func answer(t *step, err error) {
	select {
	case t.done <- err:
	default:
	}
}

// isOfServer reports whether the server has refused something, and a part of it
// may be taken.
func isOfServer(err error) bool {
	_, ok := errors.AsType[*pgconn.PgError](err)
	return ok
}

// verdict is what a step is told that failed alone.
func verdict(err error) error {
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == uniqueViolation &&
		pg.TableName == "message" {
		return spool.ErrExists
	}
	return failure(err)
}

// try writes a group, again where others were in the way.
func (c *committer) try(ctx context.Context, group []*step) error {
	for n := 1; ; n++ {
		err := c.write(ctx, group)
		pg, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || n == groupTries || pg.Code != deadlock && pg.Code != serialization {
			return err
		}
	}
}

func (c *committer) write(ctx context.Context, group []*step) error {
	conn, err := c.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	t := transaction{
		committer: c, conn: conn, steps: group, verdicts: make([]error, len(group)),
		held: make([][]heldRow, len(group)),
	}
	if err := t.run(ctx); err != nil {
		t.rollback(ctx)
		return err
	}
	t.publish()
	return nil
}
