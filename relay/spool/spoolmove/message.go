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
	// claimScope is that of the keys that the commits of a Move carry: the id
	// of the message, kept for claimTTL.
	claimScope = "spoolmove"
	claimTTL   = 7 * 24 * time.Hour
)

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
	if errors.Is(err, spool.ErrDamaged) {
		m.log.Error("spoolmove: a message is damaged and left", "queue_id", id, "err", err)
		m.add(Counts{Damaged: 1})
		return m.giveBack(ctx, leases)
	}
	if err != nil {
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
// target, unless it has or has had it.
func (m *mover) copy(ctx context.Context, leases []spool.Lease) (Counts, error) {
	id := leases[0].Message.ID
	if _, _, known, err := m.keys.Claimed(ctx, claimScope, id.String()); known || err != nil {
		return Counts{Known: 1}, err
	}
	for i := range leases {
		if err := leases[i].Damaged; err != nil {
			return Counts{}, err
		}
	}
	w, err := m.to.Create(ctx, id)
	if errors.Is(err, spool.ErrExists) {
		return Counts{Known: 1}, nil
	}
	if err != nil {
		return Counts{}, err
	}
	defer w.Abort()
	if err := m.content(ctx, w, id); err != nil {
		return Counts{}, err
	}
	// It may have taken a while.
	lost, err := m.from.Renew(ctx, leaseTTL, held(leases))
	if err != nil {
		return Counts{}, err
	}
	if len(lost) > 0 {
		return Counts{}, spool.ErrLeaseLost
	}
	err = w.Commit(ctx, commitOf(leases))
	if claimed, ok := errors.AsType[*spool.ClaimedError](err); errors.Is(err, spool.ErrExists) ||
		ok && claimed.Message == id {
		return Counts{Known: 1}, nil
	}
	return Counts{
		Messages: 1, Deliveries: int64(len(leases)), Bytes: leases[0].Message.Size,
	}, err
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
func commitOf(leases []spool.Lease) spool.Commit {
	c := spool.Commit{
		Message: leases[0].Message,
		Claim: &spool.Claim{
			Scope: claimScope, Key: leases[0].Message.ID.String(), TTL: claimTTL,
		},
	}
	for i := range leases {
		c.Deliveries = append(c.Deliveries, leases[i].Delivery)
	}
	return c
}
