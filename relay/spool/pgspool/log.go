package pgspool

import (
	"context"
	"errors"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	maxConsumers = 1000
	readRows     = 256     // rows of the log in a statement
	readBytes    = 1 << 20 // in them, about: one row more
)

var (
	_ spool.Log = (*Store)(nil)

	errAhead     = errors.New("pgspool: cursor is behind the newest record")
	errConsumers = errors.New("pgspool: too many consumers")
	errNoMax     = errors.New("pgspool: no records wanted")
)

// Records returns records behind a place. Where none has a place yet, it gives
// one to all that was acknowledged before: none is returned only when there is
// none.
func (s *Store) Records(
	ctx context.Context, after spool.Cursor, max int,
) ([]spool.Logged, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	if max <= 0 {
		return nil, errNoMax
	}
	if after > math.MaxInt64 {
		return nil, nil
	}
	list, err := s.read(ctx, after, max)
	if err != nil || len(list) > 0 {
		return list, err
	}
	if err := s.placeAll(ctx); err != nil {
		return nil, failure(err)
	}
	return s.read(ctx, after, max)
}

// readText reads rows of the log, and up to where it was dropped. Their lengths
// are known without their data.
const readText = `
SELECT d.last, l.first, l.last, l.data FROM @dropped d LEFT JOIN (
	SELECT first, last, data, sum(octet_length(data)) OVER (ORDER BY last) AS until,
		octet_length(data) AS own
	FROM (SELECT first, last, data FROM @log WHERE last > $1 ORDER BY last LIMIT $2) x
) l ON l.until - l.own < $3
WHERE d.one ORDER BY l.last`

// logRow is a row of the log.
type logRow struct {
	first, last *int64 // nil: there is none
	data        []byte
}

// read returns records that have a place.
func (s *Store) read(ctx context.Context, after spool.Cursor, most int) ([]spool.Logged, error) {
	rows, err := s.query(ctx, s.pool, readText, int64(after), min(most, readRows), readBytes)
	if err != nil {
		return nil, failure(err)
	}
	var dropped int64
	var r logRow
	b := reading{after: after, most: most}
	_, err = pgx.ForEachRow(rows, []any{&dropped, &r.first, &r.last, &r.data}, func() error {
		if r.first != nil {
			b.add(spool.Cursor(*r.first), spool.Cursor(*r.last), r.data)
		}
		return nil
	})
	if err != nil {
		return nil, failure(err)
	}
	if b.damaged {
		s.log.Error("a row of the log is damaged or missing", "after", b.end())
	}
	return b.result(spool.Cursor(dropped))
}

// reading gathers the records behind a place, up to a gap.
type reading struct {
	after   spool.Cursor
	most    int
	list    []spool.Logged
	damaged bool         // there is a gap
	resume  spool.Cursor // behind the gap
}

// end is the place behind what was gathered.
func (b *reading) end() spool.Cursor {
	if n := len(b.list); n > 0 {
		return b.list[n-1].At
	}
	return b.after
}

// add takes the records of a row that are behind the place.
func (b *reading) add(first, last spool.Cursor, data []byte) {
	end := b.end()
	if b.damaged || len(b.list) == b.most {
		return
	}
	if first > end {
		b.damaged, b.resume = true, first
		return
	}
	records, err := readRecords(data)
	if err != nil || first+spool.Cursor(len(records)) != last {
		b.damaged, b.resume = true, last
		return
	}
	for i := int(end - first); i < len(records) && len(b.list) < b.most; i++ {
		b.list = append(b.list, spool.Logged{
			At: first + spool.Cursor(i) + 1, Record: records[i],
		})
	}
}

// result is what was gathered, or the gap.
func (b *reading) result(dropped spool.Cursor) ([]spool.Logged, error) {
	switch {
	case len(b.list) > 0:
		return b.list, nil
	case b.damaged:
		return nil, &spool.GapError{After: b.after, Oldest: b.resume}
	case b.after < dropped:
		return nil, &spool.GapError{After: b.after, Oldest: dropped}
	}
	return nil, nil
}

// Cursor returns the place of a consumer.
func (s *Store) Cursor(ctx context.Context, consumer string) (spool.Cursor, error) {
	if err := s.enter(ctx); err != nil {
		return 0, err
	}
	var at int64
	err := s.row(ctx, s.pool, "SELECT at FROM @consumer WHERE name = $1", consumer).Scan(&at)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, nil
	}
	return spool.Cursor(at), failure(err)
}

// newestText is the place behind the newest record.
const newestText = `coalesce((SELECT last FROM @log ORDER BY last DESC LIMIT 1),
	(SELECT last FROM @dropped WHERE one))`

const advanceBegin = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '" +
	transactionLimit + "'; SELECT @durable()"

// Advance sets the place of a consumer. There are at most 1000.
func (s *Store) Advance(ctx context.Context, consumer string, to spool.Cursor) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{BeginQuery: s.in(advanceBegin)})
	if err != nil {
		return failure(err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if err := s.Tx(tx).Advance(ctx, consumer, to); err != nil {
		return err
	}
	return failure(tx.Commit(ctx))
}

// Appended returns a channel that is closed at the next record, or by Close.
func (s *Store) Appended() <-chan struct{} {
	s.watch.begin(s)
	return s.sequencer.appended()
}

// Bounds returns the places in front of the oldest record and behind the
// newest.
func (s *Store) Bounds(ctx context.Context) (oldest, newest spool.Cursor, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, 0, err
	}
	if err := s.placeAll(ctx); err != nil {
		return 0, 0, failure(err)
	}
	err = s.row(ctx, s.pool, `
SELECT coalesce((SELECT first FROM @log ORDER BY last LIMIT 1),
	(SELECT last FROM @dropped WHERE one)), `+newestText).Scan(&oldest, &newest)
	return oldest, newest, failure(err)
}
