package filespool

import "github.com/postern-mail/postern/relay/spool"

// apply enters a record in the index and reports whether it could be read.
func (s *Store) apply(g *segment, r *found) bool {
	x := s.index
	at := loc{g.number, uint32(r.at / alignment), r.meta}
	d := &decoder{b: r.body}
	var extra extras
	if r.kind == kindCommit {
		h := d.head()
		extra = h.extras
		if !d.bad {
			s.forget(h.id) // a copy made by the cleaner takes the place of the original
			delete(s.lost, h.id)
			n := d.count(leastDelivery)
			e := x.add(
				message{id: h.id, size: h.size, loc: at, content: r.content, own: h.own != nil},
			)
			for range n {
				b := d.brief(h.states)
				if d.skipRest(); d.bad {
					break
				}
				x.addDelivery(e, b)
			}
			if m := x.messages.get(e); d.bad || m.first == none ||
				!m.own && m.size != int64(m.content) {
				d.bad = true
				s.forget(h.id)
			}
		}
	}
	if r.kind == kindCommit || r.kind == kindSettle {
		for range d.count(leastSettlement) {
			c := d.change()
			if c.remaining {
				d.skipRest()
			}
			if d.bad {
				break
			}
			_, m := x.find(c.id)
			if m == nil {
				if !c.remaining {
					s.found(c.id, c.seq) // delivered, or made known before
				}
				continue
			}
			h, e := x.delivery(m, c.seq)
			switch {
			case e == nil:
			case c.remaining:
				x.move(h, c.key, c.due, c.held)
				e.update = at
			default:
				x.remove(h)
			}
		}
	}
	if r.kind == kindSettle && d.at < len(d.b) {
		extra.events = d.events()
	}
	if !d.bad {
		s.restoreExtras(r.seq, &extra)
	}
	return !d.bad
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
	s.index.bytes -= m.size
	delete(s.index.byID, id)
	s.index.messages.drop(h)
}
