package spooltest

import (
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

func sharedCases() []testCase {
	return []testCase{
		{"Counter", hasShared, (*suite).counter},
		{"Value", hasShared, (*suite).value},
		{"CounterRace", hasShared, (*suite).counterRace},
	}
}

func hasShared(s spool.Store) bool { _, ok := s.(spool.Shared); return ok }

func (s *suite) shared() spool.Shared { return s.Store.(spool.Shared) }

func (s *suite) counter() {
	add := func(key string, n int64, ttl time.Duration, want int64) {
		s.Helper()
		got, err := s.shared().Add(s.Context(), key, n, ttl)
		s.ok(err)
		if got != want {
			s.Fatalf("%s is %d, want %d", key, got, want)
		}
	}
	add("a", 2, time.Hour, 2)
	s.sleep(30 * time.Minute)
	add("a", 3, time.Hour, 5)
	add("b", -1, time.Hour, -1)
	add("a", 0, time.Hour, 5)
	s.sleep(31 * time.Minute) // the end is that of the first Add
	add("a", 1, time.Hour, 1)
	add("b", 0, time.Hour, -1)
	add("none", 7, 0, 7)
	add("none", 1, time.Hour, 1)
	if _, err := s.shared().Add(
		s.Context(), strings.Repeat("k", spool.MaxSharedKey+1), 1, time.Hour,
	); err == nil {
		s.Fatal("a key that is too long was taken")
	}
}

func (s *suite) value() {
	get := func(key, want string) {
		s.Helper()
		got, err := s.shared().Get(s.Context(), key)
		if want == "" {
			s.is(err, spool.ErrNotFound)
			return
		}
		if s.ok(err); string(got) != want {
			s.Fatalf("%s is %q, want %q", key, got, want)
		}
		clear(got) // the caller's own
	}
	put := func(key, value string, ttl time.Duration) {
		s.Helper()
		b := []byte(value)
		s.ok(s.shared().Put(s.Context(), key, b, ttl))
		clear(b)
	}
	get("a", "")
	put("a", "one", time.Hour)
	get("a", "one")
	get("a", "one")
	_, err := s.shared().Add(s.Context(), "a", 5, time.Hour) // a name of its own
	s.ok(err)
	put("a", "two", 2*time.Hour)
	put("b", "three", time.Hour)
	s.sleep(90 * time.Minute)
	get("a", "two")
	get("b", "")
	put("a", "ended", 0)
	get("a", "")
	put("long", strings.Repeat("x", spool.MaxSharedValue), time.Hour)
	if err := s.shared().Put(
		s.Context(), "long", make([]byte, spool.MaxSharedValue+1), time.Hour,
	); err == nil {
		s.Fatal("a value that is too long was taken")
	}
}

func (s *suite) counterRace() {
	const workers, each = 8, 50
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range each {
				if _, err := s.shared().Add(s.Context(), "n", 1, time.Hour); err != nil {
					s.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n, err := s.shared().Add(s.Context(), "n", 0, time.Hour); err != nil || n != workers*each {
		s.Fatalf("counted %d, %v, want %d", n, err, workers*each)
	}
}
