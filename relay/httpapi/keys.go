package httpapi

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// ErrInProgress answers Claim for a key that another request has claimed and
// not settled.
var ErrInProgress = errors.New("httpapi: a request with this key is under way")

// Outcome is what a request that succeeded has come to.
type Outcome struct {
	// Request is the SHA-256 of the request.
	Request [32]byte
	// QueueID is the id of the message.
	QueueID string
}

// Keys remembers the outcomes of requests with an Idempotency-Key. It is called
// by many requests at once. Keys are 64 hexadecimal digits and hold no secret.
//
// A store that outlives the process must let a claim end by itself after a
// time, since a process may end between Claim and Settle. Whether the message
// of such a request was queued is not known then; the contract leaves the
// choice to the store: a repetition may be let in, which may cost a duplicate,
// or be answered ErrInProgress.
type Keys interface {
	// Claim returns the outcome of an earlier request with the key; or nil, and
	// then the key is the caller's until it calls Settle; or ErrInProgress. Any
	// other error means that this cannot be known.
	Claim(ctx context.Context, key string) (*Outcome, error)
	// Settle ends a claim. A nil outcome forgets the key.
	Settle(ctx context.Context, key string, o *Outcome) error
}

const (
	defaultKeys   = 100_000
	defaultKeyTTL = 24 * time.Hour
)

// MemoryKeys are Keys in the memory of the process, about 400 octets each.
type MemoryKeys struct {
	max int
	ttl time.Duration

	mu      sync.Mutex
	claims  map[string]struct{}
	known   map[string]*list.Element
	settled list.List // of *remembered, the oldest first
}

var _ Keys = (*MemoryKeys)(nil)

type remembered struct {
	key   string
	until time.Time
	Outcome
}

// NewKeys returns MemoryKeys that remember at most max outcomes, each for ttl;
// when there are more, the oldest are forgotten first. They default to 100,000
// and 24 hours.
func NewKeys(max int, ttl time.Duration) *MemoryKeys {
	if max <= 0 {
		max = defaultKeys
	}
	if ttl <= 0 {
		ttl = defaultKeyTTL
	}
	return &MemoryKeys{
		max: max, ttl: ttl, claims: make(map[string]struct{}),
		known: make(map[string]*list.Element),
	}
}

// Claim implements Keys.
func (k *MemoryKeys) Claim(_ context.Context, key string) (*Outcome, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.expire(time.Now())
	if e, ok := k.known[key]; ok {
		o := e.Value.(*remembered).Outcome
		return &o, nil
	}
	if _, ok := k.claims[key]; ok {
		return nil, ErrInProgress
	}
	k.claims[key] = struct{}{}
	return nil, nil
}

// Settle implements Keys.
func (k *MemoryKeys) Settle(_ context.Context, key string, o *Outcome) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.claims, key)
	if o == nil {
		return nil
	}
	if e, ok := k.known[key]; ok {
		k.settled.Remove(e)
	}
	now := time.Now()
	k.known[key] = k.settled.PushBack(&remembered{key: key, until: now.Add(k.ttl), Outcome: *o})
	k.expire(now)
	return nil
}

// expire forgets what is too old or too much.
func (k *MemoryKeys) expire(now time.Time) {
	for e := k.settled.Front(); e != nil; e = k.settled.Front() {
		r := e.Value.(*remembered)
		if k.settled.Len() <= k.max && now.Before(r.until) {
			return
		}
		k.settled.Remove(e)
		delete(k.known, r.key)
	}
}
