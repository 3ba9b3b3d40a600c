package pgspool

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
)

// transactionLimit bounds how long a transaction of the store may wait for its
// client: one that was stopped must not keep locks.
const transactionLimit = "10s"

// beginText begins one that needs no more than that.
const beginText = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '" + transactionLimit +
	"'"

// planText makes PostgreSQL plan a statement once for a connection, and find
// rows by their keys only: a plan that suits an empty queue must suit a long
// one. It counts until the end of the transaction.
const planText = `
	set_config('plan_cache_mode', 'force_generic_plan', true) || set_config('jit', 'off', true) ||
	set_config('enable_seqscan', 'off', true) || set_config('enable_bitmapscan', 'off', true) ||
	set_config('enable_hashjoin', 'off', true) || set_config('enable_mergejoin', 'off', true)`

// settingsText begins a transaction. What it commits is durable.
const settingsText = `
SELECT @clock(), pg_current_xact_id()::text,
	set_config('idle_in_transaction_session_timeout', '` + transactionLimit + `', true) ||
	set_config('synchronous_commit', CASE current_setting('synchronous_commit')
		WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, true) ||` + planText

// transaction writes a group of steps. Each method is one round trip, and none
// if there is nothing to do.
type transaction struct {
	*committer
	conn     *pgxpool.Conn
	steps    []*step
	verdicts []error   // of the steps: nil for those that are written
	begun    time.Time // by our clock
	now      time.Time // by the server's
	xid      string
	held     [][]heldRow // of the steps: a row for each settlement
	finish   finished
	defers   deferred
	totals   spool.Stats
	counter  int          // the row that it counts in
	due      []dueKey     // what others are to be told of
	leased   []*handedRow // what was leased for the next Lease
	logged   bool         // there are events
	last     calls        // statements of the last round trip
	ended    bool         // the connection has been given back
}

func (t *transaction) run(ctx context.Context) error {
	for _, f := range []func(context.Context) error{
		t.open, t.takeWakes, t.claim, t.takeStaged, t.end, t.lockMessages, t.copyMessages,
		t.settle, t.dropMessages, t.close,
	} {
		if err := f(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fail leaves a step out.
func (t *transaction) fail(i int, err error) { t.verdicts[i] = err }

// live calls f for the steps that are not left out.
func (t *transaction) live(f func(i int, s *step)) {
	for i, s := range t.steps {
		if t.verdicts[i] == nil {
			f(i, s)
		}
	}
}

// open begins the transaction, reads the clock and locks what is to be settled.
func (t *transaction) open(ctx context.Context) error {
	var list calls
	list.add(nil, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
	list.add(t.readClock, settingsText)
	held := t.lock(&list)
	t.begun = time.Now()
	if err := t.together(ctx, t.conn, list); err != nil {
		return err
	}
	t.ready.tick(t.now, t.begun)
	t.sort(held)
	return nil
}

func (t *transaction) readClock(rows pgx.Rows) error {
	for rows.Next() {
		if err := rows.Scan(&t.now, &t.xid, nil); err != nil {
			return err
		}
	}
	return rows.Err()
}

// close does what is left to do, writes the events and the totals, and commits.
func (t *transaction) close(ctx context.Context) error {
	t.writeEvents(&t.last)
	t.count(&t.last)
	t.notify(&t.last)
	t.last.add(committed, "COMMIT")
	return t.commit(ctx, t.last)
}

// committed tells a commit from the end of a transaction that has failed.
func committed(rows pgx.Rows) error {
	rows.Close()
	if tag := rows.CommandTag().String(); rows.Err() == nil && tag != "COMMIT" {
		return errors.New("pgspool: COMMIT was answered " + tag)
	}
	return rows.Err()
}

func (t *transaction) rollback(ctx context.Context) {
	if t.ended {
		return
	}
	if c := t.conn.Conn().PgConn(); !c.IsClosed() && c.TxStatus() != 'I' {
		c.Exec(ctx, "ROLLBACK").ReadAll()
	}
}

// publish tells what was written.
func (t *transaction) publish() {
	t.live(func(_ int, s *step) {
		if m := s.message; m != nil {
			m.kept = t.recent.put(m.id, m.content)
		}
	})
	t.recent.forget(t.finish.whole)
	t.ready.add(t.due...)
	t.handOver()
	for i, s := range t.steps {
		if t.verdicts[i] == errAside {
			t.putAside(s)
			continue
		}
		answer(s, t.verdicts[i])
	}
	if t.logged {
		t.sequencer.news()
	}
}
