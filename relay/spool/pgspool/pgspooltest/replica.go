package pgspooltest

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// ReplicaOptions tell how a replica follows.
type ReplicaOptions struct {
	// Asynchronous lets the primary answer before the replica has what was
	// committed: a fail-over then loses the newest. Defaults to false, so that
	// a commit waits for the replica.
	Asynchronous bool
}

// Replica makes a hot standby of s that streams from it, and returns when it
// does. It has a disk like that of s. It is stopped and removed when t ends.
func (s *Server) Replica(t testing.TB, o *ReplicaOptions) *Server {
	t.Helper()
	if o == nil {
		o = &ReplicaOptions{}
	}
	r, err := prepare(&ServerOptions{Programs: s.programs.dir, DiskBytes: s.disk})
	if err != nil {
		t.Fatal(err)
	}
	r.closeWith(t)
	name := filepath.Base(r.base)
	_, port, err := net.SplitHostPort(s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	source := fmt.Sprintf(
		"host=127.0.0.1 port=%s user=%s application_name=%s", port, superuser, name,
	)
	if err := r.programs.run(r.base, "pg_basebackup", "-d", source, "-D", r.data, "-R",
		"-X", "stream", "-c", "fast", "-C", "-S", name, "--no-sync"); err != nil {
		t.Fatal(err)
	}
	if err := r.begin(); err != nil {
		t.Fatal(err)
	}
	s.await(t, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming' "+
		"AND application_name = '"+name+"'")
	if !o.Asynchronous {
		s.Exec(t, "ALTER SYSTEM SET synchronous_standby_names = '"+name+"'",
			"SELECT pg_reload_conf()")
		s.await(t, "SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync' "+
			"AND application_name = '"+name+"'")
	}
	return r
}

// Promote makes a replica a primary, and returns when it takes writes. Kill the
// old primary first: two would go separate ways.
func (s *Server) Promote(t testing.TB) {
	t.Helper()
	s.await(t, "SELECT pg_promote()")
	s.await(t, "SELECT NOT pg_is_in_recovery()")
}

// await repeats a query until its answer is true.
func (s *Server) await(t testing.TB, query string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	for {
		var yes bool
		if err := c.QueryRow(ctx, query).Scan(&yes); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		if yes {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
