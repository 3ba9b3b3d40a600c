package pgspool

import (
	"context"
	"math"

	"github.com/postern-mail/postern/relay/spool"
)

// txAdvanceText moves a consumer. It looks at no other one: to a SERIALIZABLE
// transaction that would be a conflict with those that move them.
const txAdvanceText = `
WITH moved AS (
	INSERT INTO @consumer AS c (name, at) SELECT $1::text, $2::bigint
	WHERE $2::bigint <= ` + newestText + `
	ON CONFLICT (name) DO UPDATE SET at = excluded.at
	RETURNING (xmax = 0)::int AS fresh)
SELECT count(*), coalesce(sum(fresh), 0) FROM moved`

// txExcessText takes back a new consumer that is one too many.
const txExcessText = `
WITH gone AS (
	DELETE FROM @consumer
	WHERE name = $1::text AND (SELECT count(*) FROM @consumer) > $2::bigint
	RETURNING name)
SELECT count(*) FROM gone`

const txCursorText = `
INSERT INTO @consumer AS c (name, at) VALUES ($1::text, 0)
ON CONFLICT (name) DO UPDATE SET at = c.at
RETURNING at, (xmax = 0)::int`

// Cursor returns the place of a consumer of the log, and holds it until the
// transaction ends: another transaction that asks for the same place, or moves
// it, waits so long. Work is done once if the transaction asks first, passes
// events with a Cursor that is not behind the place, does the work for the
// others, and calls Advance with the Cursor of the last. Two processes may then
// get the same events, and one may not hear that it has committed.
func (t *Tx) Cursor(ctx context.Context, consumer string) (spool.Cursor, error) {
	if err := t.enter(ctx); err != nil {
		return 0, err
	}
	var at, fresh int64
	if err := t.row(ctx, txCursorText, consumer).Scan(&at, &fresh); err != nil {
		return 0, failure(err)
	}
	return spool.Cursor(at), t.bound(ctx, consumer, fresh)
}

// Advance sets the place of a consumer of the log, as [spool.Log] has it: the
// place moves if, and only if, the transaction commits. Another transaction
// that moves the same consumer waits for this one; other consumers do not. To a
// REPEATABLE READ transaction, the log ends where it did when the transaction
// began.
func (t *Tx) Advance(ctx context.Context, consumer string, to spool.Cursor) error {
	if err := t.enter(ctx); err != nil {
		return err
	}
	if to > math.MaxInt64 {
		return errAhead
	}
	var moved, fresh int64
	err := t.row(ctx, txAdvanceText, consumer, int64(to)).Scan(&moved, &fresh)
	switch {
	case err != nil:
		return failure(err)
	case moved == 0:
		return errAhead
	}
	return t.bound(ctx, consumer, fresh)
}

// bound takes back a consumer that was made just now and is one too many.
func (t *Tx) bound(ctx context.Context, consumer string, fresh int64) error {
	if fresh == 0 {
		return nil
	}
	var gone int64
	err := t.row(ctx, txExcessText, consumer, int64(maxConsumers)).Scan(&gone)
	if err == nil && gone > 0 {
		return errConsumers
	}
	return failure(err)
}
