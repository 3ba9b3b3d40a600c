package pgspool_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// write begins a message with much content of one octet.
func write(t *testing.T, s *pgspool.Store, id spool.ID, octet byte) spool.Writer {
	t.Helper()
	w, err := s.Create(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(bytes.Repeat([]byte{octet}, 1<<20+1)); err != nil {
		t.Fatal(err)
	}
	return w
}

func commit(t *testing.T, w spool.Writer) error {
	t.Helper()
	return w.Commit(t.Context(), spool.Commit{
		Prepend: []byte("!"), Deliveries: []spool.Delivery{{Key: spool.Key{Route: "a"}}},
	})
}

func wantContent(t *testing.T, s *pgspool.Store, id spool.ID, octet byte) {
	t.Helper()
	r, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	want := append([]byte("!"), bytes.Repeat([]byte{octet}, 1<<20+1)...)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d octets of %q, %v", len(got), got[1], err)
	}
}

// TestStagedContentOfTheDead writes a message of which a process that died has
// left a part, and keeps it when that part is swept.
func TestStagedContentOfTheDead(t *testing.T) {
	database := server.Database(t)
	s := open(t, database)
	id := spool.NewID(time.Now())
	write(t, s, id, 'a')
	if err := commit(t, write(t, s, id, 'b')); err != nil {
		t.Fatal(err)
	}
	wantContent(t, s, id, 'b')
	if n := sweepStaged(t, database); n != 1 {
		t.Errorf("%d staged after the commit, want that of the dead", n)
	}
	wantContent(t, s, id, 'b')
}

// TestStagedTwice has two write the same message: the first to commit has it.
func TestStagedTwice(t *testing.T) {
	database := server.Database(t)
	s := open(t, database)
	id := spool.NewID(time.Now())
	a, b := write(t, s, id, 'a'), write(t, s, id, 'b')
	if err := commit(t, b); err != nil {
		t.Fatal(err)
	}
	if err := commit(t, a); !errors.Is(err, spool.ErrExists) {
		t.Errorf("error is %v, want ErrExists", err)
	}
	wantContent(t, s, id, 'b')
	if n := sweepStaged(t, database); n != 0 {
		t.Errorf("%d are staged", n)
	}
}

// TestStagedAndSwept commits nothing whose content is gone.
func TestStagedAndSwept(t *testing.T) {
	database := server.Database(t)
	s := open(t, database)
	id := spool.NewID(time.Now())
	w, more := write(t, s, id, 'a'), write(t, s, id, 'b')
	if n := sweepStaged(t, database); n != 2 {
		t.Errorf("%d are staged, want 2", n)
	}
	if err := commit(t, w); err == nil || errors.Is(err, spool.ErrExists) {
		t.Errorf("error is %v", err)
	}
	if _, err := more.Write(make([]byte, 1<<20)); err == nil {
		t.Error("content is added to what is gone")
	}
	if _, err := s.Open(t.Context(), id); !errors.Is(err, spool.ErrNotFound) {
		t.Errorf("error is %v, want ErrNotFound", err)
	}
}

// sweepStaged does what the store does after an hour.
func sweepStaged(t *testing.T, database string) int64 {
	t.Helper()
	c, err := pgx.Connect(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	tag, err := c.Exec(t.Context(), "DELETE FROM postern.chunk WHERE id IN "+
		"(SELECT id FROM postern.staged)")
	if err == nil {
		tag, err = c.Exec(t.Context(), "DELETE FROM postern.staged")
	}
	if err != nil {
		t.Fatal(err)
	}
	return tag.RowsAffected()
}
