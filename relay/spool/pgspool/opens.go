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

// beginningText reads all of short messages, and the first row of others.
const beginningText = `
SELECT m.id, m.size, c.n, c.sum, c.data FROM @message m
LEFT JOIN LATERAL (
	SELECT n, sum, data FROM @chunk
	WHERE id = m.id AND n < CASE WHEN m.size <= $2 THEN $3 ELSE 1 END OFFSET 0) c ON true
WHERE m.id = ANY ($1)`

// beginning is what was read of a message.
type beginning struct {
	size int64
	rows []contentRow
}

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
	found, err := s.beginningsOf(ctx, ids)
	for id, all := range byID {
		b, ok := found[id]
		for _, m := range all {
			switch {
			case ok:
				m.done <- m.r.start(b.size, b.rows)
			case err == nil:
				m.done <- spool.ErrNotFound
			case len(ids) > 1 && ofOne(err):
				s.readBeginnings([]*opening{m})
			default:
				m.done <- verdict(err)
			}
		}
	}
}

func (s *Store) beginningsOf(
	ctx context.Context, ids []spool.ID,
) (map[spool.ID]*beginning, error) {
	found := make(map[spool.ID]*beginning, len(ids))
	err := s.ask(ctx, func(rows pgx.Rows) error {
		var id spool.ID
		var size int64
		var n, sum *int32
		var data []byte
		_, err := pgx.ForEachRow(rows, []any{&id, &size, &n, &sum, &data}, func() error {
			b := found[id]
			if b == nil {
				b = &beginning{size: size}
				found[id] = b
			}
			if n != nil && sum != nil {
				b.rows = append(b.rows, contentRow{int(*n), *sum, data})
			}
			return nil
		})
		return err
	}, beginningText, ids, int64(shortBytes), int32(shortRows))
	for _, b := range found {
		slices.SortFunc(b.rows, func(x, y contentRow) int { return x.n - y.n })
	}
	return found, err
}
