package memspool

import (
	"context"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

var _ spool.Manager = (*Store)(nil)

// Find returns a message and what is left of its deliveries, in their order.
func (s *Store) Find(ctx context.Context, id spool.ID) (spool.Message, []spool.Item, error) {
	if err := s.enter(ctx); err != nil {
		return spool.Message{}, nil, err
	}
	defer s.mu.Unlock()
	m := s.messages[id]
	if m == nil {
		return spool.Message{}, nil, spool.ErrNotFound
	}
	s.endLeases(time.Now())
	items := make([]spool.Item, 0, len(m.deliveries))
	for _, d := range m.deliveries {
		items = append(items, d.item())
	}
	slices.SortFunc(items, compareItems)
	return m.copy(), items, nil
}

// List returns a page of deliveries. It looks at the whole queue.
func (s *Store) List(ctx context.Context, q spool.Query) ([]spool.Item, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	s.endLeases(time.Now())
	var items []spool.Item
	for _, m := range s.messages {
		for _, d := range m.deliveries {
			after := q.After.Message.IsZero() || compareIDs(d.ID, q.After) > 0
			if item := d.item(); after && q.Matches(d.Key, item.State) {
				items = append(items, item)
			}
		}
	}
	slices.SortFunc(items, compareItems)
	return items[:min(len(items), q.Limit())], nil
}

func compareItems(a, b spool.Item) int { return compareIDs(a.Delivery.ID, b.Delivery.ID) }

// Take leases one delivery.
func (s *Store) Take(
	ctx context.Context, id spool.DeliveryID, ttl time.Duration,
) (spool.Lease, error) {
	if err := s.enter(ctx); err != nil {
		return spool.Lease{}, err
	}
	defer s.mu.Unlock()
	now := time.Now()
	s.endLeases(now)
	m := s.messages[id.Message]
	if m == nil || m.deliveries[id.Seq] == nil {
		return spool.Lease{}, spool.ErrNotFound
	}
	d := m.deliveries[id.Seq]
	switch {
	case d.token != 0:
		return spool.Lease{}, spool.ErrLeased
	case d.Held:
		s.onHold--
	case d.resting:
		s.endLease(d)
	default:
		s.waiting.remove(d)
	}
	s.lend(d, now.Add(ttl))
	return d.lease(), nil
}
