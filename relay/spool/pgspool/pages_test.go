package pgspool_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// TestRowsOfContent has content of lengths about those at which it is cut, in a
// transaction of the application and without one, and in one row, as the
// version before wrote it: it comes back.
func TestRowsOfContent(t *testing.T) {
	t.Parallel()
	const page, short, long = pgspool.PageBytes, pgspool.ShortBytes, pgspool.ChunkBytes
	url := server.Database(t)
	s, pool := open(t, url), connect(t, url)
	for _, c := range []struct{ size, rows int }{
		{1, 1}, {page - 1, 1}, {page, 1}, {page + 1, 2}, {short, 2}, {short + 1, 1}, {long, 1},
		{long + 1, 2}, {2*long - 1, 2},
	} {
		content := strings.Repeat("0123456789abcdefg", c.size/17+1)[:c.size]
		for name, put := range map[string]func() (id spool.ID, rows int){
			"commit": func() (spool.ID, int) { return message(t, s, "a", content), c.rows },
			"transaction": func() (spool.ID, int) {
				return inTransaction(t, s, pool, content), c.rows
			},
			"before": func() (spool.ID, int) {
				id := message(t, s, "a", content[:1])
				inOneRow(t, pool, id, content)
				return id, 1
			},
		} {
			t.Run(fmt.Sprint(name, " of ", c.size), func(t *testing.T) {
				id, want := put()
				n := 0
				err := pool.QueryRow(t.Context(),
					"SELECT count(*) FROM postern.chunk WHERE id = $1", id).Scan(&n)
				if err != nil || n != want {
					t.Errorf("%d rows, want %d: %v", n, want, err)
				}
				if got, err := read(t.Context(), s, id); err != nil || got != content {
					t.Errorf("%d bytes came back, %v", len(got), err)
				}
			})
		}
	}
}

// inTransaction commits a message in a transaction of the application.
func inTransaction(t *testing.T, s *pgspool.Store, pool *pgxpool.Pool, content string) spool.ID {
	p := prepared("a", content)
	p.Commit.Prepend = nil
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		return s.Tx(tx).Commit(t.Context(), p)
	})
	ok(t, err)
	return p.Commit.Message.ID
}

// inOneRow gives a message other content, in one row.
func inOneRow(t *testing.T, pool *pgxpool.Pool, id spool.ID, content string) {
	ctx, data := t.Context(), []byte(content)
	_, err := pool.Exec(ctx, "UPDATE postern.message SET size = $2 WHERE id = $1", id, len(data))
	ok(t, err)
	_, err = pool.Exec(ctx, "UPDATE postern.chunk SET data = $2, sum = $3 WHERE id = $1",
		id, data, pgspool.SumOf(data))
	ok(t, err)
}
