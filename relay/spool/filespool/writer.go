package filespool

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/postern-mail/postern/relay/spool"
)

// writer gathers content in memory up to the threshold and beyond it in a file.
type writer struct {
	store *Store
	id    spool.ID
	buf   *[]byte
	file  file
	own   ownFile
	taken int64 // of the store's room, for the file
	err   error // of a write: the content is not whole
	done  bool
}

// Create begins a message. It answers spool.ErrFull when the disk has little
// room left, see Options.MinFree.
func (s *Store) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	if ctx == nil {
		return nil, errNoContext
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(); err != nil {
		return nil, err
	}
	if s.failed != nil {
		return nil, s.failed
	}
	if err := s.exists(id); err != nil {
		return nil, err
	}
	if !s.fits(0) {
		return nil, spool.ErrFull
	}
	return &writer{store: s, id: id, buf: s.buffers.Get().(*[]byte)}, nil
}

// putBuffer returns a buffer for content, empty.
func (s *Store) putBuffer(b *[]byte) {
	*b = (*b)[:0]
	s.buffers.Put(b)
}

func (w *writer) Write(p []byte) (int, error) {
	if w.done {
		return 0, errDone
	}
	if w.err != nil {
		return 0, w.err
	}
	if len(*w.buf)+len(p) <= w.store.threshold {
		*w.buf = append(*w.buf, p...)
		return len(p), nil
	}
	if w.err = w.spill(p); w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// spill moves what has gathered to the message's own file, and p after it.
func (w *writer) spill(p []byte) error {
	s := w.store
	n := w.own.size + int64(len(*w.buf)+len(p)) - w.taken
	if err := w.take(n); err != nil {
		return err
	}
	if w.file == nil {
		f, err := s.fs.OpenFile(s.ownName(w.id), openNew)
		if errors.Is(err, fs.ErrExist) {
			return w.inTheWay()
		}
		if err != nil {
			return full(err)
		}
		w.file = f
	}
	if err := w.drain(); err != nil {
		return err
	}
	if len(p) <= w.store.threshold/2 {
		*w.buf = append(*w.buf, p...)
		return nil
	}
	return w.put(p)
}

// inTheWay answers for a file that has the message's name already: that of the
// message if it is in the store, or one that will be gone.
func (w *writer) inTheWay() error {
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.exists(w.id); err != nil {
		return err
	}
	return errInTheWay
}

// take reserves room for n more bytes of the file.
func (w *writer) take(n int64) error {
	s := w.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(); err != nil {
		return err
	}
	if !s.fits(n) {
		return spool.ErrFull
	}
	s.ownBytes += n
	w.taken += n
	return nil
}

func (w *writer) drain() error {
	err := w.put(*w.buf)
	*w.buf = (*w.buf)[:0]
	return err
}

func (w *writer) put(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if err := writeFull(w.file, p, w.own.size); err != nil {
		return full(err)
	}
	w.own.size += int64(len(p))
	w.own.sum = extend(w.own.sum, p)
	return nil
}

// end gives back what the writer holds. The file stays if it is the store's
// now.
func (w *writer) end(kept bool) {
	w.done = true
	w.store.putBuffer(w.buf)
	w.buf = nil
	size := w.own.size
	if w.file != nil {
		w.file.Close()
		if !kept {
			size = w.store.drop(w.id, w.own.size)
		}
	}
	if w.taken != size {
		w.store.mu.Lock()
		w.store.ownBytes += size - w.taken
		w.store.mu.Unlock()
	}
}

func (w *writer) Abort() error {
	if !w.done {
		w.end(false)
	}
	return nil
}

func (w *writer) Commit(ctx context.Context, c spool.Commit) error {
	if w.done {
		return errDone
	}
	err := w.commit(ctx, &c)
	// After a failed sync nobody knows whether the record is there; if it is,
	// so must be its file.
	w.end(err == nil || errors.Is(err, spool.ErrFailed))
	return err
}

func (w *writer) commit(ctx context.Context, c *spool.Commit) error {
	s := w.store
	if w.err != nil {
		return w.err
	}
	if ctx == nil {
		return errNoContext
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(c.Deliveries) == 0 {
		return spool.ErrNoDelivery
	}
	// Each session syncs its own file: they do so at the same time, and before
	// the record that names the file is written.
	var own *ownFile
	if w.file != nil {
		if err := w.drain(); err != nil {
			return err
		}
		if err := w.file.Sync(); err != nil {
			return s.unsynced(err)
		}
		own = &w.own
	}
	m := c.Message
	m.ID = w.id
	m.Size = int64(len(c.Prepend)+len(*w.buf)) + w.own.size
	ds := slices.Clone(c.Deliveries)
	for i := range ds {
		ds[i].ID = spool.DeliveryID{Message: w.id, Seq: i}
	}
	settle := slices.Clone(c.Settle)
	for i := range settle {
		s.setDue(&settle[i])
	}
	lists := eventLists(c.Events, settle)
	if err := checkEvents(lists...); err != nil {
		return err
	}
	x := extras{events: entriesOf(lists...)}
	var key *keySum
	if c.Claim != nil {
		k, v := s.newClaim(w.id, c.Claim)
		key, x.claim = &k, appendClaim(nil, k, &v)
	}
	meta := s.metas.Get().(*[]byte)
	defer s.metas.Put(meta)
	*meta = appendCommit((*meta)[:0], &m, own, ds, settle, x)
	r := record{
		kind: kindCommit, meta: *meta, extras: x,
		content: [2][]byte{c.Prepend, *w.buf}, contentSum: sum(c.Prepend, *w.buf),
	}
	if own == nil && len(r.content[0])+len(r.content[1]) > maxContent || len(r.meta) > maxContent {
		return errTooLong
	}

	s.mu.Lock()
	for len(s.batch.buf) > batchLimit && s.open() == nil && s.failed == nil {
		s.room.Wait()
	}
	if key != nil {
		if err := s.await(ctx, *key); err != nil {
			s.mu.Unlock()
			return err
		}
	}
	leases, err := s.admit(w.id, settle, &r, key)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	var result error
	r.done = func(at loc, err error) {
		delete(s.committing, w.id)
		if key != nil {
			s.decide(*key)
		}
		if result = err; err != nil {
			s.unbind(leases)
			return
		}
		h := s.index.add(message{
			id: w.id, size: m.Size, loc: at, own: own != nil,
			content: uint32(len(r.content[0]) + len(r.content[1])),
		})
		s.lives(at.segment, s.index.messages.get(h).record())
		for i := range ds {
			d := &ds[i]
			s.index.queue(
				s.index.addDelivery(h, brief{
					seq: i, key: []byte(packKey(d.Key)), due: nanos(d.Due), held: d.Held,
				}),
			)
		}
		for i, l := range leases {
			s.settle(l, &settle[i])(at)
		}
	}
	b := s.enqueue(&r, true)
	b.files = b.files || own != nil
	s.mu.Unlock()
	<-b.done
	return result
}

// admit checks whether a message may be committed and takes hold of what it
// settles. The caller holds the lock.
func (s *Store) admit(
	id spool.ID, settle []spool.Settlement, r *record, key *keySum,
) ([]*lease, error) {
	if err := s.open(); err != nil {
		return nil, err
	}
	if s.failed != nil {
		return nil, s.failed
	}
	if err := s.exists(id); err != nil {
		return nil, err
	}
	if !s.fits(int64(len(s.batch.buf))+r.size()) ||
		len(r.events) > 0 && s.events.overdue() || key != nil && s.claims.ledger.overdue() {
		return nil, spool.ErrFull
	}
	if key != nil {
		if err := s.reserve(*key); err != nil {
			return nil, err
		}
	}
	leases, err := s.bind(settle)
	if err != nil {
		if key != nil {
			s.decide(*key)
		}
		return nil, err
	}
	s.committing[id] = struct{}{}
	return leases, nil
}

func (s *Store) exists(id spool.ID) error {
	if _, m := s.index.find(id); m != nil {
		return spool.ErrExists
	}
	if _, ok := s.committing[id]; ok {
		return spool.ErrExists
	}
	return nil
}

func (s *Store) ownName(id spool.ID) string { return filepath.Join(s.files, id.String()) }
