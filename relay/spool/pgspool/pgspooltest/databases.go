package pgspooltest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Database makes an empty database and returns its URL. It belongs to a user of
// its own, who may do nothing beyond it: what works there needs no superuser.
// It is dropped when t ends, with the sessions that are still in it.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	s.seq++
	name := fmt.Sprint("test", s.seq)
	s.mu.Unlock()
	s.Exec(t, "CREATE ROLE "+name+" LOGIN", "CREATE DATABASE "+name+" OWNER "+name)
	t.Cleanup(func() { s.drop(name) })
	return s.url(name, name)
}

// drop does without a word what can be done: the server may be down, and its
// data goes with it.
func (s *Server) drop(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return
	}
	defer c.Close(ctx)
	_, _ = c.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
	_, _ = c.Exec(ctx, "DROP ROLE "+name)
}

// ShiftClock lets the clock of the queue in a schema run ahead by d: what is
// due, and what ends, does so by that clock. It replaces the schema's function
// clock(); 0 sets it right again.
func ShiftClock(t testing.TB, url, schema string, d time.Duration) {
	t.Helper()
	execute(t, url, fmt.Sprintf(
		"CREATE OR REPLACE FUNCTION %s.clock() RETURNS timestamptz LANGUAGE sql STABLE "+
			"AS $$ SELECT now() + interval '%f seconds' $$",
		pgx.Identifier{schema}.Sanitize(), d.Seconds(),
	))
}
