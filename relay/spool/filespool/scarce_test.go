package filespool_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// operations are those of the file system that a test can break.
var operations = []string{
	"open", "opendir", "read", "write", "sync", "syncdir", "truncate", "rename", "remove", "size",
}

// TestScarce has every operation fail for a moment for want of descriptors,
// memory, threads or room, while mail goes in and out and the log is rolled and
// cleaned. Afterwards the store takes and delivers mail, and nothing is lost.
func TestScarce(t *testing.T) {
	t.Parallel()
	errs := []syscall.Errno{
		syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EAGAIN, syscall.ENOSPC,
	}
	for _, op := range operations {
		for _, errno := range errs {
			t.Run(fmt.Sprintf("%s/%d", op, errno), func(t *testing.T) {
				t.Parallel()
				scarce(t, op, fmt.Errorf("%s: %w", op, errno))
			})
		}
	}
	// A directory that could not be opened, for whatever reason, was not
	// synced, and nothing is known to be lost.
	for _, errno := range []syscall.Errno{syscall.EACCES, syscall.EIO} {
		t.Run(fmt.Sprintf("opendir/%d", errno), func(t *testing.T) {
			t.Parallel()
			scarce(t, "opendir", errno)
		})
	}
	// A file that could not be opened, written, cut off or renamed is no failed
	// sync.
	for _, op := range []string{"open", "read", "write", "truncate", "rename", "remove", "size"} {
		t.Run(op+"/EIO", func(t *testing.T) {
			t.Parallel()
			scarce(t, op, syscall.EIO)
		})
	}
}

// scarce has one operation fail in two calls of three for a while.
func scarce(t *testing.T, op string, fault error) {
	disk := filespool.NewDisk(1)
	dir := t.TempDir()
	s := openDisk(t, dir, disk)
	must := map[spool.ID]bool{}
	refused := 0
	traffic := func(rounds int, may bool) {
		t.Helper()
		for i := range rounds {
			id := spool.NewID(time.Now())
			id[15] = byte(i%32) | 1
			if i%5 == 0 {
				id[15] = 0xf0 // has a file of its own
			}
			err := tryPutOwn(t, s, id)
			if errors.Is(err, spool.ErrFailed) || err != nil && !may {
				t.Fatalf("put: %v", err)
			}
			if err == nil {
				must[id] = true
			} else {
				refused++
			}
			if i%4 != 3 {
				continue
			}
			l, err := s.Lease(t.Context(), spool.LeaseRequest{
				Max: 3, TTL: time.Minute,
			})
			if err != nil {
				t.Fatalf("lease: %v", err)
			}
			for _, l := range l.Leases {
				if readAs(t, s, l.Message.ID) != nil && !may {
					t.Fatalf("%v cannot be read", l.Message.ID)
				}
				settle := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
				if err := s.Settle(t.Context(), settle); err != nil {
					t.Fatalf("settle: %v", err)
				}
				delete(must, l.Message.ID)
			}
		}
	}
	traffic(60, false)
	var calls, failed, writes atomic.Int64
	disk.Fault(func(o, _ string) error {
		switch {
		case o == op && calls.Add(1)%3 != 0:
			failed.Add(1)
			return fault
		case op == "truncate" && o == "write" && writes.Add(1)%5 == 0:
			return fault // so that there is something to cut off
		}
		return nil
	})
	traffic(120, true)
	s.Flush()
	disk.Fault(nil)
	if failed.Load() == 0 {
		t.Fatalf("%s was never called", op)
	}
	traffic(60, false)
	s.Flush()
	disk.Crash()
	s.Close()
	s = openDisk(t, dir, disk)
	defer s.Close()
	found := map[spool.ID]bool{}
	for id := range holds(t, s) {
		found[id.Message] = true
	}
	if !maps.Equal(found, must) {
		t.Fatalf("found %d messages, want %d; %d were refused", len(found), len(must), refused)
	}
}

// tryPutOwn writes content made of the id, as holds reads it.
func tryPutOwn(t *testing.T, s spool.Store, id spool.ID) error {
	w, err := s.Create(t.Context(), id)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, contents(id, length(id))); err != nil {
		w.Abort()
		return err
	}
	return w.Commit(t.Context(), spool.Commit{
		Deliveries: deliveries("a", time.Now()), Prepend: []byte("X: "),
	})
}

func readAs(t *testing.T, s spool.Store, id spool.ID) error {
	r, err := s.Open(t.Context(), id)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// TestScarceAtStart has each call of the file system fail once while a store is
// opened that has something to cut off and something to remove: the next
// attempt finds all there is.
func TestScarceAtStart(t *testing.T) {
	t.Parallel()
	for _, op := range slices.Concat(operations, []string{"readdir"}) {
		for n := int64(1); ; n++ {
			disk := filespool.NewDisk(3)
			dir := t.TempDir()
			s := openDisk(t, dir, disk)
			// A message that is being written when the machine stops.
			w, err := s.Create(t.Context(), spool.NewID(time.Now()))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(make([]byte, 50_000)); err != nil {
				t.Fatal(err)
			}
			want := model{}
			for i := range 40 {
				id := spool.NewID(time.Now())
				id[15] = []byte{0xef, 0xf0}[i%2]
				if err := tryPutOwn(t, s, id); err != nil {
					t.Fatal(err)
				}
				want[spool.DeliveryID{Message: id}] = 0
			}
			// And one whose sync fails: whether it is there, nobody knows.
			disk.Fault(func(o, _ string) error {
				if o == "sync" {
					return syscall.EIO
				}
				return nil
			})
			doubtful := spool.NewID(time.Now())
			doubtful[15] = 0xef
			if err := tryPutOwn(t, s, doubtful); !errors.Is(err, spool.ErrFailed) {
				t.Fatal(err)
			}
			disk.Crash()
			s.Close()

			var calls atomic.Int64
			disk.Fault(func(o, _ string) error {
				if o == op && calls.Add(1) == n {
					return syscall.EMFILE
				}
				return nil
			})
			s, err = filespool.OpenFS(dir, &filespool.Options{
				SegmentBytes: 32 << 10, Threshold: 16 << 10, Logger: filespool.Quiet(), MinFree: -1,
			}, disk)
			failed := calls.Load() >= n
			disk.Fault(nil)
			if err == nil {
				s.Close()
			}
			s = openDisk(t, dir, disk)
			found := holds(t, s)
			delete(found, spool.DeliveryID{Message: doubtful})
			if !maps.Equal(found, want) {
				t.Fatalf("%s %d: found %d deliveries, want %d", op, n, len(found), len(want))
			}
			s.Close()
			if !failed {
				break
			}
		}
	}
}
