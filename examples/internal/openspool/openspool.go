// Package openspool opens the store of a queue by what a configuration says: a
// directory, or the URL of a PostgreSQL database.
package openspool

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// Place is where a queue is kept.
type Place struct {
	dir      string
	database *url.URL // without its password; nil for a directory
	password string
}

var errURL = errors.New("is not a URL such as postgres://user@host/database")

// Parse reads the name of a directory or a URL that begins with postgres:// or
// postgresql://. A database without a password in its URL has that of
// PGPASSWORD, of the file that PGPASSFILE names, or of ~/.pgpass.
func Parse(where string) (Place, error) {
	if !strings.HasPrefix(where, "postgres://") && !strings.HasPrefix(where, "postgresql://") {
		if where == "" {
			return Place{}, errors.New("a directory or a postgres:// URL for the queue is required")
		}
		return Place{dir: where}, nil
	}
	u, err := url.Parse(where)
	if err != nil {
		return Place{}, errURL // what it tells might show the password
	}
	p := Place{database: u}
	if password, ok := u.User.Password(); ok {
		u.User, p.password = url.User(u.User.Username()), password
	}
	q := u.Query()
	if q.Has("password") || q.Has("sslpassword") {
		return Place{}, errors.New("has its password in front of the @, or in a file")
	}
	_, err = p.config()
	return p, err
}

// IsDatabase reports whether other hosts may share the queue.
func (p Place) IsDatabase() bool { return p.database != nil }

// HasPassword reports whether the URL has a password in it.
func (p Place) HasPassword() bool { return p.password != "" }

// WithPassword returns the place with the password of its database.
func (p Place) WithPassword(password string) Place {
	p.password = password
	return p
}

// Dir returns the directory; empty for a database.
func (p Place) Dir() string { return p.dir }

// String returns the directory or the URL, without its password.
func (p Place) String() string {
	if p.database == nil {
		return p.dir
	}
	return p.database.String()
}

// Open opens the queue, and makes it if it is not there. The caller calls close
// when all work has ended.
func (p Place) Open(
	ctx context.Context, log *slog.Logger,
) (queue spool.Store, close func(), err error) {
	if p.database == nil {
		queue, err := filespool.Open(p.dir, &filespool.Options{Logger: log})
		if err != nil {
			return nil, nil, err
		}
		return queue, func() { _ = queue.Close() }, nil
	}
	config, err := p.config()
	if err != nil {
		return nil, nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	queue, err = pgspool.Open(ctx, pool, &pgspool.Options{Logger: log})
	if err != nil {
		pool.Close()
		return nil, nil, err
	}
	return queue, func() { _ = queue.Close(); pool.Close() }, nil
}

// connections is what a store and its readers need.
const connections = 8

// config returns that of the pool.
func (p Place) config() (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig(p.database.String())
	if err != nil {
		return nil, err
	}
	if p.password != "" {
		config.ConnConfig.Password = p.password
	}
	if !p.database.Query().Has("pool_max_conns") {
		config.MaxConns = max(config.MaxConns, connections)
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = filepath.Base(os.Args[0])
	}
	return config, nil
}
