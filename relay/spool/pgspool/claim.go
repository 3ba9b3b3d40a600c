package pgspool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

// claiming is the first half of the advisory locks of idempotency keys. Who
// writes a key holds its lock, so that a committer never waits for a
// transaction of the application.
const claiming = 0x706f7375

// asidePause is how long a step waits whose key somebody is writing.
const asidePause = 50 * time.Millisecond

// errAside marks a step that is to be tried again.
var errAside = errors.New("pgspool: the key is being written")

// claimHash is what stands for an idempotency key.
func claimHash(scope, key string) []byte {
	h := sha256.New()
	h.Write(binary.AppendUvarint(nil, uint64(len(scope))))
	h.Write([]byte(scope))
	h.Write([]byte(key))
	return h.Sum(nil)
}

// claimLock is the second half of the lock of a key.
func claimLock(hash []byte) int32 { return int32(binary.BigEndian.Uint32(hash)) }

// claims are the keys of a group.
type claims struct {
	hashes, messages, digests [][]byte
	expires                   []time.Time
}

const claimText = `
INSERT INTO @claim AS c (hash, message, digest, made, expires)
SELECT t.hash, encode(t.message, 'hex')::uuid, t.digest, @clock(), t.expires
FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::timestamptz[])
	AS t (hash, message, digest, expires)
ON CONFLICT (hash) DO UPDATE SET message = excluded.message, digest = excluded.digest,
	made = excluded.made, expires = excluded.expires
WHERE c.expires <= @clock()
RETURNING hash`

// claim takes the idempotency keys. A step whose key is in use is left out, and
// one whose key somebody is writing is put aside.
func (t *transaction) claim(ctx context.Context) error {
	byHash := make(map[string]int)
	t.live(func(i int, s *step) {
		if s.claim == nil || s.wake != 0 {
			return
		}
		hash := string(claimHash(s.claim.Scope, s.claim.Key))
		if _, ok := byHash[hash]; ok {
			t.fail(i, errAside)
			return
		}
		byHash[hash] = i
	})
	if len(byHash) == 0 {
		return nil
	}
	if err := t.lockClaims(ctx, byHash); err != nil || len(byHash) == 0 {
		return err
	}
	return t.writeClaims(ctx, byHash)
}

// lockClaims puts those aside whose keys somebody is writing.
func (t *transaction) lockClaims(ctx context.Context, byHash map[string]int) error {
	locks := make([]int32, 0, len(byHash))
	for hash := range byHash {
		locks = append(locks, claimLock([]byte(hash)))
	}
	got, err := t.column(ctx, "SELECT k::bigint FROM unnest($1::int[]) AS k "+
		"WHERE pg_try_advisory_xact_lock($2, k)", locks, int32(claiming))
	if err != nil {
		return err
	}
	for hash, i := range byHash {
		if got[int64(claimLock([]byte(hash)))] {
			continue
		}
		delete(byHash, hash)
		// Who has the lock may have been refused himself.
		used, err := t.claimed(ctx, t.conn, []byte(hash))
		switch {
		case err == nil:
			t.fail(i, used)
		case errors.Is(err, pgx.ErrNoRows):
			t.fail(i, errAside)
		default:
			return err
		}
	}
	return nil
}

func (t *transaction) writeClaims(ctx context.Context, byHash map[string]int) error {
	var c claims
	for hash, i := range byHash {
		s := t.steps[i]
		c.hashes = append(c.hashes, []byte(hash))
		c.messages = append(c.messages, s.message.id[:])
		c.digests = append(c.digests, s.claim.Digest[:])
		c.expires = append(c.expires, t.now.Add(max(s.claim.TTL, 0)))
	}
	rows, err := t.query(ctx, t.conn, claimText, c.hashes, c.messages, c.digests, c.expires)
	if err != nil {
		return err
	}
	written, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil || len(written) == len(byHash) {
		return err
	}
	for hash, i := range byHash {
		if slices.ContainsFunc(written, func(h []byte) bool { return string(h) == hash }) {
			continue
		}
		used, err := t.claimed(ctx, t.conn, []byte(hash))
		if err != nil {
			return err
		}
		t.fail(i, used)
	}
	return nil
}

// claimed tells who has a key that is in use.
func (s *Store) claimed(
	ctx context.Context, q querier, hash []byte,
) (*spool.ClaimedError, error) {
	var e spool.ClaimedError
	var digest []byte
	err := s.row(ctx, q, `
SELECT message, digest FROM @claim WHERE hash = $1 AND expires > @clock()`, hash).
		Scan(&e.Message, &digest)
	copy(e.Digest[:], bytes.Clone(digest))
	return &e, err
}

// putAside brings a step back after a pause, until its context ends.
func (s *Store) putAside(t *step) {
	time.AfterFunc(asidePause, func() {
		if err := s.steps.add(t); err != nil {
			answer(t, err)
		}
	})
}
