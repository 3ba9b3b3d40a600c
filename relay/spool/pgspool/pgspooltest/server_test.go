package pgspooltest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

func exec(t *testing.T, c *pgx.Conn, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := c.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func value[T any](t *testing.T, c *pgx.Conn, query string) T {
	t.Helper()
	var v T
	if err := c.QueryRow(t.Context(), query).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// TestDatabase: each is empty, belongs to a user who is no superuser, and goes
// with its test.
func TestDatabase(t *testing.T) {
	t.Parallel()
	s := pgspooltest.Start(t, &pgspooltest.ServerOptions{
		Settings: map[string]string{"work_mem": "5MB"},
	})
	for range 2 {
		t.Run("one", func(t *testing.T) {
			c := connect(t, s.Database(t))
			exec(t, c, "CREATE SCHEMA postern", "CREATE TABLE postern.message (id int)")
			if got := value[string](t, c, "SELECT current_setting('is_superuser')"); got != "off" {
				t.Errorf("is_superuser is %s", got)
			}
			if got := value[string](t, c, "SELECT current_setting('work_mem')"); got != "5MB" {
				t.Errorf("work_mem is %s", got)
			}
			if got := value[string](t, c, "SELECT current_setting('fsync')"); got != "on" {
				t.Errorf("fsync is %s", got)
			}
		})
	}
	c := connect(t, s.URL())
	if n := value[int](t, c, "SELECT count(*) FROM pg_database WHERE datname ~ '^test'"); n != 0 {
		t.Errorf("%d databases are left", n)
	}
}

// TestKill: a crash takes what was not committed, and nothing else.
func TestKill(t *testing.T) {
	t.Parallel()
	s := pgspooltest.Start(t, nil)
	url := s.Database(t)
	c, open := connect(t, url), connect(t, url)
	exec(t, c, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
	exec(t, open, "BEGIN", "INSERT INTO kept VALUES (2)")
	s.Kill(t)
	if s.Running() {
		t.Error("the server runs")
	}
	if _, err := c.Exec(t.Context(), "SELECT 1"); err == nil {
		t.Error("a session of a dead server answers")
	}
	s.Restart(t)
	if n := value[int](t, connect(t, url), "SELECT sum(n) FROM kept"); n != 1 {
		t.Errorf("the sum is %d, want 1", n)
	}
	if log := s.Log(); !strings.Contains(log, "database system was not properly shut down") {
		t.Errorf("it was no crash:\n%s", log)
	}
	s.Restart(t)
}

// TestReplica: what was committed before the primary died is on the replica.
func TestReplica(t *testing.T) {
	t.Parallel()
	s := pgspooltest.Start(t, nil)
	url := s.Database(t)
	r := s.Replica(t, nil)
	proxy := pgspooltest.NewProxy(t, s.Addr())
	url = proxy.URL(t, url)
	c := connect(t, url)
	exec(t, c, "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
	s.Kill(t)
	r.Promote(t)
	proxy.Redirect(r.Addr())
	c = connect(t, url)
	exec(t, c, "INSERT INTO kept VALUES (2)")
	if n := value[int](t, c, "SELECT sum(n) FROM kept"); n != 3 {
		t.Errorf("the sum is %d, want 3", n)
	}
}

// TestBouncer: sessions of one client may get different ones of the server.
func TestBouncer(t *testing.T) {
	t.Parallel()
	s := pgspooltest.Start(t, nil)
	url := s.Database(t)
	through := s.Bouncer(t, url)
	config, err := pgx.ParseConfig(through)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	c, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	user, want := value[string](t, c, "SELECT current_user::text"), value[string](
		t, connect(t, url), "SELECT current_user::text",
	)
	if user != want {
		t.Errorf("the user is %s, want %s", user, want)
	}
	if url == through {
		t.Error("the URL is that of the server")
	}
}

// TestFillDisk: writes fail for want of room, until there is room again.
func TestFillDisk(t *testing.T) {
	t.Parallel()
	s := pgspooltest.Start(t, &pgspooltest.ServerOptions{DiskBytes: 256 << 20})
	url := s.Database(t)
	c := connect(t, url)
	const insert = "INSERT INTO filled SELECT repeat(md5(n::text), 20) FROM " +
		"generate_series(1, 50000) n"
	exec(t, c, "CREATE TABLE filled (s text)")
	restore := s.FillDisk(t)
	_, err := c.Exec(t.Context(), insert)
	if err == nil {
		t.Error("a full disk takes 30 MB")
	}
	var full *pgconn.PgError
	t.Log(err, "running:", s.Running(), "told:", errors.As(err, &full))
	restore()
	if !s.Running() {
		s.Restart(t)
	}
	for {
		again, err := pgx.Connect(t.Context(), url) // it may still recover
		if err == nil {
			exec(t, again, insert)
			again.Close(t.Context())
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestShiftClock(t *testing.T) {
	t.Parallel()
	s := pgspooltest.Start(t, nil)
	url := s.Database(t)
	c := connect(t, url)
	exec(t, c, `CREATE SCHEMA "mail queue"`, `CREATE FUNCTION "mail queue".clock()
		RETURNS timestamptz LANGUAGE sql STABLE AS 'SELECT now()'`)
	for _, d := range []time.Duration{time.Hour, 1500 * time.Millisecond, 0} {
		pgspooltest.ShiftClock(t, url, "mail queue", d)
		got := value[float64](t, c, `SELECT extract(epoch FROM "mail queue".clock() - now())`)
		if got != d.Seconds() {
			t.Errorf("the clock is ahead by %v seconds, want %v", got, d)
		}
	}
}
