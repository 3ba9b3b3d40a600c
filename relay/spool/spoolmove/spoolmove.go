package spoolmove

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

var (
	// ErrServed answers Move when a relay runs on the source, or has run in the
	// last minutes and was killed.
	ErrServed = errors.New("spoolmove: a relay runs on the source; stop it first")

	errManager = errors.New("spoolmove: the source is no spool.Manager: it cannot be listed")
	errKeys    = errors.New(
		"spoolmove: the target is no spool.Keys: it cannot tell what it has had",
	)
)

// parallel is how many messages are moved at a time, so that a store can
// gather their commits.
const parallel = 16

// Counts tells how far a Move has come.
type Counts struct {
	Messages   int64 // now in the target
	Deliveries int64 // of those messages
	Bytes      int64 // of their content
	// Known are messages that the target had already, from a Move that was
	// interrupted: now they are gone from the source. They are no part of
	// Messages.
	Known int64
	// Held are messages of which somebody else holds a delivery. They are left.
	Held int64
	// Foreign are messages that the target has, but from no Move: is it the
	// same store, or a copy? They are left.
	Foreign int64
	// Damaged are messages that cannot be read. They are left.
	Damaged int64
}

// Options configures a Move. The zero value is ready to use.
type Options struct {
	// Progress is told the counts after each message, by one goroutine at a
	// time. It should return soon. May be nil.
	Progress func(Counts)
	// Logger is told of each message that is left. Defaults to one that
	// discards.
	Logger *slog.Logger
}

// Move moves all messages, and returns when the source has none left but those
// that it counts as Held, Foreign and Damaged. It needs a [spool.Manager] as
// its source and a [spool.Keys] as its target; both are shared by no other
// Move. o may be nil. After an error, which may be that of ctx, call it again.
func Move(ctx context.Context, from, to spool.Store, o *Options) (Counts, error) {
	m, err := newMover(from, to, o)
	if err != nil {
		return Counts{}, err
	}
	if err := m.alone(ctx); err != nil {
		return Counts{}, err
	}
	err = m.pass(ctx)
	if err == nil && m.count.Held > 0 && rest(ctx, leaseTTL) {
		m.count.Held, m.count.Foreign, m.count.Damaged = 0, 0, 0
		err = m.pass(ctx)
	}
	return m.count, err
}

// mover is one Move.
type mover struct {
	from     spool.Store
	manager  spool.Manager
	to       spool.Store
	keys     spool.Keys // of to
	progress func(Counts)
	log      *slog.Logger

	mu    sync.Mutex
	count Counts
}

func newMover(from, to spool.Store, o *Options) (*mover, error) {
	if o == nil {
		o = &Options{}
	}
	m := &mover{from: from, to: to, progress: o.Progress, log: o.Logger}
	if m.progress == nil {
		m.progress = func(Counts) {}
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	var ok bool
	if m.manager, ok = from.(spool.Manager); !ok {
		return nil, errManager
	}
	if m.keys, ok = to.(spool.Keys); !ok {
		return nil, errKeys
	}
	return m, nil
}

// add counts and tells.
func (m *mover) add(n Counts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &m.count
	c.Messages += n.Messages
	c.Deliveries += n.Deliveries
	c.Bytes += n.Bytes
	c.Known += n.Known
	c.Held += n.Held
	c.Foreign += n.Foreign
	c.Damaged += n.Damaged
	m.progress(*c)
}

// pass moves all that can be moved now, several messages at a time. It returns
// the first error, after what was under way has come to its end.
func (m *mover) pass(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	work := make(chan []spool.DeliveryID)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for ids := range work {
				if err := m.message(ctx, ids); err != nil {
					stop(err)
				}
			}
		})
	}
	for ids, err := range m.messages(ctx) {
		if err != nil {
			stop(err)
			break
		}
		work <- ids
	}
	close(work)
	workers.Wait()
	return context.Cause(ctx)
}

// rest waits, unless ctx ends.
func rest(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
