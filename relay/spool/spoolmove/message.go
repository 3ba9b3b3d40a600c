package spoolmove

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	// claimScope and claimTTL are those of the keys that the commits of a Move
	// carry.
	claimScope = "spoolmove"
	claimTTL   = 7 * 24 * time.Hour
)

// claimOf makes the key by which a message is known to have been moved. It is
// another one at each move, so that a message may come back to a store.
func claimOf(m *spool.Message) *spool.Claim {
	return &spool.Claim{
		Scope: claimScope, Key: fmt.Sprintf("%v/%d", m.ID, m.Moves+1), TTL: claimTTL,
	}
}

// message moves a message, or counts it as left.
func (m *mover) message(ctx context.Context, ids []spool.DeliveryID) error {
	if ctx.Err() != nil {
		return nil // somebody else has failed
	}
	id := ids[0].Message
	leases, err := m.take(ctx, ids)
	switch {
	case errors.Is(err, spool.ErrLeased):
		m.log.Warn("spoolmove: somebody holds a delivery; its message is left", "queue_id", id)
		m.add(Counts{Held: 1})
		return nil
	case err != nil || len(leases) == 0:
		return err
	}
	n, err := m.copy(ctx, leases)
	switch {
	case errors.Is(err, spool.ErrDamaged):
		m.log.Error("spoolmove: a message is damaged and left", "queue_id", id, "err", err)
		m.add(Counts{Damaged: 1})
		return m.giveBack(ctx, leases)
	case errors.Is(err, spool.ErrExists):
		m.log.Error("spoolmove: the target has a message from elsewhere; it is left",
			"queue_id", id)
		m.add(Counts{Foreign: 1})
		return m.giveBack(ctx, leases)
	case err != nil:
		err = fmt.Errorf("spoolmove: message %v: %w", id, err)
		return errors.Join(err, m.giveBack(ctx, leases))
	}
	if err := m.finish(ctx, leases); err != nil {
		return fmt.Errorf("spoolmove: message %v is moved, but cannot be ended: %w", id, err)
	}
	m.add(n)
	return nil
}

// copy makes a message and what is left of its deliveries durable in the
// target, unless an earlier Move has.
func (m *mover) copy(ctx context.Context, leases []spool.Lease) (Counts, error) {
	for i := range leases {
		if err := leases[i].Damaged; err != nil {
			return Counts{}, err
		}
	}
	claim := claimOf(&leases[0].Message)
	if known, err := m.knows(ctx, claim); known || err != nil {
		return Counts{Known: 1}, err
	}
	err := m.commit(ctx, leases, claim)
	if errors.Is(err, spool.ErrExists) || errors.Is(err, spool.ErrClaimed) {
		// The commit of a Move that was killed may have come to its end only
		// now.
		if known, kerr := m.knows(ctx, claim); known || kerr != nil {
			return Counts{Known: 1}, kerr
		}
	}
	return Counts{
		Messages: 1, Deliveries: int64(len(leases)), Bytes: leases[0].Message.Size,
	}, err
}

// knows reports whether a Move has brought a message to the target.
func (m *mover) knows(ctx context.Context, claim *spool.Claim) (bool, error) {
	_, _, known, err := m.keys.Claimed(ctx, claim.Scope, claim.Key)
	return known, err
}

func (m *mover) commit(ctx context.Context, leases []spool.Lease, claim *spool.Claim) error {
	id := leases[0].Message.ID
	w, err := m.to.Create(ctx, id)
	if err != nil {
		return err
	}
	defer w.Abort()
	if err := m.content(ctx, w, id); err != nil {
		return err
	}
	// It may have taken a while.
	lost, err := m.from.Renew(ctx, leaseTTL, held(leases))
	if err == nil && len(lost) > 0 {
		err = spool.ErrLeaseLost
	}
	if err != nil {
		return err
	}
	return w.Commit(ctx, commitOf(leases, claim))
}

// content copies the content of a message.
func (m *mover) content(ctx context.Context, w spool.Writer, id spool.ID) error {
	r, err := m.from.Open(ctx, id)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, r)
	return err
}

// commitOf makes a commit of the deliveries of a message.
func commitOf(leases []spool.Lease, claim *spool.Claim) spool.Commit {
	c := spool.Commit{Message: leases[0].Message, Claim: claim}
	c.Message.Moves++
	for i := range leases {
		c.Deliveries = append(c.Deliveries, leases[i].Delivery)
	}
	return c
}
