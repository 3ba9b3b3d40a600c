package pgspool_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// refused sees that Open tells what to do.
func refused(t *testing.T, pool *pgxpool.Pool, o *pgspool.Options, words ...string) {
	t.Helper()
	s, err := pgspool.Open(t.Context(), pool, o)
	if err == nil {
		s.Close()
		t.Fatalf("opened, without a word of %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("no word of %q: %v", w, err)
		}
	}
}

func TestServerThatWillNotDo(t *testing.T) {
	for _, c := range []struct {
		version int
		standby bool
		want    string
	}{
		{13_00_23, false, "PostgreSQL 13, and 14 is the oldest"},
		{9_06_00, false, "PostgreSQL 9, and 14"},
		{14_00_00, false, ""},
		{17_00_02, true, "target_session_attrs=read-write"},
	} {
		err := pgspool.ServerFault(c.version, c.standby)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d, %v: %v", c.version, c.standby, err)
		}
	}
}

func TestSessionsThatWillNotDo(t *testing.T) {
	url := server.Database(t)
	open(t, url) // the schema is there
	refused(t, connect(t, url+"&default_transaction_read_only=on"), nil,
		"take no writes", "default_transaction_read_only")
	refused(t, connect(t, url+"&default_transaction_isolation=serializable"), nil,
		"read committed", "serializable")
}

func TestSchemasThatWillNotDo(t *testing.T) {
	pool := connect(t, server.Database(t))
	statements(t, pool,
		"CREATE SCHEMA app", "CREATE TABLE app.message (n int)",
		"CREATE SCHEMA goose", "CREATE TABLE goose.version (n int)")
	for _, name := range []string{"app", "goose"} {
		refused(t, pool, &pgspool.Options{Schema: name}, name, "somebody else", "Options.Schema")
	}
	refused(t, pool, &pgspool.Options{Schema: strings.Repeat("s", 64)}, "63 bytes")
	refused(t, pool, &pgspool.Options{Schema: strings.Repeat("s", 64), NoMigrate: true}, "63 bytes")
}

// TestRolesWithoutRights opens a queue as a role that may make no schema, then
// one that may use somebody else's.
func TestRolesWithoutRights(t *testing.T) {
	url := server.Database(t)
	owner := connect(t, url)
	name := fmt.Sprintf("clerk%d", time.Now().UnixNano())
	server.Exec(t, "CREATE ROLE "+name+" LOGIN")
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.User = name
	clerk, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer clerk.Close()
	refused(t, clerk, nil, "CREATE on the database", "NoMigrate")
	if err := pgspool.Migrate(t.Context(), owner, "postern"); err != nil {
		t.Fatal(err)
	}
	refused(t, clerk, &pgspool.Options{NoMigrate: true}, "needs USAGE")

	statements(t, owner, "GRANT USAGE ON SCHEMA postern TO "+name,
		"GRANT SELECT ON ALL TABLES IN SCHEMA postern TO "+name,
		"GRANT SELECT ON ALL SEQUENCES IN SCHEMA postern TO "+name)
	if log := openAsClerk(t, clerk); !strings.Contains(log, "INSERT on delivery") {
		t.Errorf("the log does not tell which rights lack: %s", log)
	}
	statements(t, owner,
		"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA postern TO "+name)
	if log := openAsClerk(t, clerk); log != "" {
		t.Errorf("with the rights that the guide names it is warned: %s", log)
	}
	s, err := pgspool.Open(t.Context(), clerk, &pgspool.Options{NoMigrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	roundTrip(t, s)
	commitRecords(t, s, record("1"))
	if got, err := s.Records(t.Context(), 0, 9); err != nil || len(got) != 1 {
		t.Errorf("the log has %v, %v", got, err)
	}
	if _, live, err := s.Beat(t.Context(), "g", "a", time.Minute); err != nil || live != 1 {
		t.Error(live, err)
	}
}

// openAsClerk opens and closes a store, and returns what it has warned of.
func openAsClerk(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	var log strings.Builder
	s, err := pgspool.Open(t.Context(), pool, &pgspool.Options{
		NoMigrate: true, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	return log.String()
}

// TestSmallestPool works on one connection, which it does not keep to listen.
func TestSmallestPool(t *testing.T) {
	s := open(t, server.Database(t)+"&pool_max_conns=1")
	news := s.Appended()
	roundTrip(t, s)
	commitRecords(t, s, record("1"))
	select {
	case <-news:
	case <-time.After(20 * time.Second):
		t.Fatal("nobody tells of the record")
	}
	got, err := s.Records(t.Context(), 0, 9)
	if err != nil || len(got) != 1 {
		t.Errorf("the log has %v, %v", got, err)
	}
}

// TestBouncerWithoutItsMode opens pools whose prepared statements are those of
// somebody else, as a pooler in transaction mode has it.
func TestBouncerWithoutItsMode(t *testing.T) {
	url := server.Bouncer(t, server.Database(t))
	for range 20 {
		s, err := pgspool.Open(t.Context(), connect(t, url), nil)
		if err == nil {
			s.Close()
			continue
		}
		if !strings.Contains(err.Error(), "default_query_exec_mode=cache_describe") {
			t.Fatalf("the error does not tell what to do: %v", err)
		}
		return
	}
	t.Fatal("opened again and again: does the pooler keep sessions?")
}
