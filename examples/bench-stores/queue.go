package main

import (
	"context"
	"errors"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// queue is an empty store. close removes what it has kept.
type queue struct {
	spool.Store
	close func() error
}

// opener makes a queue.
type opener func(ctx context.Context) (*queue, error)

func (b *bench) openPostgres(ctx context.Context) (*queue, error) {
	pool, drop, err := b.server.pool(ctx)
	if err != nil {
		return nil, err
	}
	s, err := openPool(ctx, pool)
	if err != nil {
		return nil, errors.Join(err, drop())
	}
	return &queue{s, func() error { return errors.Join(s.Close(), drop()) }}, nil
}

func openPool(ctx context.Context, pool *pgxpool.Pool) (*pgspool.Store, error) {
	return pgspool.Open(ctx, pool, nil)
}

func (b *bench) openDirectory(context.Context) (*queue, error) {
	dir, err := os.MkdirTemp(b.dir, "spool")
	if err != nil {
		return nil, err
	}
	s, err := openDirectory(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &queue{s, func() error { return errors.Join(s.Close(), os.RemoveAll(dir)) }}, nil
}

func openDirectory(dir string) (*filespool.Store, error) { return filespool.Open(dir, nil) }
