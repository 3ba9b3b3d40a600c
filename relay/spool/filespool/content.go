package filespool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/postern-mail/postern/relay/spool"
)

// Open reads the content of a message. The last Read answers ErrDamaged if the
// content is not what was written; content in the log is verified at once.
func (s *Store) Open(ctx context.Context, id spool.ID) (io.ReadCloser, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	_, m := s.index.find(id)
	if m == nil {
		s.mu.Unlock()
		return nil, spool.ErrNotFound
	}
	if l := s.lost[id]; l != nil {
		s.mu.Unlock()
		return nil, l.err()
	}
	at, n, own, record := m.loc, m.content, m.own, m.record()
	r := &ownContent{left: m.ownSize()}
	g := s.pin(at.segment)
	s.mu.Unlock()

	buf := s.buffers.Get().(*[]byte)
	h, b, err := g.read(at, headerSize+int64(at.meta)+int64(n), buf)
	if err == nil && sum(b[at.meta:]) != h.contentSum {
		err = ErrDamaged
	}
	if errors.Is(err, ErrDamaged) {
		s.spoil(id, "record of a message with a wrong checksum", func() string {
			return s.save(g, at.at(), at.at()+record)
		})
	}
	s.unpin(g)
	if err != nil {
		s.putBuffer(buf)
		return nil, err
	}
	c := content{store: s, buf: buf}
	c.reader.Reset(b[at.meta:])
	if !own {
		return &c, nil
	}
	r.content = c
	d := decoder{b: b[:at.meta]}
	r.want = d.head().own
	if err := r.open(id); err != nil {
		c.Close()
		return nil, err
	}
	return r, nil
}

// open opens the message's own file.
func (r *ownContent) open(id spool.ID) error {
	s := r.store
	f, err := s.fs.OpenFile(s.ownName(id), openRead)
	if errors.Is(err, fs.ErrNotExist) {
		if !s.has(id) {
			return spool.ErrNotFound // settled meanwhile
		}
		s.spoil(id, "the file of a message is missing", nil)
		return fmt.Errorf("%w: its file is missing", ErrDamaged)
	}
	if err != nil {
		return err
	}
	// Better known before the first byte is passed on than behind the last.
	size, err := f.Size()
	if err == nil && (r.want == nil || size < r.left) {
		s.spoil(id, "the file of a message is too short", nil)
		err = fmt.Errorf("%w: its file is too short", ErrDamaged)
	}
	if err != nil {
		f.Close()
		return err
	}
	r.id, r.file = id, f
	return nil
}

// has tells whether a message is in the store.
func (s *Store) has(id spool.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, m := s.index.find(id)
	return m != nil
}

// content is what was read of the log. It is an io.WriterTo.
type content struct {
	store  *Store
	buf    *[]byte
	reader bytes.Reader
}

func (c *content) Read(p []byte) (int, error)         { return c.reader.Read(p) }
func (c *content) WriteTo(w io.Writer) (int64, error) { return c.reader.WriteTo(w) }

func (c *content) Close() error {
	if c.buf != nil {
		c.reader.Reset(nil)
		c.store.putBuffer(c.buf)
		c.buf = nil
	}
	return nil
}

// ownContent is content with a file of its own, after what the log has of it.
type ownContent struct {
	content
	id   spool.ID
	file file
	want *ownFile
	sum  uint32
	left int64
}

func (r *ownContent) Read(p []byte) (int, error) {
	if r.buf == nil {
		return 0, fs.ErrClosed
	}
	if r.reader.Len() > 0 || len(p) == 0 {
		return r.reader.Read(p)
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	n, err := r.file.Read(p[:min(int64(len(p)), r.left)])
	r.sum = extend(r.sum, p[:n])
	r.left -= int64(n)
	if err == io.EOF && r.left > 0 || r.left == 0 && r.sum != r.want.sum {
		// The end must not look like one.
		r.left = max(r.left, 1)
		r.store.spoil(r.id, "the file of a message has a wrong checksum", nil)
		return 0, ErrDamaged
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// WriteTo writes what is left of the content to w.
func (r *ownContent) WriteTo(w io.Writer) (n int64, err error) {
	buf := r.store.buffers.Get().(*[]byte)
	defer r.store.putBuffer(buf)
	b := (*buf)[:cap(*buf)]
	for {
		k, err := r.Read(b)
		if k > 0 {
			k, err := w.Write(b[:k])
			n += int64(k)
			if err != nil {
				return n, err
			}
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

func (r *ownContent) Close() error {
	if r.buf == nil {
		return nil
	}
	r.content.Close()
	return r.file.Close()
}
