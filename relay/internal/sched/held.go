package sched

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/spool"
)

const (
	leaseTTL   = 2 * time.Minute
	renewEvery = 30 * time.Second
	renewAgain = 5 * time.Second  // after a failure
	renewLate  = 45 * time.Second // nothing is leased before those held are renewed
	renewWait  = 20 * time.Second // for the store
	parkedFor  = time.Hour        // what could not be settled is kept back
	maxParked  = 1024
	lostWait   = 5 * time.Second // between looks at what is under way without a lease
)

// leases are those that this process holds.
type leases struct {
	store spool.Store
	log   *slog.Logger

	mu      sync.Mutex
	tokens  map[spool.DeliveryID]uint64    // 0 is a lost one, which no token is
	parked  map[spool.DeliveryID]time.Time // of tokens, those of ended attempts
	renewed time.Time
}

func newLeases(store spool.Store, log *slog.Logger) *leases {
	return &leases{
		store: store, log: log, renewed: time.Now(),
		tokens: make(map[spool.DeliveryID]uint64), parked: make(map[spool.DeliveryID]time.Time),
	}
}

// add begins to hold a lease. It refuses one of a delivery that is held
// already, and tells how long that may last: either the attempt was settled and
// is about to end, or its lease was lost.
func (h *leases) add(l *spool.Lease) (ok bool, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	token, held := h.tokens[l.Delivery.ID]
	switch {
	case !held:
		h.tokens[l.Delivery.ID] = l.Token
		return true, 0
	case token == 0:
		return false, lostWait
	default:
		h.tokens[l.Delivery.ID] = 0
		return false, gather
	}
}

// drop ends what add began, unless the lease is parked.
func (h *leases) drop(id spool.DeliveryID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.parked[id]; !ok {
		delete(h.tokens, id)
	}
}

// park keeps a lease for a while longer than its attempt.
func (h *leases) park(id spool.DeliveryID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tokens[id] != 0 && len(h.parked) < maxParked {
		h.parked[id] = time.Now().Add(parkedFor)
	}
}

// lost reports whether a lease that was added is known to be lost.
func (h *leases) lost(id spool.DeliveryID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tokens[id] == 0
}

// keep renews all leases until ctx ends.
func (h *leases) keep(ctx context.Context) {
	t := time.NewTimer(renewEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		wait := renewEvery
		if err := h.renew(ctx); err != nil && ctx.Err() == nil {
			h.log.Error("leases not renewed", logkey.Err, err)
			wait = renewAgain
		}
		t.Reset(wait)
	}
}

// fresh sees that the leases are renewed before the store is asked for others:
// after this process was stopped for a while, it might hand out the same again.
func (h *leases) fresh(ctx context.Context) error {
	h.mu.Lock()
	late := time.Since(h.renewed) > renewLate
	h.mu.Unlock()
	if !late {
		return nil
	}
	return h.renew(ctx)
}

// renew renews all leases, and marks those that are lost.
func (h *leases) renew(ctx context.Context) error {
	began := time.Now()
	held := h.list()
	if len(held) > 0 {
		ctx, cancel := context.WithTimeout(ctx, renewWait)
		defer cancel()
		lost, err := h.store.Renew(ctx, leaseTTL, held)
		if err != nil {
			return err
		}
		h.lose(lost)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.renewed = began
	return nil
}

func (h *leases) list() []spool.Held {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := make([]spool.Held, 0, len(h.tokens))
	now := time.Now()
	for id, until := range h.parked {
		if !until.After(now) {
			delete(h.parked, id)
			delete(h.tokens, id)
		}
	}
	for id, token := range h.tokens {
		if token != 0 {
			held = append(held, spool.Held{ID: id, Token: token})
		}
	}
	return held
}

// lose marks leases as lost. Some of them were settled meanwhile, and some of
// those leased anew.
func (h *leases) lose(lost []spool.Held) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range lost {
		if h.tokens[l.ID] != l.Token {
			continue
		}
		h.tokens[l.ID] = 0
		if _, ok := h.parked[l.ID]; ok { // its attempt has ended
			delete(h.parked, l.ID)
			delete(h.tokens, l.ID)
		}
	}
}
