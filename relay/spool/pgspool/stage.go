package pgspool

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	abortLimit = 5 * time.Second
	abortTries = 3         // a connection may have ended
	stagedFor  = time.Hour // what nobody adds to is swept
)

// errSwept answers the commit of content that nobody added to for too long.
var errSwept = errors.New("the content was given up, since nothing was added to it for an hour")

// stage writes a row of a message that is not committed yet, under an id of its
// writer: two may write the same message, or one after the death of another.
func (s *Store) stage(ctx context.Context, id spool.ID, c *chunk) error {
	// One that is broken off may be written behind the Abort that follows.
	ctx, done := unhurried(ctx)
	defer done()
	mark := "UPDATE @staged SET since = @clock() WHERE id = $1::uuid"
	if c.n == 1 {
		mark = "INSERT INTO @staged (id, since) VALUES ($1::uuid, @clock())"
	}
	tag, err := s.exec(ctx, s.pool, "WITH mark AS ("+mark+" RETURNING id) "+
		"INSERT INTO @chunk (id, n, sum, data) SELECT id, $2, $3, $4 FROM mark",
		id, int32(c.n), sumOf(c.data), c.data)
	if err == nil && tag.RowsAffected() == 0 {
		err = errSwept
	}
	return failure(err)
}

// unstage forgets the content of a message that was not committed. If that
// fails, the sweep does it.
func (s *Store) unstage(id spool.ID) {
	ctx, cancel := context.WithTimeout(context.Background(), abortLimit)
	defer cancel()
	for range abortTries {
		if _, err := s.exec(ctx, s.pool, unstageText, []spool.ID{id}); err == nil {
			return
		}
	}
}

const unstageText = `
WITH gone AS (DELETE FROM @staged WHERE id = ANY ($1::uuid[]) RETURNING id)
DELETE FROM @chunk WHERE id = ANY (ARRAY (SELECT id FROM gone))`

// takeStaged takes what was staged out of the reach of the sweep. A step whose
// content the sweep has had is left out.
func (t *transaction) takeStaged(ctx context.Context) error {
	var stages []spool.ID
	t.live(func(_ int, s *step) {
		if m := s.message; m != nil && !m.stage.IsZero() {
			stages = append(stages, m.stage)
		}
	})
	if len(stages) == 0 {
		return nil
	}
	rows, err := t.query(ctx, t.conn,
		"DELETE FROM @staged WHERE id = ANY ($1::uuid[]) RETURNING id", stages)
	if err != nil {
		return err
	}
	taken, err := pgx.CollectRows(rows, pgx.RowTo[spool.ID])
	if err != nil {
		return err
	}
	t.live(func(i int, s *step) {
		if m := s.message; m != nil && !m.stage.IsZero() && !slices.Contains(taken, m.stage) {
			t.fail(i, failure(errSwept))
		}
	})
	return nil
}

// staged reports whether content of a message was staged.
func (t *transaction) staged() (is bool) {
	t.live(func(_ int, s *step) {
		is = is || s.message != nil && !s.message.stage.IsZero()
	})
	return is
}

// nameStaged gives content that was staged the id of its message.
func (t *transaction) nameStaged(ctx context.Context) error {
	var stages, ids []spool.ID
	t.live(func(_ int, s *step) {
		if m := s.message; m != nil && !m.stage.IsZero() {
			stages, ids = append(stages, m.stage), append(ids, m.id)
		}
	})
	if len(stages) == 0 {
		return nil
	}
	_, err := t.exec(ctx, t.conn, "UPDATE @chunk c SET id = s.id FROM "+
		"unnest($1::uuid[], $2::uuid[]) AS s (stage, id) "+
		"WHERE c.id = s.stage AND c.id = ANY ($1::uuid[])", stages, ids)
	return err
}
