package filespool

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

type lease struct {
	delivery uint32
	token    uint64        // 0 once it is given back: nobody has that one
	until    time.Duration // since the store was opened
	at       int           // in Store.ends
	bound    bool          // by a commit under way
}

// Lease hands out due deliveries.
func (s *Store) Lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	if err := s.enter(ctx); err != nil {
		return spool.Leased{}, err
	}
	if s.failed != nil {
		// What is delivered now would be delivered again after the next start.
		defer s.mu.Unlock()
		return spool.Leased{}, s.failed
	}
	if len(s.batch.buf) > unwrittenLimit || s.events.overdue() {
		defer s.mu.Unlock()
		return spool.Leased{}, spool.ErrFull
	}
	scratch := s.picks.Get().(*[]pick)
	picks, wait := s.pick(&r, (*scratch)[:0])
	s.mu.Unlock()
	defer func() {
		clear(picks)
		*scratch = picks
		s.picks.Put(scratch)
	}()

	out := spool.Leased{Leases: make([]spool.Lease, 0, len(picks)), Wait: wait}
	buf := s.metas.Get().(*[]byte)
	defer s.metas.Put(buf)
	for i := range picks {
		p, n := &picks[i], len(out.Leases)
		out.Leases = append(out.Leases, spool.Lease{})
		if err := p.read(s, &out.Leases[n], buf); err != nil {
			s.log.Error("filespool: a delivery cannot be read for now and is put off",
				"queue_id", p.id.Message, "err", err)
			s.putOff(p, s.now().Add(time.Minute))
			out.Leases = out.Leases[:n]
		}
	}
	return out, nil
}

// putOff gives back a delivery that could not be read.
func (s *Store) putOff(p *pick, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leases[p.l.delivery] != p.l || p.l.bound {
		return
	}
	s.endLease(p.l)
	s.index.move(p.l.delivery, nil, nanos(due), s.index.deliveries.get(p.l.delivery).standing)
	s.index.queue(p.l.delivery)
}

// held returns the lease of a delivery if the token is its own. The caller
// holds the lock.
func (s *Store) held(id spool.DeliveryID, token uint64) *lease {
	if _, m := s.index.find(id.Message); m != nil {
		if h, d := s.index.delivery(m, id.Seq); d != nil {
			if l := s.leases[h]; l != nil && l.token != 0 && l.token == token {
				return l
			}
		}
	}
	return nil
}

// endLease forgets a lease. The caller holds the lock.
func (s *Store) endLease(l *lease) {
	delete(s.leases, l.delivery)
	if l.at >= 0 {
		s.ends.remove(l.at)
	}
}

// elapsed is the time by which leases end: no step of the wall clock moves it.
func (s *Store) elapsed() time.Duration { return s.now().Sub(s.opened) }

// endLeases queues again what is not held any more. The caller holds the lock.
func (s *Store) endLeases(elapsed time.Duration) {
	for s.ends.len() > 0 && s.ends.top().until <= elapsed {
		l := s.ends.pop()
		if l.token == 0 {
			s.resting--
		}
		delete(s.leases, l.delivery)
		s.index.queue(l.delivery)
	}
}

// newToken returns a random token.
func newToken() uint64 {
	for {
		if t := rand.Uint64(); t != 0 {
			return t
		}
	}
}

// Renew makes leases last for ttl from now on.
func (s *Store) Renew(
	ctx context.Context, ttl time.Duration, held []spool.Held,
) (lost []spool.Held, err error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	until := s.elapsed() + ttl
	for _, h := range held {
		l := s.held(h.ID, h.Token)
		if l == nil {
			lost = append(lost, h)
			continue
		}
		l.until = until
		if l.at >= 0 {
			s.ends.fix(l.at)
		}
	}
	return lost, nil
}

// Return gives leases back.
func (s *Store) Return(ctx context.Context, wait time.Duration, held []spool.Held) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	until := s.elapsed() + wait
	for _, h := range held {
		l := s.held(h.ID, h.Token)
		switch {
		case l == nil || l.bound:
		case wait <= 0:
			s.endLease(l)
			s.index.queue(l.delivery)
		default:
			l.token, l.until = 0, until
			s.resting++
			s.ends.fix(l.at)
		}
	}
	return nil
}
