package pgspool_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// TestOneIsFirst has a member join while another is joining and is not
// committed yet: it waits, and is not the first, too.
func TestOneIsFirst(t *testing.T) {
	url := server.Database(t)
	s, pool := open(t, url), connect(t, url)
	joining := begin(t, pool, pgx.TxOptions{})
	_, err := joining.Exec(t.Context(), "SELECT postern.beat('g', 'a', interval '1 hour', 10)")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan int)
	go func() {
		rank, _, err := s.Beat(t.Context(), "g", "b", time.Hour)
		if err != nil {
			t.Error(err)
		}
		done <- rank
	}()
	select {
	case rank := <-done:
		t.Fatalf("b is %d already", rank)
	case <-time.After(300 * time.Millisecond):
	}
	if err := joining.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rank := <-done; rank != 1 {
		t.Fatalf("b is %d, want 1", rank)
	}
}

// TestTooManyMembers refuses members, and those that there are go on.
func TestTooManyMembers(t *testing.T) {
	url := server.Database(t)
	s, pool := open(t, url), connect(t, url)
	_, err := pool.Exec(t.Context(), `
INSERT INTO postern.node (team, member, ends)
SELECT 'g', n, now() + interval '1 hour' FROM generate_series(1, 1000) n`)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Beat(t.Context(), "h", "a", time.Hour); err == nil {
		t.Fatal("a member too many was taken")
	}
	if rank, live, err := s.Beat(t.Context(), "g", "7", time.Hour); rank != 6 || live != 1000 ||
		err != nil {
		t.Fatal(rank, live, err)
	}
}

// TestIsolation refuses to give places and ranks by what may be old.
func TestIsolation(t *testing.T) {
	url := server.Database(t)
	pool := connect(t, url)
	s, err := pgspool.Open(t.Context(), pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	statements(
		t, pool, "ALTER ROLE CURRENT_USER SET default_transaction_isolation = 'repeatable read'",
	)
	pool.Reset() // its sessions begin anew
	commitRecords(t, s, record("1"))
	_, err = s.Records(t.Context(), 0, 1)
	_, _, beatErr := s.Beat(t.Context(), "g", "a", time.Hour)
	for _, err := range []error{err, beatErr} {
		if err == nil || !strings.Contains(err.Error(), "read committed") {
			t.Error(err)
		}
	}
	statements(t, pool, "ALTER ROLE CURRENT_USER RESET default_transaction_isolation")
	f := follower{Store: open(t, url)}
	f.follow(t, 1)
}
