package sched

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/spool"
)

// maxParked bounds the leases that are kept beyond their attempts.
const maxParked = 1024

// clocks are those of leases, in proportion to how long one lasts.
type clocks struct {
	ttl   time.Duration // how long the store keeps a delivery for this process
	every time.Duration // from one renewal to the next
	again time.Duration // after a failure; between looks at what goes on without a lease
	late  time.Duration // nothing is leased before those held are renewed
	wait  time.Duration // for the store
	watch time.Duration // between looks for what has ended
}

func clocksOf(ttl time.Duration) clocks {
	return clocks{
		ttl: ttl, every: ttl / 4, again: ttl / 24, late: ttl * 3 / 8, wait: ttl / 6,
		watch: ttl / 32,
	}
}

// leases are those that this process holds.
type leases struct {
	clocks
	store spool.Store
	log   *slog.Logger

	mu      sync.Mutex
	held    map[spool.DeliveryID]*held
	parked  int
	renewed time.Time
}

// held is a lease. By the clock of this process it lasts no longer than by the
// store's: it is counted from the start of the call that gave or renewed it.
type held struct {
	token  uint64    // 0 is a lost one, which no token is
	sure   time.Time // it lasts until then at least
	parked time.Time // its attempt has ended, and it is kept until then; zero if not
	cancel context.CancelCauseFunc
}

// lasts reports whether nobody else can have the delivery.
func (l *held) lasts(now time.Time) bool { return l.token != 0 && now.Before(l.sure) }

// end ends the attempt under way. Called again it does nothing.
func (l *held) end(cause error) {
	if l.cancel != nil {
		l.cancel(cause)
	}
}

func newLeases(store spool.Store, ttl time.Duration, log *slog.Logger) *leases {
	return &leases{
		clocks: clocksOf(ttl), store: store, log: log, renewed: time.Now(),
		held: make(map[spool.DeliveryID]*held),
	}
}

// add begins to hold a lease that was asked for at some time. It refuses one of
// a delivery that is held already, and tells how long that may last: either the
// attempt was settled and is about to end, or its lease was lost.
func (h *leases) add(l *spool.Lease, asked time.Time) (ok bool, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.held[l.Delivery.ID]
	switch {
	case old == nil:
		h.held[l.Delivery.ID] = &held{token: l.Token, sure: asked.Add(h.ttl)}
		return true, 0
	case old.token == 0:
		return false, h.again
	default:
		old.lose()
		return false, gather
	}
}

// lose marks a lease as lost, and ends the attempt.
func (l *held) lose() {
	l.token = 0
	l.end(spool.ErrLeaseLost)
}

// begin returns the context of an attempt, which ends with the lease. It
// refuses when the lease has ended by the clock of this moment: the process may
// have been stopped for a while.
func (h *leases) begin(work context.Context, id spool.DeliveryID) (context.Context, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.held[id]
	if l == nil || !l.lasts(time.Now()) {
		return nil, false
	}
	work, l.cancel = context.WithCancelCause(work)
	return work, true
}

// drop ends what add began, unless the lease is parked.
func (h *leases) drop(id spool.DeliveryID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.held[id]
	if l == nil {
		return
	}
	l.end(context.Canceled)
	if l.parked.IsZero() {
		delete(h.held, id)
	}
}

// park keeps a lease for a while longer than its attempt.
func (h *leases) park(id spool.DeliveryID, rest time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.held[id]
	if l != nil && l.token != 0 && l.parked.IsZero() && h.parked < maxParked {
		l.parked = time.Now().Add(rest)
		h.parked++
	}
}

// lost reports whether somebody else may have what was added.
func (h *leases) lost(id spool.DeliveryID) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.held[id]
	return l == nil || !l.lasts(time.Now())
}

// watchOver ends the attempts whose leases were not renewed in time, until ctx
// ends. It is not held up by the store.
func (h *leases) watchOver(ctx context.Context) {
	t := time.NewTicker(h.watch)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			h.endOver(time.Now().Add(h.watch))
		}
	}
}

// endOver ends the attempts whose leases do not last until then.
func (h *leases) endOver(then time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.held {
		if !l.lasts(then) {
			l.end(spool.ErrLeaseLost)
		}
	}
}

// keep renews all leases until ctx ends.
func (h *leases) keep(ctx context.Context) {
	t := time.NewTimer(h.every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		wait := h.every
		if err := h.renew(ctx); err != nil && ctx.Err() == nil {
			h.log.Error("leases not renewed", logkey.Err, err)
			wait = h.again
		}
		t.Reset(wait)
	}
}

// fresh sees that the leases are renewed before the store is asked for others:
// after this process was stopped for a while, it might hand out the same again.
func (h *leases) fresh(ctx context.Context) error {
	h.mu.Lock()
	late := time.Since(h.renewed) > h.late
	h.mu.Unlock()
	if !late {
		return nil
	}
	return h.renew(ctx)
}

// renew renews all leases, and marks those that are lost. One that has ended by
// the clock of this process only is renewed too: its attempt has ended, and may
// still be settled.
func (h *leases) renew(ctx context.Context) error {
	began := time.Now()
	list := h.list(began)
	var lost []spool.Held
	if len(list) > 0 {
		ctx, cancel := context.WithTimeout(ctx, h.wait)
		defer cancel()
		var err error
		if lost, err = h.store.Renew(ctx, h.ttl, list); err != nil {
			return err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lose(lost)
	for _, r := range list {
		if l := h.held[r.ID]; l != nil && l.token == r.Token {
			l.sure = began.Add(h.ttl)
		}
	}
	h.renewed = began
	return nil
}

func (h *leases) list(now time.Time) []spool.Held {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]spool.Held, 0, len(h.held))
	for id, l := range h.held {
		if !l.parked.IsZero() && !l.parked.After(now) {
			h.forget(id)
		} else if l.token != 0 {
			list = append(list, spool.Held{ID: id, Token: l.token})
		}
	}
	return list
}

// lose marks leases as lost. Some of them were settled meanwhile, and some of
// those leased anew. The caller holds the lock.
func (h *leases) lose(lost []spool.Held) {
	for _, r := range lost {
		l := h.held[r.ID]
		if l == nil || l.token != r.Token {
			continue
		}
		l.lose()
		if !l.parked.IsZero() { // its attempt has ended
			h.forget(r.ID)
		}
	}
}

// forget drops a parked lease. The caller holds the lock.
func (h *leases) forget(id spool.DeliveryID) {
	delete(h.held, id)
	h.parked--
}
