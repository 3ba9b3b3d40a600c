package filespool

import (
	"errors"
	"slices"

	"github.com/postern-mail/postern/relay/spool"
)

// pick is a delivery chosen and where to read it.
type pick struct {
	*spool.Lease // to be filled in

	id           spool.DeliveryID
	l            *lease // if it was leased
	token        uint64
	lost         error // there is no record
	key          spool.Key
	message      loc
	record       int64 // size of the message's record
	update       loc
	unwritten    *update
	segment      *segment
	updateHolder *segment
}

// reach finds out where a delivery can be read, and keeps it readable until
// read. The caller holds the lock.
func (s *Store) reach(h uint32) pick {
	d := s.index.deliveries.get(h)
	m := s.index.messages.get(d.message)
	p := pick{
		id:      spool.DeliveryID{Message: m.id, Seq: int(d.seq)},
		key:     s.index.lines.get(d.line).key(),
		message: m.loc, record: m.record(), segment: s.pin(m.loc.segment),
		update: d.update, unwritten: s.updates[h],
	}
	if p.unwritten == nil && !d.update.isZero() {
		p.updateHolder = s.pin(d.update.segment)
	}
	if l := s.lost[m.id]; l != nil {
		p.lost = l.err()
	}
	return p
}

func (p *pick) unpin(s *Store) {
	s.unpin(p.segment)
	if p.updateHolder != nil {
		s.unpin(p.updateHolder)
	}
}

// read fills in a lease from the log. A delivery that is damaged is leased as
// such; an error may pass.
func (p *pick) read(s *Store, into *spool.Lease, buf *[]byte) error {
	defer p.unpin(s)
	p.Lease = into
	p.Token, p.Damaged = p.token, p.lost
	err := p.readMessage(buf)
	if err == nil {
		err = p.readUpdate(buf)
		if errors.Is(err, ErrDamaged) {
			// What was settled before is served again: better twice than never.
			s.log.Error("filespool: the last settlement of a delivery is damaged and void",
				"queue_id", p.id.Message, "file", segmentName(p.updateHolder.number),
				"offset", p.update.at())
			err = nil
		}
	}
	if errors.Is(err, ErrDamaged) {
		p.Damaged = s.damagedEnvelope(p).err()
		err = nil
	}
	if p.Damaged != nil {
		p.guess()
	}
	p.Delivery.Key = p.key
	return err
}

// guess fills in a damaged lease with what the record seems to say.
func (p *pick) guess() {
	m, ds, ok := p.segment.guess(p.message)
	i := slices.IndexFunc(ds, func(d spool.Delivery) bool { return d.ID.Seq == p.id.Seq })
	if ok && i >= 0 {
		p.Message, p.Delivery = m, ds[i]
	}
	p.Message.ID, p.Delivery.ID = p.id.Message, p.id
}

func (p *pick) readMessage(buf *[]byte) error {
	if p.Damaged != nil {
		return nil
	}
	_, meta, err := p.segment.meta(p.message, buf)
	if err != nil {
		return err
	}
	m, _, ds, ok := decodeCommit(meta)
	i := slices.IndexFunc(ds, func(d spool.Delivery) bool { return d.ID == p.id })
	if !ok || m.ID != p.id.Message || i < 0 {
		return ErrDamaged
	}
	p.Message, p.Delivery = m, ds[i]
	return nil
}

// readUpdate brings the lease up to the last settlement.
func (p *pick) readUpdate(buf *[]byte) error {
	u := p.unwritten
	if u != nil {
		u = &update{u.due, u.standing, u.attempts, slices.Clone(u.recipients)}
	} else if p.updateHolder != nil {
		h, meta, err := p.updateHolder.meta(p.update, buf)
		if err != nil {
			return err
		}
		var ok bool
		if u, ok = decodeUpdate(h.kind, meta, p.id.Message, p.id.Seq); !ok {
			return ErrDamaged
		}
	}
	if u != nil {
		u.apply(&p.Delivery)
	}
	return nil
}
