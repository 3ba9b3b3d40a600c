package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/examples/internal/proc"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// server is the PostgreSQL of all scenarios.
type server struct {
	url     string // of its superuser
	version string
	root    int // the process that the others descend from
	stop    func() error
	made    int // databases
}

// startServer starts a server, or uses the one at url.
func startServer(ctx context.Context, url string) (*server, error) {
	s := &server{url: url, stop: func() error { return nil }}
	if url == "" {
		own, err := pgspooltest.NewServer(nil)
		if err != nil {
			return nil, err
		}
		s.url, s.stop = own.URL(), own.Close
	}
	if err := s.look(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

// look finds out what the server is. Each backend is a child of the postmaster.
func (s *server) look(ctx context.Context) error {
	c, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	var backend int
	err = c.QueryRow(ctx, "SELECT pg_backend_pid(), current_setting('server_version')").
		Scan(&backend, &s.version)
	if err == nil {
		s.root, err = proc.Parent(backend)
	}
	return err
}

// fresh makes an empty database and returns its URL. What others have left to
// be written is written before.
func (s *server) fresh(ctx context.Context) (string, func() error, error) {
	u, err := url.Parse(s.url)
	if err != nil {
		return "", nil, err
	}
	s.made++
	name := fmt.Sprintf("bench_%d_%d", os.Getpid(), s.made)
	if err := s.exec(ctx, "CREATE DATABASE "+name, "CHECKPOINT"); err != nil {
		return "", nil, err
	}
	u.Path = "/" + name
	return u.String(), func() error {
		return s.exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)")
	}, nil
}

func (s *server) exec(ctx context.Context, statements ...string) error {
	c, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	for _, sql := range statements {
		if _, err := c.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// connections are those of a pool: a store keeps one to listen, and an
// application has its own.
const connections = 12

// pool connects to a fresh database.
func (s *server) pool(ctx context.Context) (*pgxpool.Pool, func() error, error) {
	url, drop, err := s.fresh(ctx)
	if err != nil {
		return nil, nil, err
	}
	p, err := connect(ctx, url, connections)
	if err != nil {
		return nil, nil, errors.Join(err, drop())
	}
	return p, func() error { p.Close(); return drop() }, nil
}

func connect(ctx context.Context, url string, connections int32) (*pgxpool.Pool, error) {
	c, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, err
	}
	c.MaxConns = connections
	return pgxpool.NewWithConfig(ctx, c)
}
