package pgspool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

var _ spool.Manager = (*Store)(nil)

// itemText are the columns of a deliveryRow, whether somebody holds the
// delivery, and where both are from.
const itemText = `
SELECT d.id, d.seq, d.route, d.domain, d.stream, d.due, d.expires, d.attempts, d.held, d.token,
	d.rcpt, m.size, m.meta, d.token <> 0 AND d.at > @clock()
FROM @delivery d LEFT JOIN @message m ON m.id = d.id
`

const findText = itemText + "WHERE d.id = $1 ORDER BY d.seq"

// Find returns a message and what is left of its deliveries, in their order. It
// knows those of a transaction of the application as soon as that is through.
func (s *Store) Find(ctx context.Context, id spool.ID) (spool.Message, []spool.Item, error) {
	if err := s.enter(ctx); err != nil {
		return spool.Message{}, nil, err
	}
	items, err := s.items(ctx, findText, id)
	if err == nil && len(items) == 0 {
		if err = s.takeWakeOf(ctx, id); err == nil {
			items, err = s.items(ctx, findText, id)
		}
	}
	if err != nil {
		return spool.Message{}, nil, failure(err)
	}
	if len(items) == 0 {
		return spool.Message{}, nil, spool.ErrNotFound
	}
	return items[0].Message, items, nil
}

// items reads deliveries with their messages and states. Of a damaged one, ids
// and key are sure.
func (s *Store) items(ctx context.Context, text string, args ...any) ([]spool.Item, error) {
	rows, err := s.query(ctx, s.pool, text, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (item spool.Item, err error) {
		var row deliveryRow
		var leased bool
		if err := r.Scan(append(row.columns(), &leased)...); err != nil {
			return item, err
		}
		item.Message, item.Delivery, _ = row.decode()
		item.State = spool.StateOf(leased, row.held, item.Delivery.Crashes)
		return item, nil
	})
}

// List returns a page of deliveries. A key that few have makes it look at many
// others; what a transaction of the application has committed a moment ago may
// be missing.
func (s *Store) List(ctx context.Context, q spool.Query) ([]spool.Item, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	where, args := where(&q)
	items, err := s.items(ctx, itemText+where, args...)
	return items, failure(err)
}

// poisonText chooses by the crashes in front of the recipients, where there are
// any: two octets, a tag and a number of at least [spool.PoisonCrashes].
const poisonText = `substring(d.rcpt for 2) BETWEEN '\x1002'::bytea AND '\x107f'::bytea`

// where chooses deliveries.
func where(q *spool.Query) (text string, args []any) {
	and := "WHERE "
	add := func(condition string, values ...any) {
		numbers := make([]any, len(values))
		for i := range values {
			numbers[i] = len(args) + i + 1
		}
		args = append(args, values...)
		text += and + fmt.Sprintf(condition, numbers...)
		and = " AND "
	}
	if !q.After.Message.IsZero() {
		add("(d.id, d.seq) > ($%d::uuid, $%d::int)", q.After.Message, int32(q.After.Seq))
	}
	if q.Key.Route != "" {
		add("d.route = $%d", []byte(q.Key.Route))
	}
	if q.Key.Domain != "" {
		add("d.domain = $%d", []byte(q.Key.Domain))
	}
	if q.Key.Stream != "" {
		add("d.stream = $%d", []byte(q.Key.Stream))
	}
	switch q.State {
	case spool.StateLeased:
		add("d.token <> 0 AND d.at > @clock()")
	case spool.StateHeld:
		add("d.held AND NOT (" + poisonText + ") AND NOT (d.token <> 0 AND d.at > @clock())")
	case spool.StatePoison:
		add("d.held AND (" + poisonText + ") AND NOT (d.token <> 0 AND d.at > @clock())")
	case spool.StateWaiting:
		add("NOT d.held AND NOT (d.token <> 0 AND d.at > @clock())")
	}
	return text + fmt.Sprintf(" ORDER BY d.id, d.seq LIMIT %d", q.Limit()), args
}

// takeText leases one delivery, if nobody holds it.
const takeText = `
UPDATE @delivery d SET token = $3, at = @clock() + $4::interval
FROM (SELECT id, seq FROM @delivery WHERE id = $1 AND seq = $2
	AND (token = 0 OR at <= @clock()) FOR UPDATE) f
WHERE d.id = f.id AND d.seq = f.seq
RETURNING d.id, d.seq, d.route, d.domain, d.stream, d.due, d.expires, d.attempts, d.held, d.token,
	d.rcpt,
	(SELECT size FROM @message m WHERE m.id = d.id),
	(SELECT meta FROM @message m WHERE m.id = d.id), d.at`

// Take leases one delivery, one on hold as well, which stays on hold unless
// what it is settled with releases it.
func (s *Store) Take(
	ctx context.Context, id spool.DeliveryID, ttl time.Duration,
) (spool.Lease, error) {
	if err := s.enter(ctx); err != nil {
		return spool.Lease{}, err
	}
	l, err := s.takeOne(ctx, id, ttl)
	if errors.Is(err, spool.ErrNotFound) {
		if err = s.takeWakeOf(ctx, id.Message); err == nil {
			l, err = s.takeOne(ctx, id, ttl)
		}
	}
	return l, err
}

func (s *Store) takeOne(
	ctx context.Context, id spool.DeliveryID, ttl time.Duration,
) (spool.Lease, error) {
	var row deliveryRow
	var end time.Time
	columns := append(row.columns(), &end)
	for {
		err := s.row(ctx, s.pool, takeText, id.Message, int32(id.Seq), tokens(1)[0],
			ttl.Round(time.Microsecond)).Scan(columns...)
		if err == nil {
			break
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return spool.Lease{}, failure(err)
		}
		if err := s.untaken(ctx, id); err != nil {
			return spool.Lease{}, err
		}
	}
	l := row.lease()
	if !row.held {
		s.ready.add(dueKey{key: l.Delivery.Key, at: end})
	}
	return l, nil
}

// untaken tells why a delivery was not taken; nil if it can be by now: it has
// come, or its lease has ended.
func (s *Store) untaken(ctx context.Context, id spool.DeliveryID) error {
	var leased bool
	err := s.row(ctx, s.pool,
		"SELECT token <> 0 AND at > @clock() FROM @delivery WHERE id = $1 AND seq = $2",
		id.Message, int32(id.Seq)).Scan(&leased)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return spool.ErrNotFound
	case err == nil && leased:
		return spool.ErrLeased
	}
	return failure(err)
}
