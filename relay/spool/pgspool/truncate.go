package pgspool

import (
	"context"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	eraseMost  = 1000 // rows of the log in a statement
	eraseTimes = 200  // statements in a call
)

// Truncate drops the days that are over and hold nothing newer, from the oldest
// on. While somebody has a table in use, its day stays: the store tries again
// by itself.
func (s *Store) Truncate(ctx context.Context, before time.Time) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	s.janitor.truncate(before)
	return failure(s.truncate(ctx, before))
}

// truncate drops what is older than a time, as far as it can now.
func (s *Store) truncate(ctx context.Context, before time.Time) error {
	today, err := s.today(ctx)
	if err != nil {
		return err
	}
	list, err := s.inspectAll(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		next := int64(math.MaxInt64)
		if i+1 < len(list) {
			next = list[i+1].oldest
		}
		if gone, err := s.shorten(ctx, &list[i], today, before, next); err != nil || !gone {
			if hasCode(err, lockTimeout) {
				s.log.Info("old events stay while their table is in use", "err", err)
				return nil
			}
			return err
		}
	}
	return nil
}

// shorten takes from a partition what is older than a time, and below the place
// where the next one begins. It reports whether that is all of it. The newest
// record goes by DELETE, so that each statement sees either it or up to where
// the log was dropped: positions never begin anew.
func (s *Store) shorten(
	ctx context.Context, p *partition, today, before time.Time, next int64,
) (gone bool, err error) {
	over := p.over(today)
	switch {
	case p.empty && !over:
		return true, nil
	case p.empty, over && p.until.Before(before) && p.newest < next && next < math.MaxInt64:
		if err := s.drop(ctx, p, before); !hasCode(err, forbidden) || p.empty {
			return err == nil || p.empty, notForbidden(err)
		}
	case p.name != restOfLog && (!over || !p.until.Before(before)):
		return false, nil
	}
	return s.erase(ctx, p, before, next)
}

// notForbidden passes over that somebody else owns a table.
func notForbidden(err error) error {
	if hasCode(err, forbidden) {
		return nil
	}
	return err
}

var errFuller = errors.New("pgspool: a day that was over has got more records")

// drop drops the table of a day. Nobody gives places meanwhile.
func (s *Store) drop(ctx context.Context, p *partition, before time.Time) error {
	o := pgx.TxOptions{BeginQuery: beginText + "; SET LOCAL lock_timeout = '" + lockWait + "'"}
	return pgx.BeginTxFunc(ctx, s.pool, o, func(tx pgx.Tx) error {
		_, err := s.exec(ctx, tx, "SELECT pg_advisory_xact_lock($1, hashtext($2))",
			int32(sequencing), string(s.schemaName))
		if err != nil {
			return err
		}
		now, err := s.inspect(ctx, tx, p.name)
		switch {
		case hasCode(err, undefinedTable):
			return nil
		case err != nil:
			return err
		case now.newest != p.newest, !now.empty && !now.until.Before(before):
			return errFuller
		}
		if _, err := s.exec(ctx, tx, "DROP TABLE "+p.table()); err != nil {
			return err
		}
		_, err = s.exec(ctx, tx,
			"UPDATE @dropped SET last = $1 WHERE one AND last < $1", p.newest)
		return err
	})
}

const eraseText = `
WITH gone AS (
	DELETE FROM @part WHERE last IN (
		SELECT last FROM @part WHERE until < $1 AND last < least($2, (
			SELECT last FROM @part WHERE until >= $1 ORDER BY last LIMIT 1))
		ORDER BY last LIMIT $3)
	RETURNING last),
told AS (
	UPDATE @dropped d SET last = g.last FROM (SELECT max(last) AS last FROM gone) g
	WHERE d.one AND d.last < g.last)
SELECT count(*) FROM gone`

// erase deletes rows from the oldest on. It reports whether none is left.
func (s *Store) erase(
	ctx context.Context, p *partition, before time.Time, next int64,
) (gone bool, err error) {
	text := strings.ReplaceAll(eraseText, "@part", p.table())
	for range eraseTimes {
		var n int
		err := s.row(ctx, s.pool, text, before, next, eraseMost).Scan(&n)
		if err != nil {
			return false, err
		}
		if n < eraseMost {
			now, err := s.inspect(ctx, s.pool, p.name)
			return now.empty, err
		}
	}
	return false, nil
}
