package pgspooltest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// patience is how long a server gets for what it does in a second or two
	// where nothing else runs.
	patience = 2 * time.Minute

	superuser = "postgres"
)

// ServerOptions tell what a server is like.
type ServerOptions struct {
	// Programs is the folder of PostgreSQL's programs. Defaults to the newest
	// /usr/lib/postgresql/*/bin, and to PATH where there is none.
	Programs string

	// Settings go to postgresql.conf, such as "synchronous_commit": "off".
	// Defaults to none: PostgreSQL's own, so that what is committed is synced,
	// but for 200 connections and what replicas need.
	Settings map[string]string

	// DiskBytes gives the server a small disk of its own, in memory, which
	// FillDisk fills: 256 MiB do for a few thousand messages. Only root on
	// Linux can make one. Defaults to 0, the folder for temporary files.
	DiskBytes int64
}

// Server is a PostgreSQL that belongs to a test. Its methods may be called from
// many goroutines at once; those that stop or start it one at a time.
type Server struct {
	programs *programs
	base     string // the folder that goes with the server
	data     string
	port     int
	disk     int64 // bytes of its own disk; 0 without one
	unmount  func() error

	mu   sync.Mutex
	proc *process // nil while it is stopped
	seq  int      // of the names it has given
}

// Start makes a server that is stopped and removed when t ends. When t fails,
// the end of the server's log is in its output.
func Start(t testing.TB, o *ServerOptions) *Server {
	t.Helper()
	s, err := NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.closeWith(t)
	return s
}

// closeWith closes the server at the end of t.
func (s *Server) closeWith(t testing.TB) {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of PostgreSQL:\n%s", s.Log())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// NewServer makes a server outside of a test, such as in TestMain. The caller
// closes it.
func NewServer(o *ServerOptions) (*Server, error) {
	if o == nil {
		o = &ServerOptions{}
	}
	s, err := prepare(o)
	if err != nil {
		return nil, err
	}
	if err := s.initialize(o.Settings); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	return s, nil
}

// prepare makes the folder of a server.
func prepare(o *ServerOptions) (*Server, error) {
	p, err := findPrograms(o.Programs)
	if err != nil {
		return nil, err
	}
	base, err := os.MkdirTemp("", "pgspooltest")
	if err != nil {
		return nil, err
	}
	s := &Server{
		programs: p, base: base, data: filepath.Join(base, "disk", "data"), disk: o.DiskBytes,
		unmount: func() error { return nil },
	}
	disk := filepath.Dir(s.data)
	if err := os.Mkdir(disk, 0o700); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if o.DiskBytes > 0 {
		if s.unmount, err = mountDisk(disk, o.DiskBytes); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	if err := errors.Join(p.own(base), p.own(disk)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// initialize makes an empty cluster.
func (s *Server) initialize(settings map[string]string) error {
	if err := s.programs.run(s.base, "initdb", "-D", s.data, "-U", superuser,
		"-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"); err != nil {
		return err
	}
	conf, err := os.OpenFile(
		filepath.Join(s.data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0,
	)
	if err != nil {
		return err
	}
	defer conf.Close()
	all := map[string]string{
		"listen_addresses": "127.0.0.1", "unix_socket_directories": "",
		"max_connections": "200", "wal_level": "replica", "hot_standby": "on",
		"log_line_prefix": "%m [%p] ", "log_timezone": "UTC", "timezone": "UTC",
	}
	maps.Copy(all, settings)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		value := strings.ReplaceAll(all[name], "'", "''")
		if _, err := fmt.Fprintf(conf, "%s = '%s'\n", name, value); err != nil {
			return err
		}
	}
	return nil
}

// begin starts the server for the first time, at a port that is free. Another
// process may take the port in between.
func (s *Server) begin() error {
	var err error
	for range 5 {
		if s.port, err = freePort(); err != nil {
			break
		}
		if err = s.start(); err == nil {
			return nil
		}
		if !strings.Contains(s.Log(), "could not bind") {
			break
		}
	}
	return errors.Join(err, s.Close())
}

// freePort is a port below those that the system gives to clients, so that it
// is still free when the server comes back.
func freePort() (int, error) {
	var err error
	for range 100 {
		port := 10_000 + rand.N(20_000)
		l, listenErr := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err = listenErr; err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}

// start runs the server until it answers.
func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc != nil {
		return errors.New("pgspooltest: the server runs")
	}
	proc, err := s.programs.start(
		s.base, s.logFile(), "postgres", "-D", s.data, "-p", strconv.Itoa(s.port),
	)
	if err != nil {
		return err
	}
	s.proc = proc
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := s.ping(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-proc.done:
			s.proc = nil
			return fmt.Errorf("pgspooltest: the server ended: %w\n%s", err, s.Log())
		case <-ctx.Done():
			return fmt.Errorf("pgspooltest: not ready: %w\n%s", err, s.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (s *Server) ping(ctx context.Context) error {
	c, err := pgx.Connect(ctx, s.URL())
	if err != nil {
		return err
	}
	return c.Close(ctx)
}

// URL leads to the database postgres, as its superuser.
func (s *Server) URL() string { return s.url(superuser, superuser) }

func (s *Server) url(user, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.User(user), Host: s.Addr(), Path: "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Addr is where the server listens, as "host:port". It stays the same.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

func (s *Server) logFile() string { return filepath.Join(s.base, "log") }

// Log is the end of the server's log, at most 16 KiB.
func (s *Server) Log() string {
	b, err := os.ReadFile(s.logFile())
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-16<<10):])
}

// Close stops the server and removes its data. It may be called again.
func (s *Server) Close() error {
	s.stop(quit)
	return errors.Join(s.unmount(), os.RemoveAll(s.base))
}
