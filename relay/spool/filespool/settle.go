package filespool

import (
	"context"
	"slices"

	"github.com/postern-mail/postern/relay/spool"
)

// bind takes hold of the leases that a commit settles: nobody else settles
// them, and they do not end. The caller holds the lock.
func (s *Store) bind(settle []spool.Settlement) ([]*lease, error) {
	if len(settle) == 0 {
		return nil, nil
	}
	leases := make([]*lease, 0, len(settle))
	for i := range settle {
		l := s.held(settle[i].ID, settle[i].Token)
		if l == nil || l.bound {
			s.unbind(leases)
			return nil, spool.ErrLeaseLost
		}
		l.bound = true
		s.ends.remove(l.at)
		leases = append(leases, l)
	}
	return leases, nil
}

func (s *Store) unbind(leases []*lease) {
	for _, l := range leases {
		l.bound = false
		s.ends.push(l)
	}
}

// setDue turns the wait of a settlement into a time.
func (s *Store) setDue(t *spool.Settlement) {
	if t.Due.IsZero() {
		t.Due = s.now().Add(max(t.Wait, 0))
	}
}

// Settle ends a lease. It does not wait for the disk.
func (s *Store) Settle(ctx context.Context, t spool.Settlement) error {
	meta := s.metas.Get().(*[]byte)
	defer s.metas.Put(meta)
	s.setDue(&t)
	if err := checkEvents(t.Events); err != nil {
		return err
	}
	x := extras{events: entriesOf(t.Events)}
	*meta = appendSettleRecord((*meta)[:0], []spool.Settlement{t}, x)
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	l := s.held(t.ID, t.Token)
	if l == nil || l.bound {
		return spool.ErrLeaseLost
	}
	written := s.settle(l, &t)
	if s.failed != nil {
		return nil // it counts as long as the process lives
	}
	r := record{kind: kindSettle, meta: *meta, keep: true, extras: x}
	r.done = func(at loc, err error) {
		if err == nil {
			written(at)
		}
	}
	s.enqueue(&r, false)
	return nil
}

// settle changes the index as a settlement says. What it returns is to be
// called when the settlement is in the log. The caller holds the lock.
func (s *Store) settle(l *lease, t *spool.Settlement) (written func(at loc)) {
	x := s.index
	h := l.delivery
	d := x.deliveries.get(h)
	m := x.messages.get(d.message)
	s.endLease(l)
	if len(t.Remaining) > 0 {
		u := &update{
			due: nanos(t.Due), standing: standingOf(t.Held, t.Crashes),
			attempts: max(t.Attempts, 0), recipients: slices.Clone(t.Remaining),
		}
		for i := range u.recipients {
			u.recipients[i].Diagnostic = cut(u.recipients[i].Diagnostic)
		}
		s.updates[h] = u
		m.version++
		var key []byte
		if t.Key != nil {
			key = packKey(*t.Key)
		}
		x.move(h, key, u.due, u.standing)
		x.queue(h)
		return func(at loc) {
			if s.updates[h] != u {
				return // overtaken
			}
			delete(s.updates, h)
			d := x.deliveries.get(h)
			s.overwrite(d.update)
			d.update = at
			s.lives(at.segment, recordSize(at.meta, 0))
		}
	}
	delete(s.updates, h)
	old, last := d.update, *m
	gone := x.remove(h)
	return func(loc) {
		s.overwrite(old)
		if !gone {
			return
		}
		s.dead(last.loc.segment, last.record())
		delete(s.lost, last.id)
		if last.own {
			s.trash = append(s.trash, ownTrash{id: last.id, size: last.ownSize()})
		} else {
			delete(s.spoiled, last.id)
		}
	}
}

// overwrite counts an update as dead. The caller holds the lock.
func (s *Store) overwrite(l loc) {
	if !l.isZero() {
		s.dead(l.segment, recordSize(l.meta, 0))
	}
}
