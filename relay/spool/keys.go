package spool

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// MaxClaims is the greatest number of idempotency keys that a store keeps. With
// more, the oldest go first.
const MaxClaims = 1_000_000

// ErrClaimed stands in a *ClaimedError.
var ErrClaimed = errors.New("spool: the key is in use")

// Claim is an idempotency key: a message with the same Scope and Key is
// accepted once.
type Claim struct {
	// Scope keeps the keys of different users apart. Scope and Key together
	// are at most 1 KiB.
	Scope, Key string
	// Digest is that of the message, to tell a repetition from another message
	// with the same key.
	Digest [32]byte
	// TTL is how long the key stays in use, from the commit on, also when the
	// message is finished. Zero or less is no time at all.
	TTL time.Duration
}

// Keys is an optional interface of a Store that knows the Claim of a Commit. A
// store without it ignores claims.
type Keys interface {
	// Claimed tells which message has a key, before its content is read: one
	// that is durable, so that a client may be told that it is queued. A key
	// is free again at the end of its TTL, or when it is the oldest of more
	// than MaxClaims.
	Claimed(ctx context.Context, scope, key string) (id ID, digest [32]byte, ok bool, err error)
}

// ClaimedError answers Commit with a Claim that is in use: nothing was stored.
// It is an ErrClaimed.
type ClaimedError struct {
	Message ID // the one that has the key
	Digest  [32]byte
}

func (e *ClaimedError) Error() string { return fmt.Sprintf("%v: by %v", ErrClaimed, e.Message) }

// Unwrap returns ErrClaimed.
func (e *ClaimedError) Unwrap() error { return ErrClaimed }
