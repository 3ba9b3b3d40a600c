package pgspool

import (
	"context"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	openReaders = 2  // statements that read the beginnings of messages, at once
	openMost    = 32 // messages in one
)

// openings are messages that are to be read. They gather while others are read:
// the beginnings of many come with one statement.
type openings struct {
	mu      sync.Mutex
	waiting []*opening
	readers int
}

// opening is a message that somebody waits for.
type opening struct {
	r    *reader
	ctx  context.Context // until when
	done chan error      // takes one
}

// add puts a message in, and reports whether it needs another reader.
func (o *openings) add(m *opening) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = append(o.waiting, m)
	if o.readers == openReaders {
		return false
	}
	o.readers++
	return true
}

// take returns those that are to be read next. Without any the reader ends.
func (o *openings) take() []*opening {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(len(o.waiting), openMost)
	if n == 0 {
		o.waiting = nil
		o.readers--
		return nil
	}
	list := o.waiting[:n:n]
	o.waiting = o.waiting[n:]
	return list
}

// begin reads the beginning of a message, together with those of others. It
// waits no longer than its context, and readLimit.
func (s *Store) begin(r *reader) error {
	ctx, cancel := context.WithTimeout(r.ctx, readLimit)
	defer cancel()
	m := &opening{r: r, ctx: ctx, done: make(chan error, 1)}
	if s.openings.add(m) {
		go s.readOpenings()
	}
	select {
	case err := <-m.done:
		return err
	case <-ctx.Done():
		return failure(ctx.Err())
	}
}

func (s *Store) readOpenings() {
	for list := s.openings.take(); list != nil; list = s.openings.take() {
		s.readBeginnings(list)
	}
}

const beginningText = `
SELECT m.id, m.size, c.sum, c.data FROM @message m
LEFT JOIN @chunk c ON c.id = m.id AND c.n = 0
WHERE m.id = ANY ($1)`

// readBeginnings reads the first rows of messages and answers those who wait.
// If that fails, each is tried alone where one may be the cause. Those whom
// nobody waits for any more are left out.
func (s *Store) readBeginnings(list []*opening) {
	list = slices.DeleteFunc(list, func(m *opening) bool { return m.ctx.Err() != nil })
	if len(list) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(s.work, readLimit)
	defer cancel()
	byID := make(map[spool.ID][]*opening, len(list))
	ids := make([]spool.ID, 0, len(list))
	for _, m := range list {
		if byID[m.r.id] == nil {
			ids = append(ids, m.r.id)
		}
		byID[m.r.id] = append(byID[m.r.id], m)
	}
	err := s.ask(ctx, func(rows pgx.Rows) error {
		var id spool.ID
		var size int64
		var sum *int32
		var data []byte
		_, err := pgx.ForEachRow(rows, []any{&id, &size, &sum, &data}, func() error {
			for _, m := range byID[id] {
				m.done <- m.r.start(size, sum, data)
			}
			delete(byID, id)
			return nil
		})
		return err
	}, beginningText, ids)
	for id, left := range byID {
		for _, m := range left {
			switch {
			case err == nil:
				m.done <- spool.ErrNotFound
			case len(ids) > 1 && ofOne(err):
				s.readBeginnings([]*opening{m})
			default:
				m.done <- verdict(err)
			}
		}
		delete(byID, id)
	}
}
