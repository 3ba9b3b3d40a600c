package sched

import (
	"context"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// held is a delivery under way in this process.
type held struct {
	token uint64 // of the newest lease
	again bool   // it was leased again meanwhile
}

// lease asks the store. Nobody learns of a token meanwhile.
func (s *Scheduler) lease(ctx context.Context, r spool.LeaseRequest) (spool.Leased, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	leased, err := s.cfg.Store.Lease(ctx, r)
	if err != nil && ctx.Err() == nil {
		s.cfg.Logger.Error("spool does not lease", "err", err)
	}
	for i := range leased.Leases {
		l := &leased.Leases[i]
		if _, ok := s.held[l.Delivery.ID]; ok {
			s.held[l.Delivery.ID] = held{token: l.Token, again: true}
		}
	}
	return leased, err
}

// again reports whether a delivery that was leased is under way already.
func (s *Scheduler) again(l *spool.Lease) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.held[l.Delivery.ID]
	return ok
}

func (s *Scheduler) hold(l *spool.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.held[l.Delivery.ID]; !ok {
		s.held[l.Delivery.ID] = held{token: l.Token}
	}
}

// returnHeld gives back what is held and was never begun.
func (s *Scheduler) returnHeld(l *spool.Lease, until time.Time) {
	s.giveBack(l, until)
	s.letGo(l)
}

// letGo ends what hold began. A newer lease that was not used goes back.
func (s *Scheduler) letGo(l *spool.Lease) {
	s.mu.Lock()
	h := s.held[l.Delivery.ID]
	delete(s.held, l.Delivery.ID)
	s.mu.Unlock()
	if !h.again {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeWait)
	defer cancel()
	// An error says that the delivery was settled by it.
	_ = s.cfg.Store.Return(ctx, 0, []spool.Held{{ID: l.Delivery.ID, Token: h.token}})
}

// Token returns the token by which a delivery under way can be settled: that of
// its lease, or of a newer one, if the store has handed it out again because
// its clock has jumped. Ask after [spool.ErrLeaseLost].
func (s *Scheduler) Token(l *spool.Lease) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.held[l.Delivery.ID]; ok {
		return h.token
	}
	return l.Token
}
