package filespool_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

func claim(t *testing.T, s spool.Store, key string, ttl time.Duration) (spool.ID, error) {
	t.Helper()
	id := spool.NewID(time.Now())
	w, err := s.Create(t.Context(), id)
	if err != nil {
		return id, err
	}
	return id, w.Commit(t.Context(), spool.Commit{
		Deliveries: deliveries("a", time.Now()),
		Claim:      &spool.Claim{Scope: "s", Key: key, Digest: [32]byte{9}, TTL: ttl},
	})
}

// TestClaimsBounded has the oldest keys go when there are too many, and their
// files with them, also after the next start.
func TestClaimsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := &filespool.Options{SegmentBytes: 4 << 10, MinFree: -1}
	s := open(t, dir, o)
	s.SetMaxClaims(50)
	for n := range 500 {
		if _, err := claim(t, s, fmt.Sprint(n), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		for n := range 500 {
			_, _, ok, err := s.Claimed(t.Context(), "s", fmt.Sprint(n))
			if err != nil || ok != (n >= 450) {
				t.Fatalf("key %d: %v, %v", n, ok, err)
			}
		}
	}
	check()
	s.Flush()
	files, err := filepath.Glob(filepath.Join(dir, "*.claims"))
	if err != nil || len(files) == 0 || len(files) > 4 {
		t.Errorf("%d files, %v", len(files), err)
	}
	s.Close()
	s = open(t, dir, o)
	s.SetMaxClaims(50)
	check()
}

// TestClaimEnds lets a key be used again at the end of its time, and not by the
// end of its message.
func TestClaimEnds(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), nil)
	first, err := claim(t, s, "k", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	finishOne(t, s)
	_, err = claim(t, s, "k", time.Hour)
	c, ok := errors.AsType[*spool.ClaimedError](err)
	if !ok || !errors.Is(err, spool.ErrClaimed) || c.Message != first || c.Digest != [32]byte{9} {
		t.Fatalf("%v", err)
	}
	s.Elapse(time.Hour)
	if _, err := claim(t, s, "k", time.Hour); err != nil {
		t.Errorf("after its time: %v", err)
	}
}

// TestClaimOfAFailedCommit has sessions commit with the same key on a disk that
// fails: whoever is told that the key is in use finds its message.
func TestClaimOfAFailedCommit(t *testing.T) {
	t.Parallel()
	disk := filespool.NewDisk(1)
	s := openDisk(t, t.TempDir(), disk)
	defer s.Close()
	var calls atomic.Int64
	disk.Fault(func(op, _ string) error {
		if op == "write" && calls.Add(1)%3 != 0 {
			return syscall.ENOSPC
		}
		return nil
	})
	for n := range 50 {
		var wg sync.WaitGroup
		var took atomic.Int64
		for range 4 {
			wg.Go(func() {
				_, err := claim(t, s, fmt.Sprint(n), time.Hour)
				if err == nil {
					took.Add(1)
				}
				if c, ok := errors.AsType[*spool.ClaimedError](err); ok {
					if _, _, err := s.Find(t.Context(), c.Message); err != nil {
						t.Errorf("the message that has the key: %v", err)
					}
				}
			})
		}
		wg.Wait()
		if took.Load() > 1 {
			t.Fatalf("key %d was taken %d times", n, took.Load())
		}
	}
}
