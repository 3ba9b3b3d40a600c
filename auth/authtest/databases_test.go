//go:build unix

package authtest_test

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"
)

// databases are where the tests run: each a fresh database. A PostgreSQL that
// cannot be started is a failure.
func databases(t *testing.T, test func(t *testing.T, db *sql.DB)) {
	t.Run("sqlite", func(t *testing.T) {
		test(t, openSQLite(t))
	})
	t.Run("postgres", func(t *testing.T) {
		server, err := sql.Open("pgx", address+"/postgres")
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		name := fmt.Sprint("t", time.Now().UnixNano())
		if _, err := server.ExecContext(t.Context(), "CREATE DATABASE "+name); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("pgx", address+"/"+name)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		test(t, db)
	})
}

func openSQLite(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open(
		"sqlite", "file:"+filepath.Join(t.TempDir(), "users.db")+"?_pragma=busy_timeout(10000)",
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

var (
	address string // of the PostgreSQL server, without a database
	kill    func()
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		return // all of it needs PostgreSQL
	}
	dir, err := os.MkdirTemp("", "authtest")
	if err == nil {
		err = startPostgres(dir)
	}
	code := 1
	if err != nil {
		fmt.Fprintln(os.Stderr, "PostgreSQL:", err)
	} else {
		code = m.Run()
		kill()
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// listenLow listens at a port below those that the system gives to clients:
// none of them takes it before the server does.
func listenLow() (l net.Listener, err error) {
	for range 100 {
		l, err = net.Listen("tcp4", fmt.Sprint("127.0.0.1:", 10_000+rand.N(20_000)))
		if err == nil {
			break
		}
	}
	return l, err
}

// startPostgres starts a server that keeps its data in dir. It refuses to run
// as root.
func startPostgres(dir string) error {
	attr := &syscall.SysProcAttr{}
	if os.Getuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return err
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2, os.Chown(dir, int(uid), int(gid))); err != nil {
			return err
		}
		attr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	bin, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(bin) == 0 {
		return errors.New("not installed: apt-get install postgresql")
	}
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin[len(bin)-1], name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, attr
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := run(
		"initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N",
	).CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	l, err := listenLow()
	if err != nil {
		return err
	}
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	logFile, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer logFile.Close()
	server := run("postgres", "-D", data, "-h", "127.0.0.1", "-p", port, "-k", "", "-F")
	server.Stdout, server.Stderr = logFile, logFile
	if err := server.Start(); err != nil {
		return err
	}
	kill = sync.OnceFunc(func() {
		server.Process.Signal(syscall.SIGINT) // ends sessions too
		server.Wait()
	})
	address = "postgres://postgres@127.0.0.1:" + port
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db, err := sql.Open("pgx", address+"/postgres")
	if err != nil {
		return err
	}
	defer db.Close()
	for db.PingContext(ctx) != nil {
		select {
		case <-ctx.Done():
			kill()
			text, _ := os.ReadFile(logFile.Name())
			return fmt.Errorf("not ready after a minute\n%s", text)
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}
