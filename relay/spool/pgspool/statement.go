package pgspool

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// ask runs a statement with the plan of planText, in one round trip.
func (s *Store) ask(
	ctx context.Context, read func(pgx.Rows) error, sql string, args ...any,
) error {
	var list calls
	list.add(nil, "SELECT "+planText)
	list.add(read, sql, args...)
	return s.pooled(ctx, list)
}

// askOne runs a statement that returns one row, as ask does.
func (s *Store) askOne(ctx context.Context, sql string, args []any, to ...any) error {
	return s.ask(ctx, func(rows pgx.Rows) error {
		_, err := pgx.CollectExactlyOneRow(rows, func(r pgx.CollectableRow) (struct{}, error) {
			return struct{}{}, r.Scan(to...)
		})
		return err
	}, sql, args...)
}
