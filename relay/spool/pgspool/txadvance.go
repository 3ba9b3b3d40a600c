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

// Advance sets the place of a consumer of the log, as [spool.Log] has it: the
// place moves if, and only if, the transaction commits. So what the transaction
// does about an event, with the event's Cursor, is done once. Another
// transaction that moves the same consumer waits for this one; other consumers
// do not. To a REPEATABLE READ transaction, the log ends where it did when the
// transaction began.
func (t *Tx) Advance(ctx context.Context, consumer string, to spool.Cursor) error {
	if err := t.enter(ctx); err != nil {
		return err
	}
	if to > math.MaxInt64 {
		return errAhead
	}
	var moved, fresh, gone int64
	err := t.row(ctx, txAdvanceText, consumer, int64(to)).Scan(&moved, &fresh)
	if err == nil && fresh > 0 {
		err = t.row(ctx, txExcessText, consumer, int64(maxConsumers)).Scan(&gone)
	}
	switch {
	case err != nil:
		return failure(err)
	case moved == 0:
		return errAhead
	case gone > 0:
		return errConsumers
	}
	return nil
}
