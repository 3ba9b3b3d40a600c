package pgspool

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	chunkBytes = 256 << 10 // of a row of content
	// Short content is kept in rows that fit in a page of the table: they cost
	// half of what one costs that is compressed and cut into pieces of 2 KB.
	pageBytes  = 8000
	shortBytes = shortRows * pageBytes
	shortRows  = 2
	// bufferBytes of a message are kept in memory. What is longer goes to the
	// table while it arrives, without a connection held for it.
	bufferBytes = 2 * chunkBytes
	prependRoom = 1 << 10 // for what Commit puts in front
	maxReuse    = 64 << 10
)

var (
	errWriterEnd = errors.New("pgspool: write after Commit or Abort")

	_ spool.Committer = (*Store)(nil)
)

// Create begins a message. It does not ask the server: Commit tells of an id
// that is in use.
func (s *Store) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	return &writer{store: s, ctx: ctx, id: id, next: 1}, nil
}

// writer takes the content of a message.
type writer struct {
	store *Store
	ctx   context.Context // of Create, for what is written early
	id    spool.ID
	buf   []byte
	next  int      // number of the next row, if the content is staged
	stage spool.ID // what the rows are staged under, another for each writer
	size  int64
	err   error // of a Write: the content is not whole
	ended bool
}

// Write keeps content, and puts it into the table where there is much of it.
func (w *writer) Write(b []byte) (int, error) {
	if w.ended {
		return 0, errWriterEnd
	}
	if w.err != nil {
		return 0, w.err
	}
	if w.buf == nil {
		w.buf = w.store.buffer(len(b) + prependRoom)
	}
	w.buf = append(w.buf, b...)
	w.size += int64(len(b))
	for len(w.buf) >= bufferBytes {
		if w.err = w.put(w.ctx); w.err != nil {
			return 0, w.err
		}
	}
	return len(b), nil
}

func (w *writer) staged() bool { return !w.stage.IsZero() }

// put writes a row of content, which nobody sees before the commit.
func (w *writer) put(ctx context.Context) error {
	if err := w.store.enter(ctx); err != nil {
		return err
	}
	if !w.staged() {
		rand.Read(w.stage[:]) // never fails
	}
	c := chunk{n: w.next, data: w.buf[:chunkBytes]}
	if err := w.store.stage(ctx, w.stage, &c); err != nil {
		return err
	}
	w.next++
	w.buf = append(w.buf[:0], w.buf[chunkBytes:]...)
	return nil
}

// Commit makes the message visible.
func (w *writer) Commit(ctx context.Context, c spool.Commit) error {
	if w.ended {
		return errWriterEnd
	}
	w.ended = true
	err := w.commit(ctx, &c)
	if err != nil {
		w.forget()
	}
	return err
}

func (w *writer) commit(ctx context.Context, c *spool.Commit) error {
	if err := w.store.enter(ctx); err != nil {
		return err
	}
	if w.err != nil {
		return w.err
	}
	t, err := newStep(w.id, c, w.size)
	if err != nil {
		return err
	}
	m := t.message
	if m.stage = w.stage; w.staged() {
		m.chunks = cut(m.chunks, 0, c.Prepend, chunkBytes)
		m.chunks = cut(m.chunks, w.next, w.buf, chunkBytes)
	} else {
		w.buf = slices.Insert(w.buf, 0, c.Prepend...)
		m.chunks, m.content = rows(w.buf), w.buf
	}
	err = w.store.do(ctx, t)
	if !m.kept {
		w.store.reuse(w.buf)
	}
	w.buf = nil
	return err
}

// buffer is one for n bytes, without content.
func (s *Store) buffer(n int) []byte {
	if b, ok := s.buffers.Get().(*[]byte); ok && cap(*b) >= n {
		return (*b)[:0]
	}
	return make([]byte, 0, n)
}

// reuse takes a buffer that nobody looks at any more.
func (s *Store) reuse(b []byte) {
	if cap(b) <= maxReuse {
		s.buffers.Put(&b)
	}
}

// newStep checks a commit.
func newStep(id spool.ID, c *spool.Commit, size int64) (*step, error) {
	if len(c.Deliveries) == 0 {
		return nil, spool.ErrNoDelivery
	}
	if err := checkRecords(c.Events); err != nil {
		return nil, err
	}
	for i := range c.Settle {
		if err := checkRecords(c.Settle[i].Events); err != nil {
			return nil, err
		}
	}
	m := &newMessage{
		id: id, meta: appendMessage([]byte{}, &c.Message), size: size + int64(len(c.Prepend)),
		deliveries: c.Deliveries,
	}
	return &step{message: m, settle: c.Settle, events: c.Events, claim: c.Claim}, nil
}

// rows are those of content that is not staged.
func rows(content []byte) []chunk { return cut(nil, 0, content, rowBytes(content)) }

// rowBytes is the size of the rows of content that is not staged.
func rowBytes(content []byte) int {
	if len(content) <= shortBytes {
		return pageBytes
	}
	return chunkBytes
}

// cut appends content to rows of a size, the first of which has the number n.
func cut(rows []chunk, n int, content []byte, size int) []chunk {
	if len(content) == 0 {
		return rows
	}
	for part := range slices.Chunk(content, size) {
		rows = append(rows, chunk{n: n, data: part})
		n++
	}
	return rows
}

// Abort forgets what was written.
func (w *writer) Abort() error {
	if !w.ended {
		w.ended = true
		w.forget()
	}
	return nil
}

func (w *writer) forget() {
	w.buf = nil
	if w.staged() {
		w.store.unstage(w.stage)
	}
}

// Commit stores a message that was made ready elsewhere.
func (s *Store) Commit(ctx context.Context, p *spool.Prepared) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	t, err := newStep(p.Commit.Message.ID, &p.Commit, int64(len(p.Content)))
	if err != nil {
		return err
	}
	t.message.content = slices.Concat(p.Commit.Prepend, p.Content)
	t.message.chunks = rows(t.message.content)
	return s.do(ctx, t)
}
