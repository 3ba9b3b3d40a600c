package pgspool

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

// queuedText finds the first row above a number that an open transaction has
// left: those of others that are open it does not see. The row's xmin is the
// low half of the number of the transaction, or that of a savepoint in it.
const queuedText = `
WITH me AS MATERIALIZED (SELECT pg_current_xact_id()::text::bigint AS x),
row AS (
	SELECT w.*, x, (w.xmin::text::bigint - x % 4294967296 + 4294967296) % 4294967296 AS later
	FROM me, @wake w WHERE n > $1::bigint)
SELECT n, encode(uuid_send(r.id), 'hex'), step, size, meta,
	coalesce((SELECT string_agg(data, ''::bytea ORDER BY c.n) FROM @chunk c WHERE c.id = r.id),
		''::bytea)
FROM row r JOIN @message m ON m.id = r.id
WHERE CASE WHEN later < 2147483648
	THEN pg_xact_status((x + later)::text::xid8) = 'in progress' END
ORDER BY n LIMIT 1`

// Queued returns the messages that an open transaction of the application has
// put into the queue of a schema, in their order: for tests, which roll back
// after that. The transaction is a pgx.Tx or a *sql.Tx. The keys that were put
// in with the messages are not among what it returns.
//
// Package pgspooltest has what a test needs beyond it.
func Queued(ctx context.Context, tx any, schema string) ([]spool.Prepared, error) {
	var q appTx
	switch tx := tx.(type) {
	case pgx.Tx:
		q = pgxTx{tx}
	case *sql.Tx:
		q = sqlTx{tx}
	default:
		return nil, fmt.Errorf("pgspool: %T is not a transaction", tx)
	}
	var list []spool.Prepared
	for n := int64(math.MinInt64); ; {
		p, err := queued(ctx, q, schemaName(schema).in(queuedText), &n)
		if errors.Is(err, pgx.ErrNoRows) || errors.Is(err, sql.ErrNoRows) {
			return list, nil
		}
		if err != nil {
			return list, failure(err)
		}
		list = append(list, p)
	}
}

// queued returns the first message above a number, which it raises.
func queued(ctx context.Context, q appTx, text string, n *int64) (p spool.Prepared, err error) {
	var id string
	var size int64
	var left, meta []byte
	if err := q.row(ctx, text, *n).Scan(n, &id, &left, &size, &meta, &p.Content); err != nil {
		return p, err
	}
	p.Commit.Message, err = readMessage(meta)
	m := &p.Commit.Message
	m.Size = size
	if err != nil || !fromHex(m.ID[:], id) {
		return p, errEnvelope
	}
	t, err := readStep(m.ID, left)
	p.Commit.Deliveries, p.Commit.Events = t.message.deliveries, t.events
	for i := range p.Commit.Deliveries {
		p.Commit.Deliveries[i].ID = spool.DeliveryID{Message: m.ID, Seq: i}
	}
	return p, err
}
