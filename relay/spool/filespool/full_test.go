package filespool_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

func TestFailedSync(t *testing.T) {
	t.Parallel()
	disk := filespool.NewDisk(1)
	s := openDisk(t, t.TempDir(), disk)
	now := time.Now()
	first := spool.NewID(now)
	put(t, s, first, []byte("content"), deliveries("a", now))
	l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	broken := true
	disk.Fault(func(op, _ string) error {
		if op == "sync" && broken {
			broken = false
			return syscall.EIO
		}
		return nil
	})
	for range 2 {
		// The second time the disk says that all is well. It is not.
		if err := tryPut(
			t, s, spool.NewID(now), nil, deliveries("a", now),
		); !errors.Is(err, spool.ErrFailed) {
			t.Fatalf("error is %v, want ErrFailed", err)
		}
	}
	if _, err := s.Lease(
		t.Context(), spool.LeaseRequest{Max: 1},
	); !errors.Is(err, spool.ErrFailed) {
		t.Fatalf("error is %v, want ErrFailed", err)
	}
	r, err := s.Open(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := s.Settle(
		t.Context(), spool.Settlement{ID: l.Leases[0].Delivery.ID, Token: l.Leases[0].Token},
	); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); !errors.Is(err, spool.ErrFailed) {
		t.Fatalf("error is %v, want ErrFailed", err)
	}
}

// TestNoRoom fills the disk. Commits fail, settlements are kept, and all goes
// on when there is room.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	disk := filespool.NewDisk(1)
	dir := t.TempDir()
	s := openDisk(t, dir, disk)
	now := time.Now()
	for range 3 {
		id := spool.NewID(now)
		put(t, s, id, []byte(contents(id, length(id))), deliveries("a", now))
	}
	writes := 0
	disk.Fault(func(op, name string) error {
		if op != "write" {
			return nil
		}
		if writes++; writes%2 == 0 {
			return fmt.Errorf("%w: %w", filespool.ErrAfter, syscall.ENOSPC)
		}
		return syscall.ENOSPC
	})
	l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 2, TTL: time.Minute})
	if err != nil || len(l.Leases) != 2 {
		t.Fatalf("leased %v, %v", l, err)
	}
	finish, again := l.Leases[0], l.Leases[1]
	if err := s.Settle(
		t.Context(), spool.Settlement{ID: finish.Delivery.ID, Token: finish.Token},
	); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(t.Context(), spool.Settlement{
		ID: again.Delivery.ID, Token: again.Token, Due: now, Attempts: 5,
		Remaining: []spool.Recipient{{Address: "left@example.org"}},
	}); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if err := tryPut(
			t, s, spool.NewID(now), []byte("content"), deliveries("b", now),
		); !errors.Is(err, spool.ErrFull) {
			t.Fatalf("error is %v, want ErrFull", err)
		}
	}
	// What could not be written is known all the same.
	l, err = s.Lease(t.Context(), spool.LeaseRequest{Max: 3, TTL: time.Minute})
	if err != nil || len(l.Leases) != 2 ||
		l.Leases[0].Delivery.Attempts+l.Leases[1].Delivery.Attempts != 5 {
		t.Fatalf("leased %+v, %v", l, err)
	}
	disk.Fault(nil)
	id := spool.NewID(now)
	put(t, s, id, []byte(contents(id, length(id))), deliveries("c", now))
	disk.Crash()
	s.Close()

	s = openDisk(t, dir, disk)
	l, err = s.Lease(t.Context(), spool.LeaseRequest{Max: 10, TTL: time.Minute})
	if err != nil || len(l.Leases) != 3 || len(s.Recovery().Damage) != 0 {
		t.Fatalf("leased %+v, %v; recovery %+v", l, err, s.Recovery())
	}
	for _, l := range l.Leases {
		if l.Delivery.ID == finish.Delivery.ID ||
			l.Delivery.ID == again.Delivery.ID && l.Delivery.Attempts != 5 ||
			l.Delivery.Key.Route == "b" {
			t.Fatalf("leased %+v", l.Delivery)
		}
	}
	s.Close()
}

