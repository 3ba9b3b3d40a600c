package pgspool_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// server is that of all tests here: each has a database of its own.
var server *pgspooltest.Server

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		return // all but the fuzzing needs PostgreSQL
	}
	if flagged("test.fuzz") || flagged("test.list") {
		os.Exit(m.Run()) // without a server for each of the workers
	}
	os.Exit(run(m))
}

// flagged reports whether a flag was given.
func flagged(name string) bool { return flag.Lookup(name).Value.String() != "" }

func run(m *testing.M) int {
	s, err := pgspooltest.NewServer(nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer s.Close()
	server = s
	return m.Run()
}

// connect returns a pool that is closed when t ends.
func connect(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// open opens a store of a database that is closed when t ends.
func open(t testing.TB, url string) *pgspool.Store {
	t.Helper()
	return openOn(t, connect(t, url))
}

func openOn(t testing.TB, pool *pgxpool.Pool) *pgspool.Store {
	t.Helper()
	s, err := pgspool.Open(context.Background(), pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// message commits one for a route.
func message(t testing.TB, s spool.Store, route, content string) spool.ID {
	t.Helper()
	id := spool.NewID(time.Now())
	w, err := s.Create(t.Context(), id)
	if err == nil {
		_, err = w.Write([]byte(content))
	}
	if err == nil {
		err = w.Commit(t.Context(), spool.Commit{Deliveries: []spool.Delivery{{
			Key: spool.Key{Route: route}, Recipients: []spool.Recipient{{Address: "a@" + route}},
		}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}
