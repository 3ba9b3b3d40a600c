package memspool

import (
	"context"
	"errors"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// maxClaimKey is the greatest length of scope and key.
const maxClaimKey = 1 << 10

var (
	_ spool.Keys = (*Store)(nil)

	errClaim = errors.New("memspool: scope and key are too long")
)

// Claimed tells which message has a key.
func (s *Store) Claimed(
	ctx context.Context, scope, key string,
) (id spool.ID, digest [32]byte, ok bool, err error) {
	if err := s.enter(ctx); err != nil {
		return id, digest, false, err
	}
	defer s.mu.Unlock()
	v, ok := s.claims.find(claimKey{scope, key}, time.Now())
	if !ok {
		return id, digest, false, nil
	}
	return v.message, v.digest, true, nil
}

// checkClaim reports whether a commit may have its key. The caller holds the
// lock.
func (s *Store) checkClaim(c *spool.Claim) error {
	if c == nil {
		return nil
	}
	if len(c.Scope)+len(c.Key) > maxClaimKey {
		return errClaim
	}
	if v, ok := s.claims.find(claimKey{c.Scope, c.Key}, time.Now()); ok {
		return &spool.ClaimedError{Message: v.message, Digest: v.digest}
	}
	return nil
}
