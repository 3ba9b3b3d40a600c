//go:build unix

package authtest_test

import (
	"context"
	"database/sql"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/xdg-go/scram"
	"golang.org/x/crypto/bcrypt"

	"github.com/postern-mail/postern/auth"
)

const findUser = `
	SELECT password, email AS name, senders, teams AS "groups", tenant, plan
	FROM users WHERE login = $1 AND NOT disabled`

func users(t *testing.T, db *sql.DB) {
	t.Helper()
	exec := func(query string, args ...any) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(
		`CREATE TABLE users (login text, password text, email text, senders text, teams text, ` +
			`tenant integer, plan text, disabled boolean)`,
	)
	bcryptHash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := auth.NewSCRAMKeys("secret")
	if err != nil {
		t.Fatal(err)
	}
	const insert = `INSERT INTO users VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	exec(
		insert, "anna", string(bcryptHash), "anna@example.com", "a@example.com, *@example.org",
		"staff\nadmins", 7, "gold", false,
	)
	exec(insert, "bert", auth.HashPassword("secret"), nil, nil, nil, nil, nil, false)
	exec(insert, "über", keys, nil, nil, nil, nil, nil, false)
	exec(insert, "gone", string(bcryptHash), nil, nil, nil, nil, nil, true)
	exec(insert, "none", nil, nil, nil, nil, nil, nil, false)
	exec(insert, "odd", "plain", nil, nil, nil, nil, nil, false)
	exec(insert, "twice", string(bcryptHash), nil, nil, nil, nil, nil, false)
	exec(insert, "twice", string(bcryptHash), nil, nil, nil, nil, nil, false)
}

func TestSQL(t *testing.T) {
	databases(t, func(t *testing.T, db *sql.DB) {
		users(t, db)
		v := auth.NewSQL(db, findUser, nil)
		for _, tt := range []struct {
			user, password string
			want           *auth.Identity
			err            string // empty for bad credentials
		}{
			{"anna", "secret", &auth.Identity{
				User: "anna@example.com", Senders: []string{"a@example.com", "*@example.org"},
				Groups: []string{"staff", "admins"},
				Labels: map[string]string{"tenant": "7", "plan": "gold"},
			}, ""},
			{"anna", "guess", nil, ""},
			{"bert", "secret", &auth.Identity{User: "bert"}, ""},
			{"bert", "guess", nil, ""},
			{"über", "secret", &auth.Identity{User: "über"}, ""},
			{"u\u0308ber", "secret", nil, ""}, // sessions prepare names
			{"gone", "secret", nil, ""},
			{"none", "secret", nil, ""},
			{"none", "", nil, ""},
			{"nobody", "secret", nil, ""},
			{"' OR 1=1 --", "secret", nil, ""},
			{"anna\x00", "secret", nil, ""},
			{"odd", "plain", nil, `user "odd": auth: not a hash of a known format`},
			{"twice", "secret", nil, "auth: the query for a user returns more than one row"},
		} {
			id, err := v.Verify(
				t.Context(), auth.Proof{Username: tt.user, Password: tt.password},
			)
			switch {
			case !reflect.DeepEqual(id, tt.want):
				t.Errorf("%s with %s: %+v, %v", tt.user, tt.password, id, err)
			case tt.want == nil && tt.err == "" && !errors.Is(err, auth.ErrBadCredentials):
				t.Errorf("%s with %s: %v", tt.user, tt.password, err)
			case tt.err != "" &&
				(err == nil || err.Error() != tt.err || errors.Is(err, auth.ErrBadCredentials)):
				t.Errorf("%s with %s: %v, want %s", tt.user, tt.password, err, tt.err)
			}
		}
	})
}

// A database that cannot answer is no wrong password.
func TestSQLDown(t *testing.T) {
	databases(t, func(t *testing.T, db *sql.DB) {
		users(t, db)
		ask := func(v *auth.SQL, ctx context.Context) error {
			_, err := v.Verify(ctx, auth.Proof{Username: "anna", Password: "secret"})
			if _, _, err2 := v.SCRAMKeys(ctx, auth.Proof{Username: "anna"}); err2 == nil ||
				errors.Is(err2, auth.ErrBadCredentials) {
				t.Error(err2)
			}
			if err == nil || errors.Is(err, auth.ErrBadCredentials) {
				t.Error(err)
			}
			return err
		}
		v := auth.NewSQL(db, findUser, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := ask(v, ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		ask(
			auth.NewSQL(db, "SELECT nothing FROM nowhere WHERE x = $1", nil),
			t.Context(),
		)
		if err := ask(
			auth.NewSQL(db, "SELECT login FROM users WHERE login = $1", nil),
			t.Context(),
		); !strings.Contains(err.Error(), `"password"`) {
			t.Error(err)
		}
		db.Close()
		ask(v, t.Context())
	})
}

func TestSQLWithSCRAM(t *testing.T) {
	databases(t, func(t *testing.T, db *sql.DB) {
		users(t, db)
		v := auth.NewSQL(db, findUser, nil)
		s := &auth.Server{SCRAM: v}
		for _, tt := range []struct {
			user, password string
			want           error
		}{
			{"u\u0308ber", "secret", nil},
			{"über", "guess", auth.ErrBadCredentials},
			{"anna", "secret", auth.ErrBadCredentials}, // has no keys
			{"nobody", "secret", auth.ErrBadCredentials},
		} {
			client, err := scram.SHA256.NewClient(tt.user, tt.password, "")
			if err != nil {
				t.Fatal(err)
			}
			x, err := s.Begin(auth.ScramSHA256, auth.Conn{})
			if err != nil {
				t.Fatal(err)
			}
			talk, challenge, done := client.NewConversation(), []byte{}, false
			for !done && err == nil {
				response, fault := talk.Step(string(challenge))
				if fault != nil {
					t.Fatal(fault)
				}
				challenge, done, err = x.Next(t.Context(), []byte(response))
			}
			if !errors.Is(err, tt.want) || done && x.Identity().User != "über" {
				t.Errorf("%s with %s: %v, %+v", tt.user, tt.password, err, x.Identity())
			}
		}
	})
}

// PostgreSQL writes the same keys: what it made for a role logs the role on
// here.
func TestPostgresKeys(t *testing.T) {
	db, err := sql.Open("pgx", address+"/postgres")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(
		t.Context(),
		"SET password_encryption = 'scram-sha-256'; CREATE ROLE anna PASSWORD 'secret'",
	); err != nil {
		t.Fatal(err)
	}
	v := auth.NewSQL(
		db, "SELECT rolpassword AS password FROM pg_authid WHERE rolname = $1", nil,
	)
	for password, want := range map[string]error{"secret": nil, "guess": auth.ErrBadCredentials} {
		if _, err := v.Verify(
			t.Context(), auth.Proof{Username: "anna", Password: password},
		); !errors.Is(err, want) {
			t.Errorf("%s: %v", password, err)
		}
	}
	keys, err := auth.NewSCRAMKeys("other")
	if err != nil {
		t.Fatal(err)
	}
	// And PostgreSQL takes ours.
	if _, err := db.ExecContext(t.Context(), "CREATE ROLE bert PASSWORD '"+keys+"'"); err != nil {
		t.Fatal(err)
	}
	var stored string
	if err := db.QueryRowContext(
		t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = 'bert'",
	).Scan(&stored); err != nil || stored != keys {
		t.Errorf("%s, %v", stored, err)
	}
}
