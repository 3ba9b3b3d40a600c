package filespool

import "github.com/postern-mail/postern/relay/spool"

// apply enters a record in the index and reports whether it could be read.
func (s *Store) apply(g *segment, r *found) bool {
	at := loc{g.number, uint32(r.at / alignment), r.meta}
	d := &decoder{b: r.body}
	var x extras
	if r.kind == kindCommit {
		x = s.applyMessage(d, at, r.content)
	}
	if r.kind == kindCommit || r.kind == kindSettle {
		s.applySettlements(d, at)
	}
	if r.kind == kindSettle && d.at < len(d.b) {
		x.events = d.events()
	}
	if !d.bad {
		s.restoreExtras(r.seq, &x)
	}
	return !d.bad
}

// applyMessage enters a message and its deliveries.
func (s *Store) applyMessage(d *decoder, at loc, content uint32) extras {
	h := d.head()
	if d.bad {
		return extras{}
	}
	s.forget(h.id) // a copy made by the cleaner takes the place of the original
	delete(s.lost, h.id)
	x := s.index
	n := d.count(leastDelivery)
	e := x.add(message{id: h.id, size: h.size, loc: at, content: content, own: h.own != nil})
	for range n {
		b := d.brief(h.states)
		if d.skipRest(); d.bad {
			break
		}
		x.addDelivery(e, b)
	}
	if m := x.messages.get(e); d.bad || m.first == none || !m.own && m.size != int64(m.content) {
		d.bad = true
		s.forget(h.id)
	}
	return h.extras
}

// applySettlements changes the deliveries that a record settles.
func (s *Store) applySettlements(d *decoder, at loc) {
	for range d.count(leastSettlement) {
		c := d.change()
		if c.remaining {
			d.skipRest()
		}
		if d.bad {
			return
		}
		_, m := s.index.find(c.id)
		if m == nil {
			if !c.remaining {
				s.found(c.id, c.seq) // delivered, or made known before
			}
			continue
		}
		h, e := s.index.delivery(m, c.seq)
		switch {
		case e == nil:
		case c.remaining:
			s.index.move(h, c.key, c.due, c.standing)
			e.update = at
		default:
			s.index.remove(h)
		}
	}
}

// forget drops a message that is not queued.
func (s *Store) forget(id spool.ID) {
	h, m := s.index.find(id)
	if m == nil {
		return
	}
	for m.first != none {
		if s.index.remove(m.first) {
			return
		}
	}
	s.index.drop(h)
}
