package memspool

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

var _ spool.Committer = (*Store)(nil)

// Create begins a message.
func (s *Store) Create(ctx context.Context, id spool.ID) (spool.Writer, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if s.messages[id] != nil {
		return nil, spool.ErrExists
	}
	return &writer{store: s, id: id}, nil
}

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

// Open reads the content of a message.
func (s *Store) Open(ctx context.Context, id spool.ID) (io.ReadCloser, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	m := s.messages[id]
	if m == nil {
		return nil, spool.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(m.content)), nil
}

type writer struct {
	store   *Store
	id      spool.ID
	content []byte
	done    bool
}

// reserve makes room for n more bytes of content. The caller holds the lock.
func (s *Store) reserve(n int) error {
	if s.closed {
		return spool.ErrClosed
	}
	if s.max >= 0 && s.bytes+int64(n) > s.max {
		return spool.ErrFull
	}
	s.bytes += int64(n)
	return nil
}

func (w *writer) Write(p []byte) (int, error) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	if w.done {
		return 0, spool.ErrClosed
	}
	if err := w.store.reserve(len(p)); err != nil {
		return 0, err
	}
	w.content = append(w.content, p...)
	return len(p), nil
}

func (w *writer) Abort() error {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	w.end()
	return nil
}

func (w *writer) end() {
	if !w.done {
		w.done = true
		w.store.bytes -= int64(len(w.content))
		w.content = nil
	}
}

// Commit checks everything before it changes anything.
func (w *writer) Commit(ctx context.Context, c spool.Commit) error {
	s := w.store
	if err := s.enter(ctx); err != nil {
		w.Abort()
		return err
	}
	defer s.mu.Unlock()
	if w.done {
		return spool.ErrClosed
	}
	defer w.end()
	if err := s.admit(w.id, &c); err != nil {
		return err
	}
	if err := s.reserve(len(c.Prepend)); err != nil {
		return err
	}
	// What was written is counted already: from here on it is the message's.
	content := slices.Concat(c.Prepend, w.content)
	w.content = nil
	s.add(w.id, &c, content)
	return nil
}

// admit reports whether a commit may be. The caller holds the lock.
func (s *Store) admit(id spool.ID, c *spool.Commit) error {
	if s.messages[id] != nil {
		return spool.ErrExists
	}
	if len(c.Deliveries) == 0 {
		return spool.ErrNoDelivery
	}
	if err := checkEvents(c.Events); err != nil {
		return err
	}
	seen := make(map[spool.DeliveryID]bool)
	for i := range c.Settle {
		t := &c.Settle[i]
		if err := checkEvents(t.Events); err != nil {
			return err
		}
		if s.held(t.ID, t.Token) == nil || seen[t.ID] {
			return spool.ErrLeaseLost
		}
		seen[t.ID] = true
	}
	return s.checkClaim(c.Claim)
}

// add makes a message visible, with all that belongs to the step. The caller
// holds the lock.
func (s *Store) add(id spool.ID, c *spool.Commit, content []byte) {
	m := &message{
		Message: c.Message, content: content, deliveries: make(map[int]*delivery),
	}
	m.ID, m.Size, m.Labels = id, int64(len(content)), maps.Clone(c.Message.Labels)
	s.messages[id] = m
	for i, d := range c.Deliveries {
		d.ID = spool.DeliveryID{Message: id, Seq: i}
		d.Recipients = slices.Clone(d.Recipients)
		if d.Due.IsZero() {
			d.Due = s.now()
		}
		m.deliveries[i] = &delivery{Delivery: d, message: m}
		s.wait(m.deliveries[i])
	}
	s.events.append(c.Events)
	for i := range c.Settle {
		t := &c.Settle[i]
		s.settle(s.held(t.ID, t.Token), t)
	}
	if c.Claim != nil {
		s.claims.add(c.Claim, id, time.Now())
	}
}
