package filespool

import (
	"context"
	"slices"

	"github.com/postern-mail/postern/relay/spool"
)

var _ spool.Committer = (*Store)(nil)

// Commit stores a message that was made ready.
func (s *Store) Commit(ctx context.Context, p *spool.Prepared) error {
	w, err := s.Create(ctx, p.Commit.Message.ID)
	if err != nil {
		return err
	}
	if _, err := w.Write(p.Content); err != nil {
		w.Abort()
		return err
	}
	return w.Commit(ctx, p.Commit)
}

// entering is a message on its way into the log.
type entering struct {
	s      *Store
	m      spool.Message
	own    bool
	ds     []spool.Delivery
	settle []spool.Settlement
	leases []*lease // of these
	key    *keySum  // of the claim, if there is one
	r      record
	result error
}

// entry makes the record of a message, of which meta keeps a part.
func (w *writer) entry(c *spool.Commit, own *ownFile, meta *[]byte) (*entering, error) {
	s := w.store
	e := &entering{
		s: s, m: c.Message, own: own != nil,
		ds: slices.Clone(c.Deliveries), settle: slices.Clone(c.Settle),
	}
	e.m.ID = w.id
	e.m.Size = int64(len(c.Prepend)+len(*w.buf)) + w.own.size
	for i := range e.ds {
		e.ds[i].ID = spool.DeliveryID{Message: w.id, Seq: i}
		if e.ds[i].Due.IsZero() {
			e.ds[i].Due = s.now()
		}
	}
	for i := range e.settle {
		s.setDue(&e.settle[i])
	}
	lists := eventLists(c.Events, e.settle)
	if err := checkEvents(lists...); err != nil {
		return nil, err
	}
	x := extras{events: entriesOf(lists...)}
	if c.Claim != nil {
		k, v := s.newClaim(w.id, c.Claim)
		e.key, x.claim = &k, appendClaim(nil, k, &v)
	}
	*meta = appendCommit((*meta)[:0], &e.m, own, e.ds, e.settle, x)
	e.r = record{
		kind: kindCommit, meta: *meta, extras: x, done: e.done,
		content: [2][]byte{c.Prepend, *w.buf}, contentSum: sum(c.Prepend, *w.buf),
	}
	if own == nil && e.r.contentSize() > maxContent || len(e.r.meta) > maxContent {
		return nil, errTooLong
	}
	return e, nil
}

// commit hands the record to the committer and waits for its fate.
func (e *entering) commit(ctx context.Context) error {
	s := e.s
	s.mu.Lock()
	for len(s.batch.buf) > batchLimit && s.open() == nil && s.failed == nil {
		s.room.Wait()
	}
	if err := e.admit(ctx); err != nil {
		s.mu.Unlock()
		return err
	}
	b := s.enqueue(&e.r, true)
	b.files = b.files || e.own
	s.mu.Unlock()
	<-b.done
	return e.result
}

// admit checks whether the message may be committed and takes hold of what it
// settles and of its key. The caller holds the lock.
func (e *entering) admit(ctx context.Context) (err error) {
	s := e.s
	if e.key != nil {
		if err := s.await(ctx, *e.key); err != nil {
			return err
		}
	}
	if err := s.open(); err != nil {
		return err
	}
	if s.failed != nil {
		return s.failed
	}
	if err := s.exists(e.m.ID); err != nil {
		return err
	}
	if !s.fits(int64(len(s.batch.buf))+e.r.size()) ||
		len(e.r.events) > 0 && s.events.overdue() || e.key != nil && s.claims.ledger.overdue() {
		return spool.ErrFull
	}
	if e.key != nil {
		if err := s.reserve(*e.key); err != nil {
			return err
		}
	}
	if e.leases, err = s.bind(e.settle); err != nil {
		e.decide()
		return err
	}
	s.committing[e.m.ID] = struct{}{}
	return nil
}

func (e *entering) decide() {
	if e.key != nil {
		e.s.decide(*e.key)
	}
}

// done enters the message in the index. The caller holds the lock.
func (e *entering) done(at loc, err error) {
	s, x := e.s, e.s.index
	delete(s.committing, e.m.ID)
	e.decide()
	if e.result = err; err != nil {
		s.unbind(e.leases)
		return
	}
	h := x.add(message{
		id: e.m.ID, size: e.m.Size, loc: at, own: e.own, content: uint32(e.r.contentSize()),
	})
	s.lives(at.segment, x.messages.get(h).record())
	for i := range e.ds {
		d := &e.ds[i]
		x.queue(x.addDelivery(h, brief{
			seq: i, key: packKey(d.Key), due: nanos(d.Due),
			standing: standingOf(d.Held, d.Crashes),
		}))
	}
	for i, l := range e.leases {
		s.settle(l, &e.settle[i])(at)
	}
}
