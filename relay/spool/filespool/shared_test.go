package filespool_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

func wantCount(t *testing.T, s *filespool.Store, key string, n, want int64) {
	t.Helper()
	if got, err := s.Add(t.Context(), key, n, time.Hour); err != nil || got != want {
		t.Errorf("%s is %d, %v, want %d", key, got, err, want)
	}
}

// TestSharedStays keeps counters and values until their end, also across Close,
// and across a crash those of more than five seconds ago.
func TestSharedStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		disk := filespool.NewDisk(1)
		s := openDisk(t, dir, disk)
		wantCount(t, s, "a", 2, 2)
		wantCount(t, s, "a", 3, 5)
		if err := s.Put(t.Context(), "a", []byte("value"), time.Minute); err != nil {
			t.Fatal(err)
		}
		s.Close()
		s = openDisk(t, dir, disk)
		wantCount(t, s, "a", 1, 6)
		time.Sleep(6 * time.Second)
		wantCount(t, s, "a", 1, 7)
		disk.Crash()
		s.Close()
		s = openDisk(t, dir, disk)
		wantCount(t, s, "a", 0, 6)
		if b, err := s.Get(t.Context(), "a"); err != nil || string(b) != "value" {
			t.Errorf("%q, %v", b, err)
		}
		time.Sleep(time.Minute)
		if b, err := s.Get(t.Context(), "a"); !errors.Is(err, spool.ErrNotFound) {
			t.Errorf("after its end: %q, %v", b, err)
		}
		time.Sleep(time.Hour)
		wantCount(t, s, "a", 1, 1)
		s.Close()
	})
}

// TestSharedBounded drops what ends first when there is too much.
func TestSharedBounded(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir(), nil)
	value := make([]byte, spool.MaxSharedValue)
	for n := range 400 {
		ttl := time.Hour + time.Duration(n)*time.Second
		if err := s.Put(t.Context(), fmt.Sprint(n), value, ttl); err != nil {
			t.Fatal(err)
		}
	}
	kept := 0
	for n := range 400 {
		_, err := s.Get(t.Context(), fmt.Sprint(n))
		if kept > 0 && err != nil {
			t.Fatalf("%d is gone and an earlier one is not", n)
		}
		if err == nil {
			kept++
		}
	}
	if kept < 200 || kept > 256 {
		t.Errorf("%d values are kept", kept)
	}
	if s.Put(t.Context(), "x", append(value, 0), time.Hour) == nil {
		t.Error("a value that is too long is taken")
	}
	if _, err := s.Add(t.Context(), strings.Repeat("x", 2000), 1, time.Hour); err == nil {
		t.Error("a key that is too long is taken")
	}
}
