package pgspool

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

var _ spool.Keys = (*Store)(nil)

// Claimed tells which message has a key.
func (s *Store) Claimed(
	ctx context.Context, scope, key string,
) (id spool.ID, digest [32]byte, ok bool, err error) {
	if err := s.enter(ctx); err != nil {
		return id, digest, false, err
	}
	var found []byte
	err = s.row(ctx, s.pool,
		"SELECT message, digest FROM @claim WHERE hash = $1 AND expires > @clock()",
		claimHash(scope, key)).Scan(&id, &found)
	if errors.Is(err, pgx.ErrNoRows) {
		return id, digest, false, nil
	}
	copy(digest[:], found)
	return id, digest, err == nil, failure(err)
}
