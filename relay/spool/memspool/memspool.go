// Package memspool is a queue in memory: the store for tests, and the template
// for whoever writes a store of their own.
//
// It keeps every rule of the contract in package spool but durability: what it
// holds is gone with the process. It has all its optional parts but the Gauge,
// which is about the room on a disk. Each part is bounded by a field of
// [Options] or a constant of package spool.
package memspool

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// Options configures a Store. The zero value is ready to use.
type Options struct {
	// MaxBytes bounds the content kept, in bytes; more is answered with
	// spool.ErrFull. Defaults to 256 MiB; negative is no bound.
	MaxBytes int64
	// MaxLogBytes bounds the log of events, in bytes; with more, the oldest are
	// dropped. Defaults to 64 MiB.
	MaxLogBytes int64
	// MaxSharedBytes bounds counters and values; with more, those that end
	// first are dropped. Defaults to 16 MiB.
	MaxSharedBytes int64
	// MaxClaims bounds the idempotency keys; with more, the oldest are dropped.
	// Defaults to spool.MaxClaims.
	MaxClaims int
	// Now is the wall clock, by which deliveries are due and the log is
	// truncated. Leases, keys and shared values do not end by it. Defaults to
	// time.Now.
	Now func() time.Time
}

// Store keeps a queue in memory.
type Store struct {
	max   int64
	now   func() time.Time
	wakes chan struct{}

	mu       sync.Mutex
	closed   bool
	messages map[spool.ID]*message
	waiting  lines     // not leased
	leased   queue     // by end of lease
	resting  int       // of leased, those that nobody holds
	onHold   int       // in neither queue
	bytes    int64     // content, committed or being written
	told     time.Time // until when Lease has said that nothing is due
	events   events
	cursors  map[string]spool.Cursor
	claims   claims
	shared   expiring
	members  members
}

var (
	_ spool.Store = (*Store)(nil)
	_ spool.Waker = (*Store)(nil)
)

// New returns an empty store; o may be nil.
func New(o *Options) *Store {
	if o == nil {
		o = &Options{}
	}
	s := &Store{
		max: cmp.Or(o.MaxBytes, 256<<20), now: o.Now, wakes: make(chan struct{}, 1),
		messages: make(map[spool.ID]*message), waiting: newLines(),
		events:  events{max: cmp.Or(o.MaxLogBytes, 64<<20)},
		cursors: make(map[string]spool.Cursor),
		claims:  claims{max: cmp.Or(o.MaxClaims, spool.MaxClaims)},
		shared:  expiring{max: cmp.Or(o.MaxSharedBytes, 16<<20)},
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.leased.when = func(d *delivery) time.Time { return d.until }
	return s
}

// enter begins a method; on nil the caller holds the lock.
func (s *Store) enter(ctx context.Context) error {
	if ctx == nil {
		return errors.New("memspool: nil context")
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return spool.ErrClosed
	}
	return nil
}

// newToken returns a random token.
func newToken() uint64 {
	for {
		if t := rand.Uint64(); t != 0 {
			return t
		}
	}
}

// Stats returns the totals.
func (s *Store) Stats(ctx context.Context) (spool.Stats, error) {
	if err := s.enter(ctx); err != nil {
		return spool.Stats{}, err
	}
	defer s.mu.Unlock()
	leased, waiting := len(s.leased.items), s.waiting.n
	return spool.Stats{
		Messages:   int64(len(s.messages)),
		Deliveries: int64(leased + waiting + s.onHold),
		Leased:     int64(leased - s.resting),
		Bytes:      s.bytes,
	}, nil
}

// Wake receives a value when a delivery is due sooner than the last Lease told.
func (s *Store) Wake() <-chan struct{} { return s.wakes }

// sooner tells those who lease, once until the next Lease, if something is due
// sooner than they know. The caller holds the lock.
func (s *Store) sooner(due time.Time) {
	if s.told.IsZero() || !due.Before(s.told) {
		return
	}
	s.told = time.Time{}
	select {
	case s.wakes <- struct{}{}:
	default:
	}
}

// Close empties the store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed, s.messages = true, nil
	s.waiting, s.leased.items = newLines(), nil
	s.events.tell()
	return nil
}
