package pgspool_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// TestTidy forgets what has ended, and nothing else.
func TestTidy(t *testing.T) {
	url := server.Database(t)
	s, pool := open(t, url), connect(t, url)
	claim := func(key string, ttl time.Duration) {
		w, err := s.Create(t.Context(), spool.NewID(time.Now()))
		if err == nil {
			err = w.Commit(t.Context(), spool.Commit{
				Claim:      &spool.Claim{Scope: "s", Key: key, TTL: ttl},
				Deliveries: []spool.Delivery{{Recipients: []spool.Recipient{{Address: "a@a"}}}},
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	w, err := s.Create(t.Context(), spool.NewID(time.Now()))
	if err == nil {
		_, err = w.Write(make([]byte, 1<<20)) // and its process dies
	}
	claim("short", time.Minute)
	claim("long", 3*time.Hour)
	for i, ttl := range []time.Duration{time.Minute, 3 * time.Hour} {
		key := fmt.Sprint(i)
		_, addErr := s.Add(t.Context(), key, 1, ttl)
		_, _, beatErr := s.Beat(t.Context(), "g", key, ttl)
		err = errors.Join(err, addErr, beatErr, s.Put(t.Context(), key, nil, ttl))
	}
	if err != nil {
		t.Fatal(err)
	}
	pgspooltest.ShiftClock(t, url, "postern", 2*time.Hour)
	s.Tidy(t.Context())
	for table, want := range map[string]int{
		"claim": 1, "shared": 2, "node": 1, "staged": 0, "chunk": 0, "message": 2,
	} {
		if n := count(t, pool, "SELECT count(*) FROM postern."+table); n != want {
			t.Errorf("%d rows of %s are left, want %d", n, table, want)
		}
	}
	if n, err := s.Add(t.Context(), "1", 1, time.Hour); n != 2 || err != nil {
		t.Errorf("a counter is %d, %v", n, err)
	}
	if _, _, ok, err := s.Claimed(t.Context(), "s", "long"); !ok || err != nil {
		t.Errorf("a key is gone: %v", err)
	}
}

// TestFold keeps the totals in few rows, whoever has counted.
func TestFold(t *testing.T) {
	url := server.Database(t)
	s, pool := open(t, url), connect(t, url)
	_, err := pool.Exec(t.Context(), `
INSERT INTO postern.counter (node, n, messages, deliveries, bytes)
SELECT gen_random_uuid(), n, 10, 20, 30 FROM generate_series(1, 3000) n`)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		message(t, s, "a", "hello")
		s.Tidy(t.Context())
	}
	want := spool.Stats{Messages: 30_002, Deliveries: 60_002, Bytes: 90_010}
	if st, err := s.Stats(t.Context()); st != want || err != nil {
		t.Fatalf("%+v, %v, want %+v", st, err, want)
	}
	if n := count(t, pool, "SELECT count(*) FROM postern.counter"); n > 3 {
		t.Fatalf("%d rows", n)
	}
}

// TestTooManyShared forgets those that end first.
func TestTooManyShared(t *testing.T) {
	url := server.Database(t)
	s, pool := open(t, url), connect(t, url)
	_, err := pool.Exec(t.Context(), `
INSERT INTO postern.shared (counter, name, count, ends)
SELECT true, int4send(n), n, now() + n * interval '1 hour' FROM generate_series(1, 201500) n`)
	if err != nil {
		t.Fatal(err)
	}
	s.Tidy(t.Context())
	if n := count(t, pool, "SELECT count(*) FROM postern.shared"); n != 200_000 {
		t.Fatalf("%d are left", n)
	}
	if n := count(t, pool, "SELECT min(count) FROM postern.shared"); n != 1501 {
		t.Fatalf("the first that is left is %d", n)
	}
}

// TestOldSnapshotIsTold warns of a snapshot that is open for long, and not of
// one in a database where nothing happens.
func TestOldSnapshotIsTold(t *testing.T) {
	url := server.Database(t)
	var log bytes.Buffer
	pool := connect(t, url)
	s, err := pgspool.Open(t.Context(), pool, &pgspool.Options{
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	old := begin(t, pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if _, err := old.Exec(t.Context(), "SELECT"); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	see := func(d time.Duration, want bool) {
		t.Helper()
		if err := s.LookAtHealth(t.Context(), now.Add(d)); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(log.String(), "snapshot"); got != want {
			t.Fatalf("after %v the log has %q", d, log.String())
		}
	}
	see(0, false)
	see(11*time.Minute, false)
	_, err = pool.Exec(t.Context(), `
DO $$ BEGIN FOR i IN 1..1100 LOOP
	PERFORM pg_current_xact_id(); COMMIT;
END LOOP; END $$`)
	if err != nil {
		t.Fatal(err)
	}
	see(12*time.Minute, true)
}
