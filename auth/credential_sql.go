package auth

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// SQLCredentialsOptions change how credentials are kept in a database. Nil
// stands for the defaults.
type SQLCredentialsOptions struct {
	// Table is the name of the table. Defaults to "postern_credentials". It is
	// written into queries as it is.
	Table string
	// QuestionMarks writes parameters as ?, which MySQL needs, and
	// clientFoundRows in its address besides. Defaults to $1, which PostgreSQL
	// needs. SQLite takes both.
	QuestionMarks bool
}

// SQLCredentials is a CredentialStore in a table of a database. All processes
// that use the table share its credentials. [SQLCredentials.CreateTable] makes
// the table.
type SQLCredentials struct {
	db  *sql.DB
	opt SQLCredentialsOptions
}

var _ CredentialStore = (*SQLCredentials)(nil)

// NewSQLCredentials returns the store in a database of any driver.
func NewSQLCredentials(db *sql.DB, o *SQLCredentialsOptions) *SQLCredentials {
	opt := valueOf(o)
	if opt.Table == "" {
		opt.Table = "postern_credentials"
	}
	return &SQLCredentials{db: db, opt: opt}
}

// CreateTable makes the table if there is none. An application that has
// migrations may copy it:
//
//	CREATE TABLE postern_credentials (
//		id        VARCHAR(64)  NOT NULL PRIMARY KEY,
//		owner     VARCHAR(255) NOT NULL,
//		version   BIGINT       NOT NULL,
//		body      TEXT         NOT NULL, -- JSON, without the secrets
//		secrets   TEXT         NOT NULL, -- JSON
//		last_used BIGINT       NOT NULL, -- seconds since 1970, 0 for never
//		day       BIGINT       NOT NULL, -- of spent, since 1970-01-01
//		spent     BIGINT       NOT NULL  -- messages on that day
//	)
func (s *SQLCredentials) CreateTable(ctx context.Context) error {
	_, err := s.exec(ctx, s.db, `CREATE TABLE IF NOT EXISTS TABLE_NAME (
		id VARCHAR(64) NOT NULL PRIMARY KEY, owner VARCHAR(255) NOT NULL, version BIGINT NOT NULL,
		body TEXT NOT NULL, secrets TEXT NOT NULL,
		last_used BIGINT NOT NULL, day BIGINT NOT NULL, spent BIGINT NOT NULL)`)
	return err
}

// write puts the table and the driver's parameters into a query that has
// TABLE_NAME and question marks.
func (s *SQLCredentials) write(query string) string {
	query = strings.Replace(query, "TABLE_NAME", s.opt.Table, 1)
	if s.opt.QuestionMarks {
		return query
	}
	var b strings.Builder
	for n := 1; ; n++ {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("$" + strconv.Itoa(n))
		query = after
	}
}

