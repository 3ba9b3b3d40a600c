package pgspool_test

import (
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// newest puts n events into the log and returns their places.
func newest(t *testing.T, s *pgspool.Store, begin application, n int) (at []spool.Cursor) {
	t.Helper()
	for range n {
		tx := begin(t, "")
		ok(t, tx.Commit(t.Context(), prepared("a", "x")))
		ok(t, tx.commit())
		lease(t, s)
	}
	for after := spool.Cursor(0); len(at) < n; {
		more := s.Appended()
		list, err := s.Records(t.Context(), after, n)
		ok(t, err)
		for _, l := range list {
			after, at = l.At, append(at, l.At)
		}
		if len(list) > 0 {
			continue
		}
		select {
		case <-more:
		case <-time.After(time.Minute):
			t.Fatalf("%d records, want %d", len(at), n)
		}
	}
	return at
}

// Two transactions that go by the same place do one after the other, and the
// second learns of the first.
func TestTxCursorIsHeld(t *testing.T) {
	applications(t, func(t *testing.T, s *pgspool.Store, begin application) {
		ctx, at := t.Context(), newest(t, s, begin, 2)
		first, second, third := begin(t, ""), begin(t, ""), begin(t, "")
		place, err := first.Cursor(ctx, "c")
		ok(t, err)
		if place != 0 {
			t.Fatalf("a new consumer is at %d", place)
		}
		ok(t, first.Advance(ctx, "c", at[0]))
		found := make(chan spool.Cursor, 1)
		go func() {
			place, err := second.Cursor(ctx, "c")
			if err != nil {
				t.Error(err)
			}
			found <- place
		}()
		select {
		case place := <-found:
			t.Fatalf("the second is at %d while the first goes on", place)
		case <-time.After(200 * time.Millisecond):
		}
		_, err = third.Cursor(ctx, "another") // does not wait
		ok(t, err)
		ok(t, first.commit())
		if place := <-found; place != at[0] {
			t.Fatalf("then the second is at %d, want %d", place, at[0])
		}
		ok(t, second.Advance(ctx, "c", at[1]))
		ok(t, second.rollback())
		place, err = s.Cursor(ctx, "c")
		ok(t, err)
		if place != at[0] {
			t.Fatalf("the place is %d, want %d", place, at[0])
		}
	})
}
