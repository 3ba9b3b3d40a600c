package pgspool

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed migrations/*.sql
var migrations embed.FS

// version is that of the schema which this package is written for.
const version = 3

// migrating is the advisory lock of who changes the schema; its second half is
// a digest of the schema's name.
const migrating = 0x706f7374 // "post"

// Migrations returns the files that make the schema, for goose: run them with a
// search_path of the schema alone, and open the store with NoMigrate.
func Migrations() fs.FS {
	sub, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the folder is part of the program
	}
	return sub
}

// Migrate makes the schema, or brings it up to date. Several processes may do
// so at once. Open does it, too.
func Migrate(ctx context.Context, pool *pgxpool.Pool, schema string) error {
	n := schemaName(schema)
	if err := n.fault(); err != nil {
		return err
	}
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { return n.migrate(ctx, tx) })
	if err != nil {
		return fmt.Errorf("pgspool: schema %q: %w", schema, advised(err))
	}
	return nil
}

func (n schemaName) migrate(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1, hashtext($2))",
		pgx.QueryExecModeExec, int32(migrating), string(n))
	if err != nil {
		return err
	}
	has, err := n.version(ctx, tx)
	if err != nil || has >= version {
		return err
	}
	if has == 0 {
		if err := n.create(ctx, tx); err != nil {
			return err
		}
	}
	// The files name no schema, so that goose can run them.
	_, err = tx.Exec(ctx, "SET LOCAL search_path TO "+n.quoted(), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return err
	}
	files, err := fs.ReadDir(Migrations(), ".")
	for _, f := range files {
		if number, _, _ := strings.Cut(f.Name(), "_"); err == nil && atoi(number) > has {
			err = runFile(ctx, tx, f.Name())
		}
	}
	return err
}

// create makes the schema itself, unless somebody has: who may not create one
// can be given an empty one.
func (n schemaName) create(ctx context.Context, tx pgx.Tx) error {
	var there bool
	err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)",
		pgx.QueryExecModeExec, string(n)).Scan(&there)
	if err == nil && !there {
		_, err = tx.Exec(ctx, "CREATE SCHEMA "+n.quoted(), pgx.QueryExecModeSimpleProtocol)
	}
	return err
}

func runFile(ctx context.Context, tx pgx.Tx, name string) error {
	text, err := fs.ReadFile(Migrations(), name)
	if err != nil {
		return err
	}
	up, _, _ := strings.Cut(string(text), "-- +goose Down")
	if _, err := tx.Exec(ctx, up, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// version returns that of the schema, 0 where there is none.
func (n schemaName) version(ctx context.Context, tx querier) (int, error) {
	var there bool
	err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL",
		pgx.QueryExecModeExec, n.in("@version")).Scan(&there)
	if err != nil || !there {
		return 0, err
	}
	var has, least int
	err = tx.QueryRow(ctx, n.in("SELECT max(version), max(least) FROM @version"),
		pgx.QueryExecModeExec).Scan(&has, &least)
	if err == nil && least > version {
		return 0, fmt.Errorf("the schema is of version %d and needs a newer program", has)
	}
	return has, err
}

// check tells whether the schema that somebody else has made will do.
func (n schemaName) check(ctx context.Context, q querier) error {
	has, err := n.version(ctx, q)
	if err == nil && has < version {
		err = fmt.Errorf("version %d is wanted and %d is there: run the migrations", version, has)
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "42501" {
		err = fmt.Errorf("the role needs USAGE of it, and rights on what is in it: %w", err)
	}
	if err != nil {
		return fmt.Errorf("pgspool: schema %q: %w", string(n), err)
	}
	return nil
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// querier is a pool, a connection or a transaction.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// schemaName is the schema of a queue.
type schemaName string

func (n schemaName) quoted() string { return pgx.Identifier{string(n)}.Sanitize() }

// in puts the schema in front of the names in a statement, which are marked by
// an @.
func (n schemaName) in(sql string) string {
	return strings.ReplaceAll(sql, "@", n.quoted()+".")
}
