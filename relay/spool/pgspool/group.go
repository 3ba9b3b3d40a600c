package pgspool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

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
	queryCanceled   = "57014"
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
	conn    *pgxpool.Conn // that a group was taken with, until it is used
	counted int           // how often it has counted
	rows    [3]copyRows   // kept for their memory, about groupBytes
}

func (c *committer) run() {
	for c.steps.wait() {
		c.commit()
		c.steps.wrote()
	}
}

// commit writes a group and answers its steps, within a time. It takes the
// group when it has a connection: while the pool has none, who waits for a step
// does so no longer than his context.
func (c *committer) commit() {
	ctx, cancel := context.WithTimeout(c.work, groupLimit)
	defer cancel()
	conn, err := c.pool.Acquire(ctx)
	group := c.steps.take()
	switch {
	case err != nil:
		for _, t := range group {
			answer(t, verdict(err))
		}
	case len(group) == 0:
		conn.Release()
	default:
		c.conn = conn
		c.commitParts(ctx, group)
	}
}

// connection is the one that the group was taken with, then any other.
func (c *committer) connection(ctx context.Context) (*pgxpool.Conn, error) {
	if conn := c.conn; conn != nil {
		c.conn = nil
		return conn, nil
	}
	return c.pool.Acquire(ctx)
}

// commitParts writes a group. If it cannot be written, each half is tried, so
// that only those fail that are the cause.
func (c *committer) commitParts(ctx context.Context, group []*step) {
	defer func() {
		if v := recover(); v != nil {
			c.log.Error("a committer has panicked", "panic", fmt.Sprint(v))
			for _, t := range group {
				answer(t, errStopped)
			}
		}
	}()
	err := c.try(ctx, group)
	if half := len(group) / 2; half > 0 && ofOne(err) {
		c.commitParts(ctx, group[:half])
		c.commitParts(ctx, group[half:])
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

// ofOne reports whether one step may be the cause of an error of its group. A
// server that is full or goes down, or a commit with an unknown outcome, are
// not of one.
func ofOne(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || errors.Is(err, errUnsure) {
		return false
	}
	switch pg.Code[:min(len(pg.Code), 2)] {
	case "22", "23", "40", "54", "55", "P0", "XX": // data, locks, limits, damage
		return true
	}
	return pg.Code == queryCanceled
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
	if errors.Is(err, context.Canceled) { // only Close does so
		return fmt.Errorf("%w: %w", spool.ErrClosed, err)
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
	conn, err := c.connection(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	t := transaction{
		committer: c, conn: conn, steps: group, verdicts: make([]error, len(group)),
		held: make([][]heldRow, len(group)),
	}
	defer func() { t.handed.giveUp(t.leased) }()
	if err := t.run(ctx); err != nil {
		t.rollback(ctx)
		if errors.Is(err, errUnsure) {
			t.handed.doubt(t.leased)
			t.leased = nil
		}
		return err
	}
	t.publish()
	return nil
}
