package pgspool_test

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// statements runs some.
func statements(t testing.TB, pool *pgxpool.Pool, list ...string) {
	t.Helper()
	for _, text := range list {
		if _, err := pool.Exec(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
}

// roundTrip has a message go through a store.
func roundTrip(t testing.TB, s spool.Store) {
	t.Helper()
	message(t, s, "a", "hello")
	var got spool.Leased
	for end := time.Now().Add(20 * time.Second); len(got.Leases) == 0; {
		var err error
		got, err = s.Lease(t.Context(), spool.LeaseRequest{Max: 1, TTL: time.Minute})
		if err != nil || time.Now().After(end) {
			t.Fatalf("leased %+v, %v", got, err)
		}
		time.Sleep(min(got.Wait, 100*time.Millisecond))
	}
	l := got.Leases[0]
	done := spool.Settlement{ID: l.Delivery.ID, Token: l.Token}
	if err := s.Settle(t.Context(), done); err != nil {
		t.Fatal(err)
	}
}

// TestNextVersionOfSchema runs this program on the schema of a later one, which
// has new columns, tables and fields.
func TestNextVersionOfSchema(t *testing.T) {
	pool := connect(t, server.Database(t))
	old := openOn(t, pool)
	statements(t, pool,
		"ALTER TABLE postern.message ADD COLUMN later int NOT NULL DEFAULT 7",
		"ALTER TABLE postern.delivery ADD COLUMN later text",
		"ALTER TABLE postern.inbox ADD COLUMN later text",
		"INSERT INTO postern.version (version, least) VALUES (4, 1)",
	)
	roundTrip(t, old) // it has begun before
	again := openOn(t, pool)
	roundTrip(t, again)
}

// TestSchemaOfAVersionBefore brings a schema up to date in which a program
// works.
func TestSchemaOfAVersionBefore(t *testing.T) {
	undo := []string{ // from the newest version on
		`DROP INDEX postern.delivery_held; DROP INDEX postern.delivery_waiting;
		DROP INDEX postern.delivery_due;
		CREATE INDEX delivery_next ON postern.delivery (key, at) WHERE NOT held AND token = 0;
		CREATE INDEX delivery_at ON postern.delivery (at) WHERE NOT held`,
		"ALTER TABLE postern.chunk RESET (toast_tuple_target)",
	}
	for n := range undo {
		before := len(undo) - n
		t.Run(fmt.Sprint("version ", before), func(t *testing.T) {
			pool := connect(t, server.Database(t))
			old := openOn(t, pool)
			statements(t, pool, undo[:n+1]...)
			statements(t, pool,
				fmt.Sprint("DELETE FROM postern.version WHERE version > ", before))
			roundTrip(t, old)
			s := openOn(t, pool)
			var options, index string
			err := pool.QueryRow(t.Context(), `SELECT reloptions::text,
				coalesce(to_regclass('postern.delivery_held')::text, '')
				FROM pg_class WHERE oid = 'postern.chunk'::regclass`).Scan(&options, &index)
			if err != nil || !strings.Contains(options, "toast_tuple_target=8160") ||
				index == "" {
				t.Errorf("the table has %s, the index is %q, %v", options, index, err)
			}
			roundTrip(t, old)
			roundTrip(t, s)
		})
	}
}

func TestSchemaOfTooNewAVersion(t *testing.T) {
	pool := connect(t, server.Database(t))
	if err := pgspool.Migrate(t.Context(), pool, "postern"); err != nil {
		t.Fatal(err)
	}
	statements(t, pool, "INSERT INTO postern.version (version, least) VALUES (9, 8)")
	for _, o := range []*pgspool.Options{nil, {NoMigrate: true}} {
		_, err := pgspool.Open(t.Context(), pool, o)
		if err == nil || !strings.Contains(err.Error(), "newer program") {
			t.Errorf("with %+v the error is %v", o, err)
		}
	}
}

func TestSchemaThatIsMissing(t *testing.T) {
	pool := connect(t, server.Database(t))
	_, err := pgspool.Open(t.Context(), pool, &pgspool.Options{NoMigrate: true})
	if err == nil || !strings.Contains(err.Error(), "run the migrations") {
		t.Errorf("the error is %v", err)
	}
}

// TestManyMigrateAtOnce opens two queues of odd names from many processes.
func TestManyMigrateAtOnce(t *testing.T) {
	url := server.Database(t)
	var wg sync.WaitGroup
	for i := range 8 {
		name := []string{"a queue", `B"q`}[i%2]
		pool := connect(t, url)
		wg.Go(func() {
			s, err := pgspool.Open(context.Background(), pool, &pgspool.Options{Schema: name})
			if err != nil {
				t.Errorf("%q: %v", name, err)
				return
			}
			s.Close()
		})
	}
	wg.Wait()
	s, err := pgspool.Open(t.Context(), connect(t, url), &pgspool.Options{Schema: `B"q`})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	roundTrip(t, s)
}

// TestMigrationsNameNoSchema runs the files as other tools do: in a schema that
// the search path names.
func TestMigrationsNameNoSchema(t *testing.T) {
	url := server.Database(t)
	pool := connect(t, url)
	statements(t, pool, "CREATE SCHEMA mail")
	files, err := fs.Glob(pgspool.Migrations(), "*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := fs.ReadFile(pgspool.Migrations(), path.Base(name))
		if err != nil {
			t.Fatal(err)
		}
		script := "SET search_path TO mail;" + string(text)
		if _, err := conn.Conn().PgConn().Exec(t.Context(), script).ReadAll(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	conn.Conn().Close(t.Context())
	conn.Release()
	s, err := pgspool.Open(t.Context(), pool, &pgspool.Options{Schema: "mail", NoMigrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	roundTrip(t, s)
}
