package main

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"strings"

	_ "modernc.org/sqlite" // the driver

	"github.com/postern-mail/postern/auth"
)

// users are the people and their applications.
type users struct {
	db      *sql.DB
	people  auth.Verifier
	store   auth.CredentialStore
	keyring *auth.Keyring
}

func openUsers(ctx context.Context, file string) (*users, error) {
	// The hashes are nobody else's to read.
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	f.Close()
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		return nil, err
	}
	credentials := auth.NewSQLCredentials(db, auth.SQLCredentialsOptions{})
	_, err = db.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, password TEXT NOT NULL)")
	if err := errors.Join(err, credentials.CreateTable(ctx)); err != nil {
		db.Close()
		return nil, err
	}
	return &users{
		db:     db,
		people: auth.NewSQL(db, "SELECT name, password FROM users WHERE name = lower($1)", auth.SQLOptions{}),
		store:  credentials,
		keyring: auth.NewKeyring(credentials, auth.KeyringOptions{OnRefusal: func(e *auth.CredentialError) {
			slog.Warn("application refused", "id", e.ID, "owner", e.Owner, "label", e.Label, "reason", string(e.Refusal))
		}}),
	}, nil
}

func (u *users) add(ctx context.Context, name, password string) error {
	name, err := auth.PrepareName(strings.ToLower(name))
	if err != nil {
		return err
	}
	if len(password) < 12 {
		return errors.New("the password has less than 12 characters")
	}
	_, err = u.db.ExecContext(ctx, "INSERT INTO users VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET password = excluded.password",
		name, auth.HashPassword(password))
	return err
}

// Verify tells applications by their tokens, and people by their passwords.
func (u *users) Verify(ctx context.Context, c auth.Credentials) (*auth.Identity, error) {
	id, err := u.keyring.Verify(ctx, c)
	_, application := errors.AsType[*auth.CredentialError](err)
	if application || !errors.Is(err, auth.ErrBadCredentials) {
		return id, err
	}
	return u.people.Verify(ctx, c)
}
