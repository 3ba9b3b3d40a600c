package auth

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// SQLOptions change how users are looked up in a database. Nil stands for the
// defaults.
type SQLOptions struct {
	// Hasher checks the passwords. Defaults to one of its own.
	Hasher *Hasher
	// Decoy is the hash that the password of an unknown user is compared with.
	// Set it to one of the kind that most users have, so that the time it takes
	// does not tell who exists. Defaults to one of [HashPassword].
	Decoy string
}

// SQL is a Verifier of the users in a database. It is a [SCRAMStore] of the
// users whose password is kept as [NewSCRAMKeys] writes it.
type SQL struct {
	db    *sql.DB
	query string
	opt   SQLOptions
}

// NewSQL returns a Verifier that asks the database for each logon. The query
// takes the user's name as its only parameter, written as the driver wants it,
// and returns at most one row. These columns have a meaning; the others, where
// not NULL, become labels of the identity:
//
//	password  the hash, in a format that the Hasher knows; a user whose
//	          password is NULL or empty cannot log on
//	name      the identity's name, if it is not the name given
//	senders   the addresses to send as, separated by spaces or commas
//	groups    the groups, separated by spaces or commas
//
// An error of the database means that nobody knows, never that the user is
// wrong. Put [Cached] before it when clients log on often.
func NewSQL(db *sql.DB, query string, o *SQLOptions) *SQL {
	opt := valueOf(o)
	if opt.Hasher == nil {
		opt.Hasher = NewHasher(nil)
	}
	if opt.Decoy == "" {
		opt.Decoy = HashPassword("")
	}
	return &SQL{db: db, query: query, opt: opt}
}

// Verify implements [Verifier].
func (s *SQL) Verify(ctx context.Context, c Proof) (*Identity, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	hash, id, err := s.lookup(ctx, c.Username)
	if err != nil {
		return nil, err
	}
	known := hash != ""
	if !known {
		hash = s.opt.Decoy
	}
	match, err := s.opt.Hasher.Match(ctx, c, hash)
	switch {
	case err != nil && known:
		return nil, fmt.Errorf("user %q: %w", c.Username, err)
	case err != nil:
		return nil, err
	case !match || !known:
		return nil, ErrBadCredentials
	}
	return id, nil
}

// SCRAMKeys implements [SCRAMStore].
func (s *SQL) SCRAMKeys(ctx context.Context, c Proof) (string, *Identity, error) {
	hash, id, err := s.lookup(ctx, c.Username)
	if err != nil {
		return "", nil, err
	}
	if !strings.HasPrefix(hash, scramPrefix) {
		return "", nil, ErrBadCredentials
	}
	return hash, id, nil
}

// lookup returns no hash for a user who cannot log on.
func (s *SQL) lookup(ctx context.Context, user string) (hash string, id *Identity, err error) {
	if s.db == nil {
		return "", nil, errNoDatabase
	}
	rows, err := s.db.QueryContext(ctx, s.query, user)
	if err != nil {
		return "", nil, fmt.Errorf("auth: looking up a user: %w", err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", nil, fmt.Errorf("auth: looking up a user: %w", err)
	}
	values, targets := make([]sql.NullString, len(columns)), make([]any, len(columns))
	for i := range values {
		targets[i] = &values[i]
	}
	id = &Identity{User: user}
	found, hasPassword := false, false
	for rows.Next() {
		if found {
			return "", nil, errors.New("auth: the query for a user returns more than one row")
		}
		found = true
		if err := rows.Scan(targets...); err != nil {
			return "", nil, fmt.Errorf("auth: looking up a user: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return "", nil, fmt.Errorf("auth: looking up a user: %w", err)
	}
	for i, column := range columns {
		value := values[i].String
		switch strings.ToLower(column) {
		case "password":
			hash, hasPassword = value, true
		case "name":
			if value != "" {
				id.User = value
			}
		case "senders":
			id.Senders = words(value)
		case "groups":
			id.Groups = words(value)
		default:
			if values[i].Valid {
				if id.Labels == nil {
					id.Labels = make(map[string]string)
				}
				id.Labels[column] = value
			}
		}
	}
	if !hasPassword {
		return "", nil, errors.New(`auth: the query for a user has no column "password"`)
	}
	return hash, id, nil
}

// words splits a list, which may be empty.
func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.FieldsFunc(s, func(r rune) bool {
		return r == ' ' || r == ',' || r == '\n' || r == '\t' || r == '\r'
	})
}
