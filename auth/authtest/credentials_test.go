//go:build unix

package authtest_test

import (
	"database/sql"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/authtest"
)

func TestMemoryCredentials(t *testing.T) {
	authtest.RunCredentialStore(t, func(*testing.T) auth.CredentialStore {
		return new(auth.MemoryCredentials)
	})
}

func TestSQLCredentials(t *testing.T) {
	databases(t, func(t *testing.T, db *sql.DB) { testTables(t, db, false) })
}

func TestSQLCredentialsQuestionMarks(t *testing.T) { testTables(t, openSQLite(t), true) }

// testTables gives each test a table of its own.
func testTables(t *testing.T, db *sql.DB, questionMarks bool) {
	var n atomic.Int32
	authtest.RunCredentialStore(t, func(t *testing.T) auth.CredentialStore {
		options := auth.SQLCredentialsOptions{
			Table: fmt.Sprint("credentials", n.Add(1)), QuestionMarks: questionMarks,
		}
		store := auth.NewSQLCredentials(db, &options)
		for range 2 { // one that is there is no fault
			if err := store.CreateTable(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		return store
	})
}

// The default table works too.
func TestSQLCredentialsDefaults(t *testing.T) {
	store := auth.NewSQLCredentials(openSQLite(t), nil)
	if err := store.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := auth.NewKeyring(store, nil).Issue(
		t.Context(), auth.Credential{Owner: "anna"},
	); err != nil {
		t.Error(err)
	}
}
