package pgspool

import (
	"context"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	stageLimit = 30 * time.Second // for a row
	stagedFor  = time.Hour        // what nobody adds to is swept
)

// stage writes a row of a message that is not committed yet.
func (s *Store) stage(ctx context.Context, id spool.ID, c *chunk) error {
	ctx, cancel := context.WithTimeout(ctx, stageLimit)
	defer cancel()
	_, err := s.exec(ctx, s.pool, `
WITH mark AS (
	INSERT INTO @staged (id, since) VALUES ($1::uuid, @clock())
	ON CONFLICT (id) DO UPDATE SET since = excluded.since)
INSERT INTO @chunk (id, n, sum, data) VALUES ($1::uuid, $2, $3, $4)`,
		id, int32(c.n), sumOf(c.data), c.data)
	return failure(err)
}

// unstage forgets the content of a message that was not committed. If that
// fails, the sweep does it.
func (s *Store) unstage(id spool.ID) {
	ctx, cancel := context.WithTimeout(context.Background(), stageLimit)
	defer cancel()
	s.exec(ctx, s.pool, unstageText, []spool.ID{id})
}

// What another has committed under that id stays: then staged has no row.
const unstageText = `
WITH gone AS (DELETE FROM @staged WHERE id = ANY ($1::uuid[]) RETURNING id)
DELETE FROM @chunk c USING gone WHERE c.id = gone.id`
