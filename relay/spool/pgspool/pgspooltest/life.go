package pgspooltest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Kill stops the server at once, as a crash of the machine does: its sessions
// end, nothing more is written, and the next start recovers from the log. It
// returns when the server is down.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if !s.stop(quit) {
		t.Fatal("pgspooltest: the server is down already")
	}
}

// Stop stops the server as an operator does: transactions under way are rolled
// back, and what is in memory is written.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if !s.stop(os.Interrupt) {
		t.Fatal("pgspooltest: the server is down already")
	}
}

// Restart starts the server where it was, and returns when it answers. A server
// that runs is stopped first, as by Stop.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.stop(os.Interrupt)
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

// stop reports whether the server ran.
func (s *Server) stop(sig os.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return false
	}
	running := s.proc.end(sig)
	s.proc = nil
	return running
}

// Exec runs statements as the superuser, in the database postgres.
func (s *Server) Exec(t testing.TB, statements ...string) {
	t.Helper()
	execute(t, s.URL(), statements...)
}

// execute runs statements one by one in the database at url.
func execute(t testing.TB, url string, statements ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	for _, statement := range statements {
		if _, err := c.Exec(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// Await waits until the server takes writes again, as after a lack of room.
func (s *Server) Await(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := s.write(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("pgspooltest: no writes: %v\n%s", err, s.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// write commits a transaction.
func (s *Server) write(ctx context.Context) error {
	c, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	_, err = c.Exec(ctx, "SELECT pg_logical_emit_message(true, '', '')")
	return err
}
