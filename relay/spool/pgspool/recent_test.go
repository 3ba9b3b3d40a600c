package pgspool_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// withRecent opens a store, with what it is to keep in memory.
func withRecent(t *testing.T, bytes int) *pgspool.Store {
	t.Helper()
	s, err := pgspool.Open(t.Context(), connect(t, server.Database(t)),
		&pgspool.Options{RecentBytes: bytes})
	ok(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// TestRecallUntilTheEnd: content that was committed is in memory until its
// message has ended, and stays as it is while others are committed.
func TestRecallUntilTheEnd(t *testing.T) {
	s := withRecent(t, 0)
	id := message(t, s, "a", "hello")
	got := s.Recall(id)
	if string(got) != "hello" {
		t.Errorf("%q is recalled", got)
	}
	if got := s.Recall(spool.ID{}); got != nil {
		t.Errorf("%q is recalled of no message", got)
	}
	l := leaseOne(t, s, "a")
	ok(t, s.Settle(t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token}))
	if got := s.Recall(id); got != nil {
		t.Errorf("%q is recalled when it has ended", got)
	}
	for range 20 {
		message(t, s, "b", "other")
	}
	if string(got) != "hello" {
		t.Errorf("somebody has written %q to it", got)
	}
}

// TestRecallIsBounded: the last messages are kept, and none that is long.
func TestRecallIsBounded(t *testing.T) {
	for _, c := range []struct {
		name        string
		bytes, size int
		messages    int
		least, most int // of those from memory
	}{
		{"by default", 0, 10_000, 20, 20, 20},
		{"a few", 160_000, 10_000, 20, 5, 16},
		{"long ones", 160_000, 30_000, 5, 0, 0},
		{"none", -1, 10, 5, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := withRecent(t, c.bytes)
			n, last := 0, false
			want := make(map[spool.ID]string)
			for i := range c.messages {
				content := strings.Repeat(fmt.Sprintf("message %02d", i), c.size/10)
				id := message(t, s, "a", content)
				want[id] = content
				last = s.Recall(id) != nil
			}
			for id, content := range want {
				if got := s.Recall(id); got != nil {
					n++
					if string(got) != content {
						t.Errorf("%d bytes are recalled that are others", len(got))
					}
				}
			}
			if n < c.least || n > c.most || last != (n > 0) {
				t.Errorf("%d of %d messages are in memory; the last: %v", n, c.messages, last)
			}
		})
	}
}

// TestRecallOfAnotherNode: who has not committed a message reads it.
func TestRecallOfAnotherNode(t *testing.T) {
	pool := connect(t, server.Database(t))
	s, other := openOn(t, pool), openOn(t, pool)
	id := message(t, s, "a", "hello")
	if s.Recall(id) == nil || other.Recall(id) != nil {
		t.Error("another node has it in memory, or this one has not")
	}
	leaseOne(t, other, "a")
	if got, err := read(t.Context(), other, id); got != "hello" || err != nil {
		t.Errorf("it reads %q, %v", got, err)
	}
}
