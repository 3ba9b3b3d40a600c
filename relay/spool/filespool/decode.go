package filespool

import (
	"math"

	"github.com/postern-mail/postern/relay/spool"
)

func (d *decoder) recipients() []spool.Recipient {
	const least = 6
	n := d.count(least)
	rs := make([]spool.Recipient, n)
	for i := range rs {
		r := &rs[i]
		r.Address = d.string()
		notify := d.byte()
		r.Notify, r.Delayed = spool.Notify(notify&^flagDelayed), notify&flagDelayed != 0
		r.Original = d.string()
		r.Status = d.string()
		r.Diagnostic = d.string()
		r.Host = d.string()
	}
	return rs
}

// head is what stands in front of a message's meta part.
type head struct {
	id   spool.ID
	size int64
	utf8 bool
	own  *ownFile
	extras
	states bool // of the deliveries are told
}

func (d *decoder) head() (h head) {
	h.id = d.id()
	h.size = int64(d.uvarint() & math.MaxInt64)
	flags := d.byte()
	h.utf8 = flags&flagUTF8 != 0
	if flags&flagOwnFile != 0 {
		h.own = &ownFile{sum: d.uint32()}
	}
	if flags&flagEvents != 0 {
		h.events = d.events()
	}
	if flags&flagClaim != 0 {
		h.claim = d.raw(claimBytes)
	}
	h.states = flags&flagStates != 0
	return h
}

// brief is what the index keeps of a delivery.
type brief struct {
	seq      int
	key      []byte
	due      int64
	standing standing
}

const leastDelivery, leastSettlement = 14, 18

func (d *decoder) brief(states bool) brief {
	b := brief{seq: d.int(), key: d.bytes(), due: d.time()}
	if states {
		b.standing = readStanding(d.byte())
	}
	return b
}

func (d *decoder) skipRest() { d.raw(uint64(d.uint32())) }

// change is what the index needs of a settlement.
type change struct {
	id        spool.ID
	seq       int
	remaining bool
	standing  standing
	key       []byte // empty if it stays
	due       int64
}

func (d *decoder) change() change {
	c := change{id: d.id(), seq: d.int()}
	flags := d.byte()
	c.remaining, c.standing = flags&flagRemaining != 0, readStanding(flags)
	if c.remaining {
		c.key, c.due = d.bytes(), d.time()
	}
	return c
}

// message reads the whole meta part of a commit, but for the keys: the index
// knows them.
func decodeCommit(meta []byte) (m spool.Message, own *ownFile, ds []spool.Delivery, ok bool) {
	d := &decoder{b: meta, s: string(meta)}
	h := d.head()
	m.ID, m.Size, m.UTF8 = h.id, h.size, h.utf8
	ds = make([]spool.Delivery, d.count(leastDelivery))
	for i := range ds {
		v := &ds[i]
		f := d.brief(h.states)
		v.ID = spool.DeliveryID{Message: m.ID, Seq: f.seq}
		v.Due = fromNanos(f.due)
		v.Held, v.Crashes = f.standing.held(), f.standing.crashes()
		d.uint32()
		v.Expires = fromNanos(d.time())
		v.Attempts = d.int()
		v.Recipients = d.recipients()
	}
	for range d.count(leastSettlement) {
		if c := d.change(); c.remaining {
			d.skipRest()
		}
	}
	m.Created = fromNanos(d.time())
	for _, s := range [...]*string{
		&m.From, &m.EnvelopeID, (*string)(&m.Return), (*string)(&m.Body),
		&m.Origin.Connector, &m.Origin.Remote, &m.Origin.User,
	} {
		*s = d.string()
	}
	if n := d.count(2); n > 0 {
		m.Labels = make(map[string]string, n)
		for range n {
			k := d.string()
			m.Labels[k] = d.string()
		}
	}
	if d.at < len(d.b) { // unsigned messages and those of earlier versions end here
		m.Signatures = d.int()
	}
	if d.at < len(d.b) {
		m.Stream, m.ReportOf = d.string(), d.id()
	}
	if d.at < len(d.b) {
		m.NotBefore = fromNanos(d.time())
	}
	if d.at < len(d.b) {
		m.Moves = d.int()
	}
	return m, h.own, ds, !d.bad
}

// update is the state that a settlement gave a delivery. Its key is known to
// the index.
type update struct {
	due        int64
	standing   standing
	attempts   int
	recipients []spool.Recipient
}

func (u *update) apply(d *spool.Delivery) {
	d.Due, d.Held, d.Crashes = fromNanos(u.due), u.standing.held(), u.standing.crashes()
	d.Attempts, d.Recipients = u.attempts, u.recipients
}

// decodeUpdate finds the last update of a delivery in a record.
func decodeUpdate(kind byte, meta []byte, id spool.ID, seq int) (u *update, ok bool) {
	d := &decoder{b: meta, s: string(meta)}
	if kind == kindCommit {
		h := d.head()
		for range d.count(leastDelivery) {
			d.brief(h.states)
			d.skipRest()
		}
	}
	for range d.count(leastSettlement) {
		c := d.change()
		if !c.remaining {
			continue
		}
		end := int(d.uint32()) + d.at
		if c.id == id && c.seq == seq {
			u = &update{
				due: c.due, standing: c.standing, attempts: d.int(), recipients: d.recipients(),
			}
		}
		if end < d.at || end > len(d.b) {
			return nil, false
		}
		d.at = end
	}
	return u, u != nil && !d.bad
}
