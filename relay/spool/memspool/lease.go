package memspool

import (
	"container/heap"
	"context"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// Lease hands out due deliveries.
func (s *Store) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	if err := s.enter(ctx); err != nil {
		return spool.Leased{}, err
	}
	defer s.mu.Unlock()
	now, wall := time.Now(), s.now()
	s.told = time.Time{}
	s.endLeases(now)
	picked, wait := s.pick(&r, wall)
	out := spool.Leased{Leases: make([]spool.Lease, 0, len(picked)), Wait: wait}
	for _, d := range picked {
		s.lend(d, now.Add(r.TTL))
		out.Leases = append(out.Leases, d.lease())
	}
	if len(s.leased.items) > 0 {
		out.Wait = shorter(out.Wait, s.leased.items[0].until.Sub(now))
	}
	s.told = wall.Add(out.Wait)
	if out.Wait < 0 {
		s.told = wall.AddDate(100, 0, 0)
	}
	return out, nil
}

// shorter is the shorter of two waits, of which the first may be negative for
// none.
func shorter(wait, d time.Duration) time.Duration {
	if d = max(d, 0); wait < 0 || d < wait {
		return d
	}
	return wait
}

// lend gives a delivery that is in no queue to a holder.
func (s *Store) lend(d *delivery, until time.Time) {
	d.token, d.until = newToken(), until
	heap.Push(&s.leased, d)
}

// wait puts a delivery that is in no queue where it waits, or on hold.
func (s *Store) wait(d *delivery) {
	if d.Held {
		s.onHold++
		return
	}
	s.waiting.push(d)
	s.sooner(d.Due)
}

// endLeases makes deliveries wait again that nobody holds any more.
func (s *Store) endLeases(now time.Time) {
	for len(s.leased.items) > 0 && !s.leased.items[0].until.After(now) {
		d := s.leased.items[0]
		s.endLease(d)
		s.wait(d)
	}
}

// endLease takes a delivery from whoever has it. It is in no queue then.
func (s *Store) endLease(d *delivery) {
	heap.Remove(&s.leased, d.index)
	if d.resting {
		s.resting--
	}
	d.token, d.resting = 0, false
}

// held returns the delivery whose lease has the token, or nil.
func (s *Store) held(id spool.DeliveryID, token uint64) *delivery {
	if m := s.messages[id.Message]; m != nil {
		if d := m.deliveries[id.Seq]; d != nil && d.token != 0 && d.token == token {
			return d
		}
	}
	return nil
}

// Renew makes leases last for ttl from now on.
func (s *Store) Renew(
	ctx context.Context, ttl time.Duration, held []spool.Held,
) (lost []spool.Held, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	until := time.Now().Add(ttl)
	for _, h := range held {
		d := s.held(h.ID, h.Token)
		if d == nil {
			lost = append(lost, h)
			continue
		}
		d.until = until
		heap.Fix(&s.leased, d.index)
	}
	return lost, nil
}

// Return gives leases back.
func (s *Store) Return(ctx context.Context, wait time.Duration, held []spool.Held) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	until := time.Now().Add(wait)
	for _, h := range held {
		d := s.held(h.ID, h.Token)
		switch {
		case d == nil:
		case wait <= 0 || d.Held:
			s.endLease(d)
			s.wait(d)
		default:
			d.token, d.until, d.resting = 0, until, true
			s.resting++
			heap.Fix(&s.leased, d.index)
		}
	}
	return nil
}

// Settle ends a lease.
func (s *Store) Settle(ctx context.Context, t spool.Settlement) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	if err := checkEvents(t.Events); err != nil {
		return err
	}
	d := s.held(t.ID, t.Token)
	if d == nil {
		return spool.ErrLeaseLost
	}
	s.settle(d, &t)
	return nil
}

func (s *Store) settle(d *delivery, t *spool.Settlement) {
	s.endLease(d)
	s.events.append(t.Events)
	if len(t.Remaining) == 0 {
		s.finish(d)
		return
	}
	d.Recipients, d.Due, d.Attempts = slices.Clone(t.Remaining), t.Due, t.Attempts
	if t.Due.IsZero() {
		d.Due = s.now().Add(max(t.Wait, 0))
	}
	if t.Key != nil {
		d.Key = *t.Key
	}
	d.Held, d.Crashes = t.Held, t.Crashes
	s.wait(d)
}

// finish forgets a delivery, and its message with the last one.
func (s *Store) finish(d *delivery) {
	delete(d.message.deliveries, d.ID.Seq)
	if len(d.message.deliveries) == 0 {
		delete(s.messages, d.ID.Message)
		s.bytes -= d.message.Size
	}
}
