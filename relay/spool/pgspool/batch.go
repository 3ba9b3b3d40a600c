package pgspool

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// calls are statements that are sent together, in one round trip.
type calls []call

type call struct {
	sql  string
	args []any
	read func(pgx.Rows) error // nil where nothing is returned that matters
}

// add appends a statement, with the schema in place of each @.
func (c *calls) add(read func(pgx.Rows) error, sql string, args ...any) {
	*c = append(*c, call{sql: sql, args: args, read: read})
}

// together runs statements, in one round trip where the pool's mode is one that
// can. Beyond a transaction they are one then.
func (s *Store) together(ctx context.Context, conn *pgxpool.Conn, list calls) error {
	if !s.batches {
		for i := range list {
			rows, err := s.query(ctx, conn, list[i].sql, list[i].args...)
			if err := list[i].take(rows, err); err != nil {
				return err
			}
		}
		return nil
	}
	var b pgx.Batch
	for i := range list {
		b.Queue(s.in(list[i].sql), list[i].args...)
	}
	results := conn.SendBatch(ctx, &b)
	for i := range list {
		if err := list[i].take(results.Query()); err != nil {
			results.Close()
			return err
		}
	}
	return results.Close()
}

// pooled runs statements together on a connection of the pool.
func (s *Store) pooled(ctx context.Context, list calls) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	return s.together(ctx, conn, list)
}

// take reads what a statement returns.
func (c *call) take(rows pgx.Rows, err error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	if c.read != nil {
		if err := c.read(rows); err != nil {
			return err
		}
	}
	rows.Close()
	return rows.Err()
}
