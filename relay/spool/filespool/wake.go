package filespool

import "github.com/postern-mail/postern/relay/spool"

var _ spool.Waker = (*Store)(nil)

// Wake receives a value when a delivery is due sooner than the last Lease told.
func (s *Store) Wake() <-chan struct{} { return s.wakes }

// sooner tells those who lease, once until the next Lease. The caller holds the
// lock.
func (s *Store) sooner() {
	s.index.told = never
	select {
	case s.wakes <- struct{}{}:
	default:
	}
}
