package simtest

import (
	"context"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// Leasing is a store whose commits can lease in the same step, made of one that
// has no such step: nothing is leased from it meanwhile. Who shares the store
// shares it.
type Leasing struct {
	parts
	mu sync.Mutex // held by what leases
}

// NewLeasing returns one of a store that has every part but a Waker and a
// Gauge.
func NewLeasing(s spool.Store) *Leasing { return &Leasing{parts: s.(parts)} }

// LeasingWriter is a Writer of a store whose commits can lease.
type LeasingWriter interface {
	spool.Writer
	// CommitLeasing commits, and leases in the same step what book has a time
	// for: nobody else leases any of it before.
	CommitLeasing(
		ctx context.Context, c spool.Commit, book func(spool.Key) (time.Duration, bool),
	) ([]spool.Lease, error)
}

func (s *Leasing) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	w, err := s.parts.Create(ctx, id)
	return leasingWriter{w, s, id}, err
}

type leasingWriter struct {
	spool.Writer
	store *Leasing
	id    spool.ID
}

func (w leasingWriter) CommitLeasing(
	ctx context.Context, c spool.Commit, book func(spool.Key) (time.Duration, bool),
) (leases []spool.Lease, err error) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	begun := time.Now()
	if err := w.Commit(ctx, c); err != nil {
		return nil, err
	}
	for i := range c.Deliveries {
		d := &c.Deliveries[i]
		if d.Held || d.Due.After(begun) {
			continue
		}
		ttl, ok := book(d.Key)
		if !ok {
			continue
		}
		l, err := w.store.parts.Take(ctx, spool.DeliveryID{Message: w.id, Seq: i}, ttl)
		if err == nil {
			leases = append(leases, l)
		}
	}
	return leases, nil
}

func (s *Leasing) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parts.Lease(ctx, r)
}

func (s *Leasing) Take(
	ctx context.Context, id spool.DeliveryID, ttl time.Duration,
) (spool.Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.parts.Take(ctx, id, ttl)
}
