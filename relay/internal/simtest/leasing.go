package simtest

import (
	"context"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// LeasingWriter is a Writer of a store whose commits can lease.
type LeasingWriter interface {
	spool.Writer
	// CommitLeasing commits, and leases in the same step what book has a time
	// for: nobody else leases any of it before.
	CommitLeasing(
		ctx context.Context, c spool.Commit, book func(spool.Key) (time.Duration, bool),
	) ([]spool.Lease, error)
}

// CommitLeasing does so with a store that has no such step of its own. The
// caller sees that meanwhile nothing is leased from it.
func CommitLeasing(
	ctx context.Context, s spool.Manager, id spool.ID, w spool.Writer, c spool.Commit,
	book func(spool.Key) (time.Duration, bool),
) (leases []spool.Lease, err error) {
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
		l, err := s.Take(ctx, spool.DeliveryID{Message: id, Seq: i}, ttl)
		if err == nil {
			leases = append(leases, l)
		}
	}
	return leases, nil
}
