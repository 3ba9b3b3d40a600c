package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"

	_ "modernc.org/sqlite" // the driver

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/domains"
)

// users are the people and their applications. It is the relay's Verifier and
// its Quota.
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
	path := (&url.URL{Path: file}).EscapedPath()
	db, err := sql.Open(
		"sqlite", "file:"+path+"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)",
	)
	if err != nil {
		return nil, err
	}
	credentials := auth.NewSQLCredentials(
		db, &auth.SQLCredentialsOptions{Table: "postern_credentials"},
	)
	_, err = db.ExecContext(
		ctx, "CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, password TEXT NOT NULL)",
	)
	if err := errors.Join(err, credentials.CreateTable(ctx)); err != nil {
		db.Close()
		return nil, err
	}
	return &users{
		db: db,
		people: auth.NewSQL(
			db, "SELECT name, password FROM users WHERE name = $1", nil,
		),
		store: credentials,
		keyring: auth.NewKeyring(credentials, &auth.KeyringOptions{
			OnRefusal: func(e *auth.CredentialError) {
				slog.Warn(
					"application refused", "id", e.ID, "owner", e.Owner, "label", e.Label, "reason",
					string(e.Refusal),
				)
			},
			OnError: func(err error) { slog.Warn("use of a token", "error", err) },
		}),
	}, nil
}

// fold returns the one form in which names are kept and looked up, whatever
// capitals they are written with.
func fold(name string) (string, error) { return auth.PrepareName(strings.ToLower(name)) }

var errNoUser = errors.New("no such user")

// known returns errNoUser for a name that no user has.
func (u *users) known(ctx context.Context, name string) error {
	err := u.db.QueryRowContext(ctx, "SELECT name FROM users WHERE name = $1", name).Scan(&name)
	if errors.Is(err, sql.ErrNoRows) {
		return errNoUser
	}
	return err
}

func (u *users) add(ctx context.Context, name, password string) error {
	name, err := fold(name)
	if err != nil {
		return err
	}
	if _, err := domains.Parse(name); err != nil {
		return fmt.Errorf("user %q is not an address", name)
	}
	if len(password) < 12 {
		return errors.New("the password has less than 12 characters")
	}
	_,
		err = u.db.ExecContext(ctx, "INSERT INTO users VALUES ($1, $2) ON CONFLICT (name) DO "+
		"UPDATE SET password = excluded.password",
		name, auth.HashPassword(password))
	return err
}

// remove leaves no token behind for another user of the name to come.
func (u *users) remove(ctx context.Context, name string) error {
	name, err := fold(name)
	if err != nil {
		return err
	}
	tx, err := u.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	result, err := tx.ExecContext(ctx, "DELETE FROM users WHERE name = $1", name)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return cmp.Or(err, fmt.Errorf("%q: %w", name, errNoUser))
	}
	if _, err := tx.ExecContext(
		ctx, "DELETE FROM postern_credentials WHERE owner = $1", name,
	); err != nil {
		return err
	}
	return tx.Commit()
}

// issue makes a token for an application of a user. Nobody else gets one: it
// may send as its owner.
func (u *users) issue(ctx context.Context, app auth.Credential) (
	token string, issued *auth.Credential, err error,
) {
	if app.Owner, err = fold(app.Owner); err != nil {
		return "", nil, err
	}
	if err := u.known(ctx, app.Owner); err != nil {
		return "", nil, fmt.Errorf("%q: %w", app.Owner, err)
	}
	return u.keyring.Issue(ctx, app)
}

// revoke takes a token back, by its ID or by all of it.
func (u *users) revoke(ctx context.Context, token string) error {
	id, _, _ := strings.Cut(strings.TrimSpace(token), "_")
	return u.store.DeleteCredential(ctx, id)
}

// Verify tells applications by their tokens, and people by their passwords.
func (u *users) Verify(ctx context.Context, c auth.Proof) (*auth.Identity, error) {
	for _, name := range []*string{&c.Username, &c.Authzid} {
		folded, err := fold(*name)
		if err != nil && *name != "" {
			return nil, auth.ErrBadCredentials
		}
		*name = folded
	}
	id, err := u.keyring.Verify(ctx, c)
	if err == nil {
		return id, u.check(ctx, id)
	}
	_, application := errors.AsType[*auth.CredentialError](err)
	if application || !errors.Is(err, auth.ErrBadCredentials) {
		return nil, err
	}
	return u.people.Verify(ctx, c)
}

// Spend is asked before each message, so that who is removed, held or revoked
// sends no more on a session that goes on.
func (u *users) Spend(ctx context.Context, id *auth.Identity) error {
	if err := u.check(ctx, id); err != nil {
		return err
	}
	return u.keyring.Spend(ctx, id)
}

// check refuses who was let in as a user that has been removed.
func (u *users) check(ctx context.Context, id *auth.Identity) error {
	err := u.known(ctx, id.User)
	if errors.Is(err, errNoUser) {
		return auth.ErrBadCredentials
	}
	return err
}
