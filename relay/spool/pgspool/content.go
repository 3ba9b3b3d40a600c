package pgspool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
)

const readLimit = 30 * time.Second // for a row of content

// Open reads the content of a message. Between two rows it holds no connection.
func (s *Store) Open(ctx context.Context, id spool.ID) (io.ReadCloser, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	r := &reader{store: s, ctx: ctx, id: id}
	if err := s.begin(r); err != nil {
		return nil, err
	}
	return r, nil
}

// reader reads content row by row.
type reader struct {
	store *Store
	ctx   context.Context
	id    spool.ID
	data  []byte // of the present row
	left  int64  // bytes, with those of the present row
	next  int
	rows  []contentRow // the first ones, as far as they were read with it
	err   error
}

// contentRow is a row of content that has been read.
type contentRow struct {
	n    int
	sum  int32
	data []byte
}

// start takes the length and the first rows. Without a row 0 the content begins
// with row 1, or is empty.
func (r *reader) start(size int64, rows []contentRow) error {
	r.left, r.rows = size, rows
	if len(rows) == 0 || rows[0].n > 0 {
		r.next = 1
		return nil
	}
	return r.take()
}

// take begins the next row, which has been read, and looks at it.
func (r *reader) take() error {
	row := r.rows[0]
	r.rows, r.next = r.rows[1:], row.n+1
	switch {
	case sumOf(row.data) != row.sum:
		return r.damaged(row.n, "has another checksum")
	case int64(len(row.data)) > r.left:
		return r.damaged(row.n, "is longer than the message")
	}
	r.data = row.data
	return nil
}

func (r *reader) damaged(n int, what string) error {
	return fmt.Errorf("%w: row %d of the content of %v %s", spool.ErrDamaged, n, r.id, what)
}

// Read reads content. It ends with io.EOF behind all that was written only.
func (r *reader) Read(b []byte) (int, error) {
	for len(r.data) == 0 && r.err == nil {
		r.fetch()
	}
	if len(r.data) == 0 {
		return 0, r.err
	}
	n := copy(b, r.data)
	r.data = r.data[n:]
	r.left -= int64(n)
	return n, nil
}

// fetch reads the next row.
func (r *reader) fetch() {
	if r.left == 0 {
		r.err = io.EOF
		return
	}
	if len(r.rows) == 0 {
		r.err = r.ask()
	}
	if r.err == nil {
		r.err = r.take()
	}
}

// ask asks for the next row.
func (r *reader) ask() error {
	if err := r.store.enter(r.ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.ctx, readLimit)
	defer cancel()
	row := contentRow{n: r.next}
	err := r.store.askOne(ctx, `
SELECT c.sum, c.data FROM @message m JOIN @chunk c ON c.id = m.id WHERE m.id = $1 AND c.n = $2`,
		[]any{r.id, r.next}, &row.sum, &row.data)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return r.missing(ctx)
	case err != nil:
		return failure(err)
	}
	r.rows = []contentRow{row}
	return nil
}

// missing tells a message that was finished meanwhile from one that is damaged.
func (r *reader) missing(ctx context.Context) error {
	var there bool
	err := r.store.row(
		ctx, r.store.pool, "SELECT EXISTS (SELECT FROM @message WHERE id = $1)", r.id,
	).
		Scan(&there)
	switch {
	case err != nil:
		return failure(err)
	case !there:
		return spool.ErrNotFound
	}
	return r.damaged(r.next, "is missing")
}

// WriteTo writes what is left, without a copy.
func (r *reader) WriteTo(w io.Writer) (total int64, err error) {
	for {
		for len(r.data) == 0 && r.err == nil {
			r.fetch()
		}
		if len(r.data) == 0 {
			if r.err == io.EOF {
				return total, nil
			}
			return total, r.err
		}
		n, err := w.Write(r.data)
		r.data = r.data[n:]
		r.left -= int64(n)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// Close ends reading.
func (r *reader) Close() error {
	r.data, r.rows, r.err = nil, nil, errors.New("pgspool: read after Close")
	return nil
}
