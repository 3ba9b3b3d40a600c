package filespool

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

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
	own, err := w.syncOwn()
	if err != nil {
		return err
	}
	meta := w.store.metas.Get().(*[]byte)
	defer w.store.metas.Put(meta)
	e, err := w.entry(c, own, meta)
	if err != nil {
		return err
	}
	return e.commit(ctx)
}

// syncOwn makes the message's own file durable. Each session does so for its
// own, at the same time, and before the record that names the file is written.
func (w *writer) syncOwn() (*ownFile, error) {
	if w.file == nil {
		return nil, nil
	}
	if err := w.drain(); err != nil {
		return nil, err
	}
	if err := w.file.Sync(); err != nil {
		return nil, w.store.unsynced(err)
	}
	return &w.own, nil
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
