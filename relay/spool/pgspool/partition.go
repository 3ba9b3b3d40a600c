package pgspool

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	daysAhead = 4 // partitions of the log, with today's
	restOfLog = "log_rest"
	dayOfLog  = "log_20060102"
	// lockWait is how long to wait for a table that is in use. Readers and the
	// sequencer wait behind who waits.
	lockWait = "300ms"
)

// SQLSTATEs.
const (
	checkViolation = "23514"
	forbidden      = "42501"
	duplicateTable = "42P07"
	undefinedTable = "42P01"
	lockTimeout    = "55P03"
)

func hasCode(err error, codes ...string) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && slices.Contains(codes, pg.Code)
}

// today is the date of the server, UTC.
func (s *Store) today(ctx context.Context) (day time.Time, err error) {
	err = s.row(ctx, s.pool, "SELECT (@clock() AT TIME ZONE 'UTC')::date").Scan(&day)
	return day, err
}

// makeDays makes the partitions of today and the days that follow. A day that
// has none has its rows in the default partition.
func (s *Store) makeDays(ctx context.Context) error {
	today, err := s.today(ctx)
	if err != nil {
		return err
	}
	var has []string
	if has, err = s.partitions(ctx); err != nil {
		return err
	}
	for i := range daysAhead {
		day := today.AddDate(0, 0, i)
		if slices.Contains(has, day.Format(dayOfLog)) {
			continue
		}
		err := s.makeDay(ctx, day)
		switch {
		case hasCode(err, forbidden):
			return nil // somebody else may, or nobody
		case err != nil && !hasCode(err, lockTimeout, checkViolation, duplicateTable,
			uniqueViolation): // in use, too late, or made by another node
			return err
		}
	}
	return nil
}

// makeDay makes a partition in one message to the server, which is one
// transaction.
func (s *Store) makeDay(ctx context.Context, day time.Time) error {
	name := "@" + day.Format(dayOfLog)
	text := "SET LOCAL lock_timeout = '" + lockWait + "';" +
		"CREATE TABLE " + name + " (LIKE @log INCLUDING ALL);" +
		"ALTER TABLE @log ATTACH PARTITION " + name + " FOR VALUES FROM ('" +
		day.Format(time.DateOnly) + "') TO ('" + day.AddDate(0, 0, 1).Format(time.DateOnly) + "')"
	_, err := s.pool.Exec(ctx, s.in(text), pgx.QueryExecModeSimpleProtocol)
	return err
}

// partitions returns the names of the log's partitions.
func (s *Store) partitions(ctx context.Context) ([]string, error) {
	rows, err := s.query(ctx, s.pool, `
SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = $1::text::regclass ORDER BY 1`, s.in("@log"))
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// partition is what one of the log holds.
type partition struct {
	name           string
	oldest, newest int64
	until          time.Time
	empty          bool
}

func (p *partition) table() string { return "@" + pgx.Identifier{p.name}.Sanitize() }

// over reports whether the partition gets no more rows.
func (p *partition) over(today time.Time) bool {
	day, err := time.Parse(dayOfLog, p.name)
	return err == nil && day.Before(today)
}

func (s *Store) inspect(ctx context.Context, q querier, name string) (partition, error) {
	p := partition{name: name}
	var oldest, newest *int64
	var until *time.Time
	err := s.row(ctx, q, strings.ReplaceAll(`
SELECT (SELECT last FROM t ORDER BY last LIMIT 1),
	(SELECT last FROM t ORDER BY last DESC LIMIT 1),
	(SELECT until FROM t ORDER BY until DESC LIMIT 1)`, "FROM t ", "FROM "+p.table()+" ")).
		Scan(&oldest, &newest, &until)
	if err != nil || oldest == nil {
		p.empty = true
		return p, err
	}
	p.oldest, p.newest, p.until = *oldest, *newest, *until
	return p, nil
}

// inspectAll returns what the partitions hold, the oldest rows first, and the
// empty ones before all others.
func (s *Store) inspectAll(ctx context.Context) (list []partition, err error) {
	names, err := s.partitions(ctx)
	for _, name := range names {
		p, err := s.inspect(ctx, s.pool, name)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	slices.SortStableFunc(list, func(a, b partition) int {
		return int(max(min(a.oldest-b.oldest, 1), -1))
	})
	return list, err
}
