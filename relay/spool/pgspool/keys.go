package pgspool

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

var _ spool.Keys = (*Store)(nil)

// Claimed tells which message has a key, once that is durable: who asks tells
// his client that the message is queued.
func (s *Store) Claimed(
	ctx context.Context, scope, key string,
) (id spool.ID, digest [32]byte, ok bool, err error) {
	if err := s.enter(ctx); err != nil {
		return id, digest, false, err
	}
	used, err := s.claimed(ctx, s.pool, claimHash(scope, key))
	if errors.Is(err, pgx.ErrNoRows) {
		return id, digest, false, nil
	}
	if err == nil {
		err = s.barrier(ctx)
	}
	if err != nil {
		return id, digest, false, failure(err)
	}
	return used.Message, used.Digest, true, nil
}