// execer is a database or a transaction.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// exec returns how many rows were changed.
func (s *SQLCredentials) exec(
	ctx context.Context, db execer, query string, args ...any,
) (int64, error) {
	if s.db == nil {
		return 0, errNoDatabase
	}
	result, err := db.ExecContext(ctx, s.write(query), args...)
	if err != nil {
		return 0, fmt.Errorf("auth: credentials: %w", err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("auth: credentials: %w", err)
	}
	return n, nil
}

const selectCredential = "SELECT version, body, secrets, last_used FROM TABLE_NAME WHERE "

// query returns the credentials that a condition selects.
func (s *SQLCredentials) query(
	ctx context.Context, condition string, arg string,
) ([]*Credential, error) {
	if s.db == nil {
		return nil, errNoDatabase
	}
	rows, err := s.db.QueryContext(ctx, s.write(selectCredential+condition), arg)
	if err != nil {
		return nil, fmt.Errorf("auth: credentials: %w", err)
	}
	defer rows.Close()
	var all []*Credential
	for rows.Next() {
		var version, used int64
		var body, secrets string
		if err := rows.Scan(&version, &body, &secrets, &used); err != nil {
			return nil, fmt.Errorf("auth: credentials: %w", err)
		}
		c := new(Credential)
		if err := errors.Join(
			json.Unmarshal([]byte(body), c), json.Unmarshal([]byte(secrets), &c.Secrets),
		); err != nil {
			// the text would show what is in it
			return nil, errors.New("auth: credentials: malformed row")
		}
		c.Version = version
		if used != 0 {
			c.LastUsed = time.Unix(used, 0).UTC()
		}
		all = append(all, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("auth: credentials: %w", err)
	}
	return all, nil
}

// Credential implements [CredentialStore].
func (s *SQLCredentials) Credential(ctx context.Context, id string) (*Credential, error) {
	all, err := s.query(ctx, "id = ?", id)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, ErrNoCredential
	}
	return all[0], nil
}

// Credentials implements [CredentialStore].
func (s *SQLCredentials) Credentials(ctx context.Context, owner string) ([]*Credential, error) {
	return s.query(ctx, "owner = ? ORDER BY id", owner)
}

// PutCredential implements [CredentialStore].
func (s *SQLCredentials) PutCredential(ctx context.Context, c *Credential) error {
	if c == nil {
		return errNilCredential
	}
	kept := *c
	kept.Version++
	kept.LastUsed = time.Time{}
	body, err1 := json.Marshal(&kept)
	secrets, err2 := json.Marshal(c.Secrets)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("auth: credentials: %w", err)
	}
	if c.Version != 0 {
		n,
			err := s.exec(ctx, s.db, "UPDATE TABLE_NAME SET version = ?, owner = ?, body = ?, "+
			"secrets = ? WHERE id = ? AND version = ?",
			kept.Version, c.Owner, string(body), string(secrets), c.ID, c.Version)
		if err == nil && n == 0 {
			err = ErrConflict
		}
		return err
	}
	_,
		err := s.exec(ctx, s.db, "INSERT INTO TABLE_NAME (id, owner, version, body, secrets, "+
		"last_used, day, spent) VALUES (?, ?, ?, ?, ?, 0, 0, 0)",
		c.ID, c.Owner, kept.Version, string(body), string(secrets))
	if err != nil {
		// Drivers tell of a key that is taken each in their own way.
		if _, err2 := s.Credential(ctx, c.ID); err2 == nil {
			return ErrConflict
		}
	}
	return err
}

// one turns no row into an error.
func one(n int64, err error) error {
	if err == nil && n == 0 {
		return ErrNoCredential
	}
	return err
}

// DeleteCredential implements [CredentialStore].
func (s *SQLCredentials) DeleteCredential(ctx context.Context, id string) error {
	return one(s.exec(ctx, s.db, "DELETE FROM TABLE_NAME WHERE id = ?", id))
}

// UsedCredential implements [CredentialStore].
func (s *SQLCredentials) UsedCredential(ctx context.Context, id string, at time.Time) error {
	return one(s.exec(ctx, s.db, "UPDATE TABLE_NAME SET last_used = ? WHERE id = ?", at.Unix(), id))
}

// SpendCredential implements [CredentialStore].
func (s *SQLCredentials) SpendCredential(
	ctx context.Context, id string, day int64, n int,
) (total int, err error) {
	if s.db == nil {
		return 0, errNoDatabase
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, fmt.Errorf("auth: credentials: %w", err)
	}
	defer tx.Rollback()
	// The row stays locked until the end, so that what is read is what was
	// written. The counter comes first: MySQL reads day as just set in what
	// follows.
	err = one(
		s.exec(
			ctx, tx,
			"UPDATE TABLE_NAME SET spent = CASE WHEN day = ? THEN spent ELSE 0 END + ?, day = "+
				"? WHERE id = ?",
			day, n, day, id,
		),
	)
	if err != nil {
		return 0, err
	}
	if err := tx.QueryRowContext(
		ctx, s.write("SELECT spent FROM TABLE_NAME WHERE id = ?"), id,
	).Scan(&total); err != nil {
		return 0, fmt.Errorf("auth: credentials: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return 0, fmt.Errorf("auth: credentials: %w", err)
	}
	return total, nil
}
