package filespool

import (
	"context"
	"errors"
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
	_, m := s.index.find(id)
	if m == nil {
		s.mu.Unlock()
		return spool.Message{}, nil, spool.ErrNotFound
	}
	s.endLeases(s.elapsed())
	var seen []sight
	for h := m.first; h != none; h = s.index.deliveries.get(h).next {
		seen = append(seen, s.see(h))
	}
	s.mu.Unlock()
	slices.SortFunc(seen, func(a, b sight) int { return compareIDs(a.id, b.id) })
	items, err := s.readItems(seen)
	if err != nil {
		return spool.Message{}, nil, err
	}
	return items[0].Message, items, nil
}

// List returns a page of deliveries. It looks at the whole queue for each, a
// part at a time, so that mail goes on meanwhile: large pages are cheaper.
func (s *Store) List(ctx context.Context, q spool.Query) ([]spool.Item, error) {
	for {
		ids, err := s.ids(ctx, &q)
		if err != nil || len(ids) == 0 {
			return nil, err
		}
		items, err := s.listed(ctx, &q, ids)
		if err != nil || len(items) > 0 {
			return items, err
		}
		q.After = ids[len(ids)-1] // all of them were settled meanwhile
	}
}

// ids returns the ids of a page.
func (s *Store) ids(ctx context.Context, q *spool.Query) ([]spool.DeliveryID, error) {
	p := &page{q: q, max: q.Limit()}
	p.ids.less = func(a, b spool.DeliveryID) bool { return compareIDs(a, b) > 0 }
	for at := 0; at >= 0; {
		if err := s.enter(ctx); err != nil {
			return nil, err
		}
		s.endLeases(s.elapsed())
		at = s.lookThrough(at, p)
		s.mu.Unlock()
	}
	slices.SortFunc(p.ids.items, compareIDs)
	return p.ids.items, nil
}

// listed returns those of the ids that the query still chooses.
func (s *Store) listed(
	ctx context.Context, q *spool.Query, ids []spool.DeliveryID,
) ([]spool.Item, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	var seen []sight
	for _, id := range ids {
		if h := s.handle(id); h != none && s.matches(q, h) {
			seen = append(seen, s.see(h))
		}
	}
	s.mu.Unlock()
	return s.readItems(seen)
}

// Take leases one delivery.
func (s *Store) Take(
	ctx context.Context, id spool.DeliveryID, ttl time.Duration,
) (spool.Lease, error) {
	if err := s.enter(ctx); err != nil {
		return spool.Lease{}, err
	}
	p, err := s.takeOut(id, ttl)
	s.mu.Unlock()
	if err != nil {
		return spool.Lease{}, err
	}
	buf := s.metas.Get().(*[]byte)
	defer s.metas.Put(buf)
	var out spool.Lease
	if err := p.read(s, &out, buf); err != nil {
		back := s.Return(ctx, 0, []spool.Held{{ID: id, Token: p.token}})
		return spool.Lease{}, errors.Join(err, back)
	}
	return out, nil
}

// takeOut leases a delivery. The caller holds the lock.
func (s *Store) takeOut(id spool.DeliveryID, ttl time.Duration) (pick, error) {
	if s.failed != nil {
		return pick{}, s.failed
	}
	s.endLeases(s.elapsed())
	h := s.handle(id)
	if h == none {
		return pick{}, spool.ErrNotFound
	}
	switch l := s.leases[h]; {
	case l == nil:
		s.index.take(h)
	case l.token != 0:
		return pick{}, spool.ErrLeased
	default: // given back for a while
		s.resting--
		s.endLease(l)
	}
	p := s.reach(h)
	p.l = s.newLease(h, s.until(ttl))
	p.token = p.l.token
	return p, nil
}

// handle finds a delivery. The caller holds the lock.
func (s *Store) handle(id spool.DeliveryID) uint32 {
	_, m := s.index.find(id.Message)
	if m == nil {
		return none
	}
	h, _ := s.index.delivery(m, id.Seq)
	return h
}

// sight is a delivery as it was when somebody looked.
type sight struct {
	pick
	state spool.State
}

// see notes a delivery. The caller holds the lock and reads what he has seen.
func (s *Store) see(h uint32) sight { return sight{s.reach(h), s.state(h)} }

func (s *Store) state(h uint32) spool.State {
	l, d := s.leases[h], s.index.deliveries.get(h)
	return spool.StateOf(l != nil && l.token != 0, d.held(), d.crashes())
}

// readItems reads what was seen.
func (s *Store) readItems(seen []sight) ([]spool.Item, error) {
	buf := s.metas.Get().(*[]byte)
	defer s.metas.Put(buf)
	items := make([]spool.Item, 0, len(seen))
	var failed error
	for i := range seen {
		v := &seen[i]
		if failed != nil {
			v.unpin(s)
			continue
		}
		var l spool.Lease
		failed = v.read(s, &l, buf)
		items = append(items, spool.Item{
			Message: l.Message, Delivery: l.Delivery, State: v.state,
		})
	}
	if failed != nil {
		return nil, failed
	}
	return items, nil
}

// page gathers the first ids that a query chooses.
type page struct {
	q   *spool.Query
	max int
	ids heap[spool.DeliveryID] // the last one on top
}

func (p *page) add(id spool.DeliveryID) {
	if p.ids.len() == p.max {
		if compareIDs(id, p.ids.top()) > 0 {
			return
		}
		p.ids.pop()
	}
	p.ids.push(id)
}

// lookThrough adds what a part of the index has to a page, and returns where
// the next part begins, or -1. The caller holds the lock.
func (s *Store) lookThrough(at int, p *page) int {
	x := s.index
	end := min(at+1<<slabBits, int(x.messages.used))
	for ; at < end; at++ {
		m := x.messages.get(uint32(at))
		if m.id.IsZero() || m.id.Compare(p.q.After.Message) < 0 {
			continue // a free place, or on an earlier page
		}
		for h := m.first; h != none; h = x.deliveries.get(h).next {
			id := spool.DeliveryID{Message: m.id, Seq: int(x.deliveries.get(h).seq)}
			if p.after(id) && s.matches(p.q, h) {
				p.add(id)
			}
		}
	}
	if end < int(x.messages.used) {
		return end
	}
	return -1
}

func (p *page) after(id spool.DeliveryID) bool {
	return p.q.After.Message.IsZero() || compareIDs(id, p.q.After) > 0
}

// matches tells whether a query chooses a delivery. The caller holds the lock.
func (s *Store) matches(q *spool.Query, h uint32) bool {
	d := s.index.deliveries.get(h)
	return q.Matches(s.index.lines.get(d.line).key(), s.state(h))
}

func compareIDs(a, b spool.DeliveryID) int {
	if c := a.Message.Compare(b.Message); c != 0 {
		return c
	}
	return a.Seq - b.Seq
}
