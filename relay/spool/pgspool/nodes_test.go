package pgspool_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
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
