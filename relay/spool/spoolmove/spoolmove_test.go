package spoolmove_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/memspool"
	"github.com/postern-mail/postern/relay/spool/spoolmove"
)

func openFiles(t testing.TB, dir string) *filespool.Store {
	t.Helper()
	s, err := filespool.Open(dir, &filespool.Options{InsecureNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestEverythingIsMoved compares what the target holds with what the source
// held.
func TestEverythingIsMoved(t *testing.T) {
	t.Parallel()
	mem := func(*testing.T) store { return memspool.New(nil) }
	file := func(t *testing.T) store { return openFiles(t, t.TempDir()) }
	for name, c := range map[string]struct{ from, to func(*testing.T) store }{
		"memory to files": {mem, file},
		"files to memory": {file, mem},
		"files to files":  {file, file},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, to := c.from(t), c.to(t)
			fill(t, from)
			want := queue(t, from)
			var told spoolmove.Counts
			got, err := spoolmove.Move(t.Context(), from, to, &spoolmove.Options{
				Progress: func(c spoolmove.Counts) { told = c },
			})
			if err != nil {
				t.Fatal(err)
			}
			if told != got || got.Messages != 4 || got.Deliveries != 5 || got.Bytes < 300_000 {
				t.Errorf("moved %+v, told last %+v", got, told)
			}
			if have := queue(t, to); !slices.Equal(have, want) {
				t.Errorf("the target has\n%.3000s\nwant\n%.3000s",
					strings.Join(have, "\n"), strings.Join(want, "\n"))
			}
			if left := queue(t, from); len(left) != 0 {
				t.Errorf("left in the source: %.1000q", left)
			}
		})
	}
}

// TestManyMessages moves more than a page, with messages that lie across the
// end of one.
func TestManyMessages(t *testing.T) {
	t.Parallel()
	from, target := memspool.New(nil), memspool.New(nil)
	for range 777 {
		put(t, from, spool.Message{}, "x", to("a", "a"), to("b", "b"), to("c", "c"))
	}
	got, err := spoolmove.Move(t.Context(), from, target, nil)
	if err != nil || got.Messages != 777 || got.Deliveries != 3*777 {
		t.Fatalf("moved %+v, %v", got, err)
	}
	if n := len(queue(t, target)); n != 3*777 {
		t.Errorf("%d deliveries in the target", n)
	}
}

// TestLargeContentIsStreamed moves more than it takes memory for.
func TestLargeContentIsStreamed(t *testing.T) {
	from, target := openFiles(t, t.TempDir()), openFiles(t, t.TempDir())
	w, err := from.Create(t.Context(), spool.NewID(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	for range 64 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	c := spool.Commit{Deliveries: []spool.Delivery{to("a", "a@example.org")}}
	if err := w.Commit(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	got, err := spoolmove.Move(t.Context(), from, target, nil)
	runtime.ReadMemStats(&after)
	if err != nil || got.Bytes != 64<<20 {
		t.Fatalf("moved %+v, %v", got, err)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 8<<20 {
		t.Errorf("took %d bytes", took)
	}
}

// TestHeldIsLeft leaves messages of which somebody holds a delivery, all of it,
// and waits for the end of leases once.
func TestHeldIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, target := memspool.New(nil), memspool.New(nil)
		take := func(id spool.ID, ttl time.Duration) {
			if _, err := from.Take(
				t.Context(), spool.DeliveryID{Message: id, Seq: 1}, ttl,
			); err != nil {
				t.Fatal(err)
			}
		}
		take(put(t, from, spool.Message{}, "1", to("a", "a"), to("b", "b")), time.Hour)
		take(put(t, from, spool.Message{}, "2", to("a", "a"), to("b", "b")), time.Minute)
		put(t, from, spool.Message{}, "3", to("a", "a"))
		begin := time.Now()
		got, err := spoolmove.Move(t.Context(), from, target, nil)
		if err != nil || got.Messages != 2 || got.Held != 1 || time.Since(begin) > 2*time.Minute {
			t.Fatalf("moved %+v, %v, in %v", got, err, time.Since(begin))
		}
		time.Sleep(time.Hour)
		if n := len(queue(t, from)); n != 2 {
			t.Errorf("%d deliveries left, want 2", n)
		}
		if got, err = spoolmove.Move(t.Context(), from, target, nil); err != nil || got.Held != 0 {
			t.Fatalf("moved %+v, %v", got, err)
		}
		if n := len(queue(t, target)); n != 5 {
			t.Errorf("%d deliveries moved, want 5", n)
		}
	})
}

// spoiled is a store in which a message is damaged.
type spoiled struct {
	store
	content, envelope spool.ID
}

func (s spoiled) Open(ctx context.Context, id spool.ID) (io.ReadCloser, error) {
	if id == s.content {
		return io.NopCloser(io.MultiReader(strings.NewReader("x"), damage{})), nil
	}
	return s.store.Open(ctx, id)
}

func (s spoiled) Take(
	ctx context.Context, id spool.DeliveryID, ttl time.Duration,
) (spool.Lease, error) {
	l, err := s.store.Take(ctx, id, ttl)
	if id.Message == s.envelope {
		l.Damaged = spool.ErrDamaged
	}
	return l, err
}

type damage struct{}

func (damage) Read([]byte) (int, error) { return 0, spool.ErrDamaged }

// TestDamagedIsLeft moves what is whole.
func TestDamagedIsLeft(t *testing.T) {
	t.Parallel()
	from, target := memspool.New(nil), memspool.New(nil)
	s := spoiled{store: from}
	s.content = put(t, from, spool.Message{}, "1", to("a", "a"), to("b", "b"))
	s.envelope = put(t, from, spool.Message{}, "2", to("a", "a"))
	put(t, from, spool.Message{}, "3", to("a", "a"))
	got, err := spoolmove.Move(t.Context(), s, target, nil)
	if err != nil || got.Messages != 1 || got.Damaged != 2 {
		t.Fatalf("moved %+v, %v", got, err)
	}
	if n := len(queue(t, from)); n != 3 {
		t.Errorf("%d deliveries left, want 3", n)
	}
	if n := len(queue(t, target)); n != 1 {
		t.Errorf("%d deliveries moved, want 1", n)
	}
}

// TestFullTarget loses nothing, and goes on when there is room.
func TestFullTarget(t *testing.T) {
	t.Parallel()
	from := memspool.New(nil)
	for range 50 {
		put(t, from, spool.Message{}, strings.Repeat("x", 100), to("a", "a"))
	}
	target := memspool.New(&memspool.Options{MaxBytes: 3000})
	got, err := spoolmove.Move(t.Context(), from, target, nil)
	if !errors.Is(err, spool.ErrFull) {
		t.Fatalf("error is %v, want ErrFull", err)
	}
	if n := len(queue(t, from)); got.Messages == 0 || n != 50-int(got.Messages) ||
		n != 50-len(queue(t, target)) {
		t.Errorf("moved %+v, %d are left", got, n)
	}
}

// TestServedSource refuses a source that a relay runs on.
func TestServedSource(t *testing.T) {
	t.Parallel()
	from, target := memspool.New(nil), memspool.New(nil)
	put(t, from, spool.Message{}, "1", to("a", "a"))
	beat := func(s *memspool.Store, group string, ttl time.Duration) {
		t.Helper()
		if _, _, err := s.Beat(t.Context(), group, "node", ttl); err != nil {
			t.Fatal(err)
		}
	}
	beat(target, "relay", time.Hour)
	beat(from, "follow/orders", time.Hour)
	beat(from, "relay", time.Hour)
	got, err := spoolmove.Move(t.Context(), from, target, nil)
	if !errors.Is(err, spoolmove.ErrServed) || len(queue(t, target)) != 0 {
		t.Fatalf("moved %+v, %v", got, err)
	}
	beat(from, "relay", 0)
	if got, err = spoolmove.Move(t.Context(), from, target, nil); err != nil || got.Messages != 1 {
		t.Fatalf("moved %+v, %v", got, err)
	}
}

// bare is a store without its optional parts.
type bare struct{ spool.Store }

// TestPartsAreNeeded refuses stores that a move is not possible or not safe
// with.
func TestPartsAreNeeded(t *testing.T) {
	t.Parallel()
	s := memspool.New(nil)
	if _, err := spoolmove.Move(t.Context(), bare{s}, s, nil); err == nil {
		t.Error("moved from a store without a list")
	}
	if _, err := spoolmove.Move(t.Context(), s, bare{s}, nil); err == nil {
		t.Error("moved to a store without keys")
	}
}

// TestEndedContext stops, and gives back what it holds.
func TestEndedContext(t *testing.T) {
	t.Parallel()
	from, target := memspool.New(nil), memspool.New(nil)
	for range 100 {
		put(t, from, spool.Message{}, "x", to("a", "a"))
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := spoolmove.Move(ctx, from, target, &spoolmove.Options{
		Progress: func(c spoolmove.Counts) {
			if c.Messages == 10 {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error is %v", err)
	}
	if a, b := len(queue(t, from)), len(queue(t, target)); a+b != 100 || a == 0 {
		t.Errorf("%d left, %d moved", a, b)
	}
}