func TestLimits(t *testing.T) {
	t.Parallel()
	now := time.Now()
	t.Run("MaxBytes", func(t *testing.T) {
		t.Parallel()
		const limit = 256 << 10
		s := open(t, t.TempDir(), &filespool.Options{MaxBytes: limit, Threshold: 10_000})
		var err error
		n := 0
		for ; err == nil && n < 1000; n++ {
			err = tryPut(
				t, s, spool.NewID(now), make([]byte, 5000+n%2*10_000), deliveries("a", now),
			)
		}
		if !errors.Is(err, spool.ErrFull) || n < 10 {
			t.Fatalf("after %d messages the error is %v, want ErrFull", n, err)
		}
		// There is room again when the queue is served, for as long as one
		// likes.
		for range 20 {
			l, err := s.Lease(
				t.Context(), spool.LeaseRequest{Max: 1000, TTL: time.Minute},
			)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range l.Leases {
				if err := s.Settle(
					t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
				); err != nil {
					t.Fatal(err)
				}
			}
			s.Flush()
			for range 5 {
				put(t, s, spool.NewID(now), make([]byte, 12_000), deliveries("a", now))
				put(t, s, spool.NewID(now), make([]byte, 5_000), deliveries("a", now))
			}
		}
	})
	t.Run("MinFree", func(t *testing.T) {
		t.Parallel()
		disk := filespool.NewDisk(1)
		disk.FreeBytes = 1 << 20
		s, err := filespool.OpenFS(t.TempDir(), &filespool.Options{MinFree: 2 << 20}, disk)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if _, err := s.Create(t.Context(), spool.NewID(now)); !errors.Is(err, spool.ErrFull) {
			t.Fatalf("error is %v, want ErrFull", err)
		}
	})
	t.Run("Closed", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		s := open(t, dir, &filespool.Options{MaxBytes: 1 << 20, Threshold: 10})
		w, err := s.Create(t.Context(), spool.NewID(now))
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, err := w.Write(make([]byte, 100)); !errors.Is(err, spool.ErrClosed) {
			t.Fatalf("error is %v, want ErrClosed", err)
		}
		w.Abort()
		if files, err := os.ReadDir(filepath.Join(dir, "files")); err != nil || len(files) > 0 {
			t.Fatalf("left %v, %v", files, err)
		}
	})
	t.Run("Options", func(t *testing.T) {
		t.Parallel()
		if _, err := filespool.Open(t.TempDir(), &filespool.Options{Threshold: -1}); err == nil {
			t.Fatal("a negative threshold was taken")
		}
	})
}

// TestUnwritten has a settlement overtaken before it is in the log.
func TestUnwritten(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), &filespool.Options{SettleDelay: time.Hour})
	now := time.Now()
	put(t, s, spool.NewID(now), nil, deliveries("a", now))
	lease := func() spool.Lease {
		l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
		if err != nil || len(l.Leases) != 1 {
			t.Fatalf("leased %v, %v", l, err)
		}
		return l.Leases[0]
	}
	for i := range 3 {
		l := lease()
		if l.Delivery.Attempts != i {
			t.Fatalf("leased %+v", l.Delivery)
		}
		l.Delivery.Recipients[0].Diagnostic = strings.Repeat("ü", 300)
		if err := s.Settle(t.Context(), spool.Settlement{
			ID: l.Delivery.ID, Token: l.Token, Due: now, Attempts: i + 1,
			Remaining: l.Delivery.Recipients,
		}); err != nil {
			t.Fatal(err)
		}
	}
	l := lease()
	if d := l.Delivery.Recipients[0].Diagnostic; d != strings.Repeat("ü", 256) {
		t.Fatalf("diagnostic is %q", d)
	}
	if err := s.Settle(
		t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
	); err != nil {
		t.Fatal(err)
	}
	id := spool.NewID(now)
	put(t, s, id, nil, deliveries("b", now))
	if l := lease(); l.Message.ID != id || l.Delivery.Attempts != 0 || l.Delivery.Key.Route != "b" {
		t.Fatalf("leased %+v", l)
	}
	s.Flush()
	if live, _ := s.Live(); live > 300 {
		t.Fatalf("%d bytes count", live)
	}
}
