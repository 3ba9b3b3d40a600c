package spoolmove

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	// leaseTTL is how long the source keeps a message for a Move that was
	// killed. Before the commit to the target it is renewed.
	leaseTTL = time.Minute
	// settleLimit bounds the calls that follow a commit, or undo a lease, when
	// the context may have ended.
	settleLimit = 30 * time.Second
	// relays is the group of a spool.Nodes of which every relay is a member.
	relays = "relay"
)

// alone returns ErrServed if a relay runs on the source. A store of one process
// cannot be open here and there.
func (m *mover) alone(ctx context.Context) error {
	nodes, ok := m.from.(spool.Nodes)
	if !ok {
		return nil
	}
	live, err := nodes.Live(ctx, relays)
	if err == nil && live > 0 {
		err = ErrServed
	}
	return err
}

// messages yields the deliveries of the source, those of a message together.
func (m *mover) messages(ctx context.Context) iter.Seq2[[]spool.DeliveryID, error] {
	return func(yield func([]spool.DeliveryID, error) bool) {
		var ids []spool.DeliveryID
		for q := (spool.Query{Max: 1000}); ; q.After = ids[len(ids)-1] {
			page, err := m.manager.List(ctx, q)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(page) == 0 {
				break
			}
			for i := range page {
				id := page[i].Delivery.ID
				if len(ids) > 0 && ids[0].Message != id.Message {
					if !yield(ids, nil) {
						return
					}
					ids = nil
				}
				ids = append(ids, id)
			}
		}
		if len(ids) > 0 {
			yield(ids, nil)
		}
	}
}

// take leases all deliveries of a message that are not finished, or, if
// somebody holds one of them, none.
func (m *mover) take(ctx context.Context, ids []spool.DeliveryID) ([]spool.Lease, error) {
	leases := make([]spool.Lease, 0, len(ids))
	for _, id := range ids {
		l, err := m.manager.Take(ctx, id, leaseTTL)
		switch {
		case err == nil:
			leases = append(leases, l)
		case !errors.Is(err, spool.ErrNotFound):
			return nil, errors.Join(err, m.giveBack(ctx, leases))
		}
	}
	return leases, nil
}

func held(leases []spool.Lease) []spool.Held {
	list := make([]spool.Held, len(leases))
	for i := range leases {
		list[i] = spool.Held{ID: leases[i].Delivery.ID, Token: leases[i].Token}
	}
	return list
}

// giveBack ends leases of what stays in the source.
func (m *mover) giveBack(ctx context.Context, leases []spool.Lease) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	return m.from.Return(ctx, 0, held(leases))
}

// finish ends in the source what the target has.
func (m *mover) finish(ctx context.Context, leases []spool.Lease) error {
	for i := range leases {
		if err := m.end(ctx, &leases[i]); err != nil {
			return err
		}
	}
	return nil
}

func (m *mover) end(ctx context.Context, l *spool.Lease) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLimit)
	defer cancel()
	return m.from.Settle(ctx, spool.Settlement{ID: l.Delivery.ID, Token: l.Token})
}
