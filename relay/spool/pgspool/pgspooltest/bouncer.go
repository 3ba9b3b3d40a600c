package pgspooltest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const bouncerConfig = `[databases]
%s = host=%s port=%s dbname=%s user=%s

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 20
max_client_conn = 1000
`

// Bouncer runs pgbouncer in transaction mode before the database at a URL, and
// returns the URL of the same database through it. It ends with t.
func (s *Server) Bouncer(t testing.TB, database string) string {
	t.Helper()
	program := findBouncer(t)
	dir, err := os.MkdirTemp("", "pgspooltest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	config := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(
		bouncerConfig, name, u.Hostname(), u.Port(), name, u.User.Username(), port,
	)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{dir, config} {
		if err := s.programs.own(file); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(dir, "log")
	proc, err := s.programs.start(dir, log, program, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proc.end(quit) })
	u.Host = fmt.Sprint("127.0.0.1:", port)
	awaitBouncer(t, u.String(), proc, log)
	return u.String()
}

// findBouncer finds the program where PATH may not lead.
func findBouncer(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if program, err := exec.LookPath(name); err == nil {
			return program
		}
	}
	t.Fatal("pgspooltest: pgbouncer is not installed")
	return ""
}

// awaitBouncer waits until the database answers through pgbouncer.
func awaitBouncer(t testing.TB, url string, proc *process, log string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		c, err := pgx.Connect(ctx, url)
		if err == nil {
			c.Close(ctx)
			return
		}
		select {
		case <-proc.done:
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
			continue
		}
		text, _ := os.ReadFile(log)
		t.Fatalf("pgspooltest: pgbouncer does not answer: %v\n%s", err, text)
	}
}
