package pgspool_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// few opens a store over a few connections.
func few(t testing.TB, url string, conns int32) (*pgspool.Store, *pgxpool.Pool) {
	t.Helper()
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	c.MaxConns = conns
	pool, err := pgxpool.NewWithConfig(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s, err := pgspool.Open(t.Context(), pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, pool
}

// leaseOne leases what is due of a route.
func leaseOne(t testing.TB, s spool.Store, route string) spool.Lease {
	t.Helper()
	for end := time.Now().Add(lag); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		got, err := s.Lease(t.Context(), spool.LeaseRequest{
			Max: 1, TTL: time.Minute, Only: []spool.Key{{Route: route}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Leases) == 1 {
			return got.Leases[0]
		}
	}
	t.Fatalf("nothing of %q was leased", route)
	return spool.Lease{}
}

// life takes a message from its commit to its end.
func life(t testing.TB, s spool.Store) {
	t.Helper()
	message(t, s, "a", "hello")
	l := leaseOne(t, s, "a")
	r, err := s.Open(t.Context(), l.Message.ID)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); string(b) != "hello" {
		t.Fatal(string(b), err)
	}
	end := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
	if err := s.Settle(t.Context(), end); err != nil {
		t.Fatal(err)
	}
}

// growText makes a long queue of messages for route b.
const growText = `
WITH n AS (SELECT i, lpad(to_hex(i), 32, '0')::uuid AS id FROM generate_series(1, 200000) i),
m AS (INSERT INTO postern.message SELECT id, 1, 5, '\x12036040' FROM n),
c AS (INSERT INTO postern.chunk SELECT id, 0, 5, '\x1203604000' FROM n)
INSERT INTO postern.delivery SELECT id, 0, i % 1000 + 5, 'b', convert_to('d' || i % 1000, 'UTF8'),
	'', now(), now(), null, 0, false, 0, '\x0a050a036040' FROM n`

// TestPlansOfAnEmptyQueue: the plans that were made while the queue was empty
// are good for a long one, before the server notices that it is long.
func TestPlansOfAnEmptyQueue(t *testing.T) {
	server := pgspooltest.Start(t, &pgspooltest.ServerOptions{Settings: map[string]string{
		"autovacuum": "off", "fsync": "off",
	}})
	s, pool := few(t, server.Database(t), 3)
	empty := "VACUUM ANALYZE postern.delivery, postern.message, postern.chunk"
	for _, sql := range []string{empty, empty, growText} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		for range 30 {
			life(t, s)
		}
	}
	var read int64
	err := pool.QueryRow(t.Context(), `SELECT coalesce(sum(seq_tup_read), 0)::bigint
		FROM pg_stat_user_tables WHERE relname IN ('delivery', 'message', 'chunk')`).Scan(&read)
	if err != nil || read > 100_000 {
		t.Errorf("%d rows were read in scans of whole tables: %v", read, err)
	}
}

// TestListOfWhatIsHeld: what is on hold or set aside is listed without a look
// at all that waits.
func TestListOfWhatIsHeld(t *testing.T) {
	s, pool := few(t, server.Database(t), 3)
	statements(t, pool, strings.ReplaceAll(growText, "200000", "20000"),
		"UPDATE postern.delivery SET held = true, rcpt = '\\x1002' || rcpt WHERE key = 7")
	after := spool.DeliveryID{Message: spool.ID{14: 100}}
	for _, analyze := range []string{"SELECT", "ANALYZE postern.delivery"} {
		statements(t, pool, analyze)
		for _, q := range []spool.Query{
			{State: spool.StatePoison, Max: 1000}, {State: spool.StatePoison, After: after},
			{State: spool.StateHeld},
		} {
			text, args := pgspool.ListText(q)
			rows, err := pool.Query(t.Context(), "EXPLAIN "+text, args...)
			ok(t, err)
			plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
			ok(t, err)
			if !strings.Contains(strings.Join(plan, ""), "delivery_held") {
				t.Errorf("%+v after %q is listed so:\n%s", q, analyze, strings.Join(plan, "\n"))
			}
		}
	}
	items, err := s.List(t.Context(), spool.Query{State: spool.StatePoison, Max: 1000})
	if err != nil || len(items) != 20 {
		t.Errorf("%d are set aside, want 20: %v", len(items), err)
	}
}

// holdSnapshot has a transaction see a queue as it is now, until the test ends:
// the indexes keep all rows that are in them from now on.
func holdSnapshot(t *testing.T, url string) {
	t.Helper()
	tx, err := connect(t, url).BeginTx(t.Context(), pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	ok(t, err)
	t.Cleanup(func() { tx.Rollback(context.WithoutCancel(t.Context())) })
	_, err = tx.Exec(t.Context(), "SELECT FROM postern.delivery")
	ok(t, err)
}

// TestOldSnapshot: where a transaction that stays open keeps all rows that ever
// were in the indexes, and few live, they are looked up all the same.
func TestOldSnapshot(t *testing.T) {
	server := pgspooltest.Start(t, &pgspooltest.ServerOptions{Settings: map[string]string{
		"autovacuum": "off", "fsync": "off",
	}})
	url := server.Database(t)
	s, pool := few(t, url, 3)
	holdSnapshot(t, url)
	statements(t, pool, strings.ReplaceAll(growText, "200000", "50000"),
		"DELETE FROM postern.delivery WHERE route = 'b'",
		"DELETE FROM postern.message WHERE size = 5", "DELETE FROM postern.chunk WHERE n = 0",
		"VACUUM ANALYZE postern.delivery, postern.message, postern.chunk")
	for range 20 {
		life(t, s)
	}
	ok(t, s.Close())
	pool.Close() // which tells the statistics of its sessions
	counts := connect(t, url)
	var read int64
	for range 300 {
		err := counts.QueryRow(t.Context(), `SELECT coalesce(sum(idx_tup_read), 0)::bigint
			FROM pg_stat_user_indexes WHERE indexrelname IN (
				'delivery_pkey', 'message_pkey', 'chunk_pkey')`).Scan(&read)
		if ok(t, err); read > 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if read == 0 || read > 20_000 {
		t.Errorf("%d rows of indexes were read for 20 messages", read)
	}
}

// TestEndsOfLeases: what an old snapshot keeps of leases that would have ended
// later costs no lease anything.
func TestEndsOfLeases(t *testing.T) {
	url := server.Database(t)
	s, pool := few(t, url, 3)
	holdSnapshot(t, url)
	one := strings.NewReplacer("200000", "20000", "i % 1000 + 5", "7", "now(), now()",
		"now() + i * interval '1 s', now()", "false, 0,", "false, 1,").Replace(growText)
	statements(t, pool, one, "DELETE FROM postern.delivery")
	for _, q := range []struct {
		text string
		args []any
	}{
		{s.LeaseText(), []any{
			[]int64{7}, []time.Time{time.Now()}, 10, 10, []int64{1}, time.Minute,
		}},
		{s.NextText(), []any{[]int64{7}, []time.Time{time.Now()}}},
	} {
		var plan []struct {
			Plan struct {
				Hit  int `json:"Shared Hit Blocks"`
				Read int `json:"Shared Read Blocks"`
			}
		}
		text := "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + q.text
		ok(t, pool.QueryRow(t.Context(), text, q.args...).Scan(&plan))
		if n := plan[0].Plan.Hit + plan[0].Plan.Read; n == 0 || n > 20 {
			t.Errorf("%d pages are read by\n%s", n, q.text)
		}
	}
}

// TestNextOfKey: what waits next is looked for in the index of what waits, also
// where the planner thinks otherwise: in that of what is leased an old snapshot
// keeps all that ever was.
func TestNextOfKey(t *testing.T) {
	s, pool := few(t, server.Database(t), 3)
	statements(t, pool, strings.ReplaceAll(growText, "200000", "20000"),
		"ANALYZE postern.delivery", "DROP INDEX postern.delivery_waiting")
	rows, err := pool.Query(t.Context(), "EXPLAIN "+s.NextText(),
		[]int64{7}, []time.Time{time.Now()})
	ok(t, err)
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	ok(t, err)
	next, _, _ := strings.Cut(strings.Join(plan, "\n"), "SubPlan 2")
	if strings.Contains(next, "delivery_key") {
		t.Errorf("it may be looked for so:\n%s", next)
	}
}
