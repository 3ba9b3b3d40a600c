package pgspool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

func record(text string) spool.Record {
	return spool.Record{Time: time.Now(), Data: []byte(text)}
}

// commitRecords commits a message with records.
func commitRecords(t testing.TB, s *pgspool.Store, records ...spool.Record) {
	t.Helper()
	w, err := s.Create(t.Context(), spool.NewID(time.Now()))
	if err == nil {
		err = w.Commit(t.Context(), spool.Commit{Events: records, Deliveries: []spool.Delivery{{
			Key: spool.Key{Route: "a"}, Recipients: []spool.Recipient{{Address: "a@a"}},
		}}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// insert writes a record as a committer does, and leaves the commit to the
// caller.
func insert(ctx context.Context, tx pgx.Tx, r spool.Record) error {
	n, until, data := pgspool.Blob(r)
	_, err := tx.Exec(ctx, "INSERT INTO postern.inbox (n, until, data) VALUES ($1, $2, $3)",
		n, until, data)
	return err
}

// follower reads the log from the beginning on.
type follower struct {
	*pgspool.Store
	at   spool.Cursor
	seen []string
}

// follow reads until n records were seen. Places must have no gap.
func (f *follower) follow(t testing.TB, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for len(f.seen) < n {
		more := f.Appended()
		list, err := f.Records(ctx, f.at, 1+rand.N(50))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			if r.At != f.at+1 {
				t.Fatalf("a record at %d behind %d", r.At, f.at)
			}
			f.at = r.At
			f.seen = append(f.seen, string(r.Data))
		}
		if len(list) > 0 {
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			t.Fatalf("%d records, want %d", len(f.seen), n)
		}
	}
}

func begin(t testing.TB, pool *pgxpool.Pool, o pgx.TxOptions) pgx.Tx {
	t.Helper()
	tx, err := pool.BeginTx(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(context.Background()) })
	return tx
}

// TestFollowBesideAnOpenTransaction has transactions open that have written and
// read, one of them a record: what others write meanwhile is read at once, and
// the record when it is committed.
func TestFollowBesideAnOpenTransaction(t *testing.T) {
	url := server.Database(t)
	s, pool := open(t, url), connect(t, url)
	late := begin(t, pool, pgx.TxOptions{})
	if err := insert(t.Context(), late, record("late")); err != nil {
		t.Fatal(err)
	}
	old := begin(t, pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if _, err := old.Exec(
		t.Context(), "CREATE TABLE orders AS SELECT * FROM postern.log",
	); err != nil {
		t.Fatal(err)
	}
	f := follower{Store: s}
	for i := range 100 {
		begun := time.Now()
		commitRecords(t, s, record(fmt.Sprint(i)))
		f.follow(t, i+1)
		if took := time.Since(begun); took > 10*time.Second {
			t.Fatalf("record %d was read after %v", i, took)
		}
	}
	if err := late.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.follow(t, 101)
	if last := f.seen[100]; last != "late" {
		t.Fatalf("the last record is %q", last)
	}
}

// TestFirstRecord: the first record of all is there as soon as it is
// acknowledged, however long nothing came before it.
func TestFirstRecord(t *testing.T) {
	s := open(t, server.Database(t))
	if mine, err := s.Place(t.Context()); err != nil || !mine {
		t.Fatal(mine, err)
	}
	s.WaitQuietly()
	commitRecords(t, s, record("first"))
	got, err := s.Records(t.Context(), 0, 1)
	if err != nil || len(got) != 1 {
		t.Errorf("%d records, %v", len(got), err)
	}
}

// TestEachRecordOnce has many write, some of whom commit late, two nodes give
// places, and readers on both see each record once and in the same places.
func TestEachRecordOnce(t *testing.T) {
	const writers, each = 8, 50
	url := server.Database(t)
	nodes := []*pgspool.Store{open(t, url), open(t, url)}
	pool := connect(t, url)
	var wg sync.WaitGroup
	for n := range writers {
		wg.Go(func() {
			for i := range each {
				err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
					err := insert(t.Context(), tx, record(fmt.Sprint(n, " ", i)))
					time.Sleep(rand.N(20 * time.Millisecond))
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	readers := []*follower{{Store: nodes[0]}, {Store: nodes[1]}, {Store: nodes[1]}}
	for _, f := range readers {
		wg.Go(func() { f.follow(t, writers*each) })
	}
	wg.Wait()
	next := make([]int, writers)
	for at, text := range readers[0].seen {
		var n, i int
		fmt.Sscan(text, &n, &i)
		if next[n] != i { // each writer waits for its commit
			t.Fatalf("record %q, want %d of that writer", text, next[n])
		}
		next[n]++
		for _, f := range readers[1:] {
			if f.seen[at] != text {
				t.Fatalf("at %d is %q for one reader and %q for another", at+1, text, f.seen[at])
			}
		}
	}
}

// TestStoppedSequencer has a process that holds the sequencer's lock and does
// nothing: others go on with what has places, and with the rest when the
// server has ended it.
func TestStoppedSequencer(t *testing.T) {
	url := server.Database(t)
	s, pool := open(t, url), connect(t, url)
	f := follower{Store: s}
	commitRecords(t, s, record("1"))
	f.follow(t, 1)
	stopped := begin(t, pool, pgx.TxOptions{})
	var pid int
	err := stopped.QueryRow(t.Context(),
		"SELECT pg_backend_pid() FROM pg_advisory_xact_lock($1::int, hashtext('postern'))",
		pgspool.Sequencing).Scan(&pid)
	if err != nil {
		t.Fatal(err)
	}
	commitRecords(t, s, record("2"))
	if mine, err := s.Place(t.Context()); mine || err != nil {
		t.Fatalf("placed beside another: %v", err)
	}
	if list, err := s.Records(t.Context(), 0, 10); len(list) != 1 || err != nil {
		t.Fatalf("%d records, %v", len(list), err)
	}
	if list, err := s.Records(t.Context(), 1, 10); len(list) != 0 || err != nil {
		t.Fatalf("%d records, %v", len(list), err)
	}
	if _, err := pool.Exec(t.Context(), "SELECT pg_terminate_backend($1)", pid); err != nil {
		t.Fatal(err)
	}
	f.follow(t, 2)
}

// TestKilledSequencer ends a sequencer in the middle of its work: it has done
// nothing, and another does all of it.
func TestKilledSequencer(t *testing.T) {
	url := server.Database(t)
	s, other, pool := open(t, url), open(t, url), connect(t, url)
	for i := range 3 {
		commitRecords(t, s, record(fmt.Sprint(i)))
	}
	holder := begin(t, pool, pgx.TxOptions{})
	_, err := holder.Exec(t.Context(),
		"SELECT FROM postern.inbox ORDER BY id DESC LIMIT 1 FOR UPDATE")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		_, err := s.Place(t.Context())
		done <- err
	}()
	const kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity " +
		"WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%place%'"
	for begun := time.Now(); count(t, pool, kill) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatal("no sequencer waits")
		}
	}
	if err := <-done; err == nil {
		t.Fatal("a sequencer that was killed has an answer")
	}
	if err := holder.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := follower{Store: other}
	f.follow(t, 3)
	if got := strings.Join(f.seen, " "); got != "0 1 2" {
		t.Fatalf("the log has %q", got)
	}
}

// TestPolledLog tells of records without a notification.
func TestPolledLog(t *testing.T) {
	url := server.Database(t)
	s, err := pgspool.Open(t.Context(), connect(t, url), &pgspool.Options{PollOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other, f := open(t, url), follower{Store: s}
	for i := range 5 {
		commitRecords(t, other, record("x"))
		f.follow(t, i+1)
	}
}

// TestEndedLog wakes who waits for records when the store is closed.
func TestEndedLog(t *testing.T) {
	s := open(t, server.Database(t))
	before := s.Appended()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	<-before
	<-s.Appended()
	if _, err := s.Records(t.Context(), 0, 1); !errors.Is(err, spool.ErrClosed) {
		t.Fatal(err)
	}
}

// TestDamagedRow reports a row that cannot be read as a gap, and goes on behind
// it.
func TestDamagedRow(t *testing.T) {
	url := server.Database(t)
	s, pool := open(t, url), connect(t, url)
	for i := range 4 {
		commitRecords(t, s, record(fmt.Sprint(i)))
		if _, err := s.Records(t.Context(), spool.Cursor(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	for _, text := range []string{
		"UPDATE postern.log SET data = '\\xff' WHERE last = 2",
		"DELETE FROM postern.log WHERE last = 3",
	} {
		if _, err := pool.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := s.Records(t.Context(), 0, 10); len(list) != 1 || err != nil {
		t.Fatalf("%d records, %v", len(list), err)
	}
	at := spool.Cursor(1)
	for _, want := range []spool.Cursor{2, 3} {
		_, err := s.Records(t.Context(), at, 10)
		gap, ok := errors.AsType[*spool.GapError](err)
		if !ok || gap.After != at || gap.Oldest != want {
			t.Fatalf("%v, want a gap from %d to %d", err, at, want)
		}
		at = want
	}
	if list, err := s.Records(t.Context(), at, 10); len(list) != 1 || err != nil {
		t.Fatalf("%d records, %v", len(list), err)
	}
}

// TestLogReadsByIndex sees that nothing reads the log or the inbox from one end
// to the other.
func TestLogReadsByIndex(t *testing.T) {
	url := server.Database(t)
	s, pool := open(t, url), connect(t, url)
	_, err := pool.Exec(t.Context(), `
INSERT INTO postern.inbox (n, until, data)
SELECT 1, now(), '\x0a00' FROM generate_series(1, 3000)`)
	if err != nil {
		t.Fatal(err)
	}
	if _, newest, err := s.Bounds(t.Context()); newest != 3000 || err != nil {
		t.Fatal(newest, err)
	}
	if _, err := pool.Exec(t.Context(), "ANALYZE postern.log, postern.inbox"); err != nil {
		t.Fatal(err)
	}
	rows, err := pool.Query(t.Context(), "EXPLAIN "+s.ReadText(), 2900, 10, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if plan := strings.Join(lines, "\n"); err != nil ||
		strings.Contains(plan, "Seq Scan on log_2") ||
		!strings.Contains(plan, "Index Scan using log_2") {
		t.Fatalf("%v\n%s", err, plan)
	}
	f := follower{Store: s, at: 3000}
	for i := range 20 {
		commitRecords(t, s, record("x"))
		f.follow(t, i+1)
	}
	wantNoScans(t, pool, "inbox")
}

// wantNoScans sees that a table was not read from one end to the other.
func wantNoScans(t *testing.T, pool *pgxpool.Pool, table string) {
	t.Helper()
	const text = "SELECT seq_scan, idx_scan FROM pg_stat_user_tables " +
		"WHERE schemaname = 'postern' AND relname = $1"
	var whole, byIndex int
	// A session that does nothing counts after ten seconds.
	for begun := time.Now(); byIndex == 0; time.Sleep(50 * time.Millisecond) {
		if err := pool.QueryRow(t.Context(), text, table).Scan(&whole, &byIndex); err != nil {
			t.Fatal(err)
		}
		if time.Since(begun) > time.Minute {
			t.Fatal("no scans are counted")
		}
	}
	if whole > 2 { // when it was made, and ANALYZE
		t.Fatalf("%s was read %d times from one end to the other, %d by an index",
			table, whole, byIndex)
	}
}
