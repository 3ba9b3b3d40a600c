package spool

import (
	"context"
	"time"
)

// The bounds of what a Shared keeps.
const (
	MaxSharedKey   = 1 << 10  // bytes of a key
	MaxSharedValue = 64 << 10 // bytes of a value
)

// Shared is an optional interface of a Store for counters and values that end
// by themselves, such as those of throttles, quotas and caches. What processes
// share the store share them.
//
// A crash may lose the last few seconds of them. A store may bound how many
// there are: then those that end first go first. Nothing that must not be lost
// belongs here.
type Shared interface {
	// Add adds n to a counter and returns what it is now. A counter that is not
	// there is 0. It ends ttl after the Add that made it; later ones do not
	// prolong it.
	Add(ctx context.Context, key string, n int64, ttl time.Duration) (int64, error)
	// Get returns a value, or ErrNotFound. Counters and values have names of
	// their own.
	Get(ctx context.Context, key string) ([]byte, error)
	// Put sets a value, which ends ttl from now.
	Put(ctx context.Context, key string, value []byte, ttl time.Duration) error
}
