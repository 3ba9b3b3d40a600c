package pgspool

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

// tidying is the advisory lock of who tidies up; its second half is a digest of
// the schema's name.
const tidying = 0x706f7377

const (
	tidyEvery = time.Minute
	tidyAgain = time.Second // after a piece that left something
	tidyMost  = 1000        // rows in a statement
	tidyLimit = 20 * time.Second
	foldAbove = 16 // rows of counter
	// claimBytes is the least length of a row of claim: the number of rows is
	// asked for only where the table is that long.
	claimBytes  = 128
	sharedBytes = 48 // the same of shared
)

// janitor forgets what has ended.
type janitor struct {
	mu     sync.Mutex
	before time.Time // what Truncate was told last
	health health
}

func (j *janitor) truncate(before time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.before = before
}

func (j *janitor) truncated() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.before
}

// tidyOn tidies up until the store ends.
func (s *Store) tidyOn() {
	for s.ctx.Err() == nil {
		wait := tidyEvery
		if s.tidy(s.ctx) {
			wait = tidyAgain
		}
		if pause(s.ctx, wait) != nil {
			return
		}
	}
}

// tidy does all pieces once, each for itself, and reports whether there is more
// to do.
func (s *Store) tidy(ctx context.Context) (more bool) {
	for _, p := range s.sweeps() {
		n, err := s.sweep(ctx, &p)
		s.troubled(ctx, p.name, err)
		more = more || n >= tidyMost
	}
	for name, f := range map[string]func(context.Context) error{
		"days": s.makeDays, "log": s.truncateAgain, "health": s.health,
	} {
		limited, cancel := context.WithTimeout(ctx, tidyLimit)
		s.troubled(ctx, name, f(limited))
		cancel()
	}
	return more
}

func (s *Store) troubled(ctx context.Context, piece string, err error) {
	if err != nil && ctx.Err() == nil {
		s.log.Warn("the queue cannot be tidied up", "piece", piece, "err", err)
	}
}

func (s *Store) health(ctx context.Context) error { return s.lookAtHealth(ctx, time.Now()) }

func (s *Store) truncateAgain(ctx context.Context) error {
	if before := s.janitor.truncated(); !before.IsZero() {
		return s.truncate(ctx, before)
	}
	return nil
}

// sweep is a statement that forgets some of what has ended. What others have
// locked is left alone.
type sweep struct {
	name, text string
	args       []any
}

func (s *Store) sweeps() []sweep {
	return []sweep{
		{"staged", sweepStagedText, []any{stagedFor, tidyMost}},
		{"claim", sweepText("claim", "expires", "hash"), []any{tidyMost}},
		{"claim", excessText("claim", "made", "hash"),
			[]any{tidyMost, spool.MaxClaims, int64(spool.MaxClaims) * claimBytes, s.in("@claim")}},
		{"shared", sweepText("shared", "ends", "name, counter"), []any{tidyMost}},
		{"shared", excessText("shared", "ends", "name, counter"),
			[]any{tidyMost, maxShared, int64(maxShared) * sharedBytes, s.in("@shared")}},
		{"node", sweepText("node", "ends", "team, member"), []any{tidyMost}},
		{"counter", foldText, []any{tidyMost, foldAbove}},
	}
}

// sweepStagedText forgets the content of messages that processes have left
// behind.
const sweepStagedText = `
WITH gone AS (
	DELETE FROM @staged WHERE id IN (
		SELECT id FROM @staged WHERE since < @clock() - $1::interval LIMIT $2
		FOR UPDATE SKIP LOCKED)
	RETURNING id),
content AS (DELETE FROM @chunk WHERE id = ANY (ARRAY (SELECT id FROM gone)))
SELECT count(*) FROM gone`

// sweepText forgets rows of a table that have ended.
func sweepText(table, ends, key string) string {
	return `
WITH gone AS (
	DELETE FROM @` + table + ` WHERE (` + key + `) IN (
		SELECT ` + key + ` FROM @` + table + ` WHERE ` + ends + ` <= @clock()
		ORDER BY ` + ends + ` LIMIT $1 FOR UPDATE SKIP LOCKED)
	RETURNING 1)
SELECT count(*) FROM gone`
}

// excessText forgets the rows of a table that are the first of too many. A
// table that is short has not too many, and is not counted.
func excessText(table, first, key string) string {
	return `
WITH last AS MATERIALIZED (
	SELECT ` + first + ` FROM @` + table + `
	WHERE pg_relation_size($4::text::regclass) > $3
	ORDER BY ` + first + ` DESC OFFSET $2 LIMIT 1),
gone AS (
	DELETE FROM @` + table + ` WHERE (` + key + `) IN (
		SELECT ` + key + ` FROM @` + table + ` WHERE ` + first + ` <= (SELECT ` + first + ` FROM last)
		ORDER BY ` + first + ` LIMIT $1 FOR UPDATE SKIP LOCKED)
	RETURNING 1)
SELECT count(*) FROM gone`
}

// foldText makes one row of many. Their committers begin new ones.
const foldText = `
WITH gone AS (
	DELETE FROM @counter WHERE (node, n) IN (
		SELECT node, n FROM @counter
		WHERE n >= 0 AND (SELECT count(*) FROM @counter) > $2
		LIMIT $1 FOR UPDATE SKIP LOCKED)
	RETURNING messages, deliveries, bytes),
kept AS (
	INSERT INTO @counter AS c (node, n, messages, deliveries, bytes)
	SELECT '00000000-0000-0000-0000-000000000000', -1, sum(messages), sum(deliveries), sum(bytes)
	FROM gone HAVING count(*) > 0
	ON CONFLICT (node, n) DO UPDATE SET messages = c.messages + excluded.messages,
		deliveries = c.deliveries + excluded.deliveries, bytes = c.bytes + excluded.bytes)
SELECT count(*) FROM gone`

// sweep does a piece, unless another node is at it, and returns how many rows
// it took.
func (s *Store) sweep(ctx context.Context, p *sweep) (n int, err error) {
	ctx, cancel := context.WithTimeout(ctx, tidyLimit)
	defer cancel()
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{BeginQuery: beginText},
		func(tx pgx.Tx) error {
			var mine bool
			err := s.row(ctx, tx, "SELECT pg_try_advisory_xact_lock($1, hashtext($2))",
				int32(tidying), string(s.schemaName)).Scan(&mine)
			if err != nil || !mine {
				return err
			}
			return s.row(ctx, tx, p.text, p.args...).Scan(&n)
		})
	return n, err
}
