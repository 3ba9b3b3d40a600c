package pgspool

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

// maxShared is how many counters and values are kept. With more, the janitor
// forgets those that end first.
const maxShared = 200_000

var (
	_ spool.Shared = (*Store)(nil)

	errShared = errors.New("pgspool: shared key or value is too long")
)

// hasty lets a statement be acknowledged before it is on the disk: a crash of
// the server may take its last moments from counters and values, and a throttle
// or a cache does not mind. A sync for each of them would cost more than all
// else.
const hasty = "set_config('synchronous_commit', 'off', true)"

func (s *Store) enterShared(ctx context.Context, key string, value []byte) error {
	if len(key) > spool.MaxSharedKey || len(value) > spool.MaxSharedValue {
		return errShared
	}
	return s.enter(ctx)
}

const addText = `
INSERT INTO @shared AS s (counter, name, count, ends)
SELECT true, $1, $2::bigint, @clock() + $3::interval FROM ` + hasty + `
ON CONFLICT (name, counter) DO UPDATE SET
	count = CASE WHEN s.ends > @clock() THEN s.count ELSE 0 END + excluded.count,
	ends = CASE WHEN s.ends > @clock() THEN s.ends ELSE excluded.ends END
RETURNING count`

// Add adds to a counter.
func (s *Store) Add(
	ctx context.Context, key string, n int64, ttl time.Duration,
) (count int64, err error) {
	if err := s.enterShared(ctx, key, nil); err != nil {
		return 0, err
	}
	err = s.row(ctx, s.pool, addText, []byte(key), n, ttl).Scan(&count)
	return count, failure(err)
}

// Get returns a value.
func (s *Store) Get(ctx context.Context, key string) (value []byte, err error) {
	if err := s.enterShared(ctx, key, nil); err != nil {
		return nil, err
	}
	err = s.row(ctx, s.pool,
		"SELECT value FROM @shared WHERE name = $1 AND NOT counter AND ends > @clock()",
		[]byte(key)).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, spool.ErrNotFound
	}
	return value, failure(err)
}

const putText = `
INSERT INTO @shared (counter, name, count, value, ends)
SELECT false, $1, 0, $2::bytea, @clock() + $3::interval FROM ` + hasty + `
ON CONFLICT (name, counter) DO UPDATE SET value = excluded.value, ends = excluded.ends`

// Put sets a value.
func (s *Store) Put(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := s.enterShared(ctx, key, value); err != nil {
		return err
	}
	_, err := s.exec(ctx, s.pool, putText, []byte(key), append([]byte{}, value...), ttl)
	return failure(err)
}
