package pgspool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	outcomeLimit = 15 * time.Second // to learn of a commit without an answer
	outcomeAgain = 200 * time.Millisecond
)

// errUnsure answers a step that may have been written.
var errUnsure = errors.New("the connection ended during the commit, and its outcome is unknown")

// commit ends the transaction with the last of its statements. Where no answer
// comes, it asks the server on another connection what has become of it:
// neither a message nor what became of one is to be written twice.
func (t *transaction) commit(ctx context.Context, last calls) error {
	err := t.together(ctx, t.conn, last)
	if err == nil {
		return nil
	}
	if _, refused := errors.AsType[*pgconn.PgError](err); refused && !t.conn.Conn().IsClosed() {
		return err
	}
	// It is of no use any more, and the pool may have no other place.
	t.conn.Release()
	t.ended = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), outcomeLimit)
	defer cancel()
	for {
		switch t.status(ctx) {
		case "committed":
			if t.confirm(ctx) {
				return nil
			}
		case "aborted":
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", errUnsure, err)
		case <-time.After(outcomeAgain):
		}
	}
}

// confirm reports whether what the transaction wrote is there, and as durable
// as it was to be: a server that took over without it may have given its number
// to another one, and who breaks off a commit that waits for a standby makes
// the server go on without.
func (t *transaction) confirm(ctx context.Context) bool {
	if t.barrier(ctx) != nil {
		return false
	}
	var there bool
	err := t.row(ctx, t.pool, `
SELECT EXISTS (SELECT FROM @counter WHERE node = $1::uuid AND n = $2
	AND xmin::text = ($3::text::numeric % 4294967296)::text)`,
		t.node, t.counter, t.xid).Scan(&there)
	return err == nil && there
}

// status asks what has become of the transaction; empty if that is not known
// yet. A server that took over without it may know nothing of its number.
func (t *transaction) status(ctx context.Context) string {
	var status *string
	err := t.row(ctx, t.pool, "SELECT pg_xact_status($1::text::xid8)", t.xid).Scan(&status)
	pg, ok := errors.AsType[*pgconn.PgError](err)
	switch {
	case ok && pg.Code == "22023": // its number is in the future
		return "aborted"
	case err != nil:
		return ""
	case status == nil: // it is older than what the server remembers
		return ""
	}
	return *status
}
