package auth_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
)

// TestNilArguments: what has to be there and is not is an error, not a panic,
// and never the answer that credentials are bad.
func TestNilArguments(t *testing.T) {
	ctx, c := t.Context(), auth.Proof{Username: "anna", Password: "secret"}
	verify := func(v auth.Verifier) func() error {
		return func() error { _, err := v.Verify(ctx, c); return err }
	}
	keyring := auth.NewKeyring(&auth.MemoryCredentials{}, nil)
	_, issued, err := keyring.Issue(ctx, auth.Credential{Owner: "anna"})
	if err != nil {
		t.Fatal(err)
	}
	empty := auth.NewKeyring(nil, nil)
	rows := auth.NewSQLCredentials(nil, nil)
	for name, call := range map[string]func() error{
		"VerifierFunc": verify(auth.VerifierFunc(nil)),
		"Cached":       verify(auth.Cached(nil, nil)),
		"Guard":        verify(auth.NewThrottle(nil).Guard(nil)),
		"WithSenders":  verify(auth.WithSenders(nil, nil)),
		"NewSQL":       verify(auth.NewSQL(nil, "SELECT 1", nil)),
		"SCRAMStoreFunc": func() error {
			_, _, err := auth.SCRAMStoreFunc(nil).SCRAMKeys(ctx,
				c)
			return err
		},
		"SCRAMWithSenders": func() error {
			_, _, err := auth.SCRAMWithSenders(nil, nil).SCRAMKeys(ctx, c)
			return err
		},
		"Keyring.Issue": func() error {
			_, _, err := empty.Issue(ctx,
				auth.Credential{Owner: "anna"})
			return err
		},
		"Keyring.Rotate": func() error { _, err := empty.Rotate(ctx, "id", 0); return err },
		"Keyring.Update": func() error { return keyring.Update(ctx, issued.ID, nil) },
		"MemoryCredentials": func() error {
			return new(auth.MemoryCredentials).PutCredential(ctx, nil)
		},
		"SQL: no credential": func() error { return rows.PutCredential(ctx, nil) },
		"SQL: CreateTable":   func() error { return rows.CreateTable(ctx) },
		"SQL: Put":           func() error { return rows.PutCredential(ctx, issued) },
		"SQL: Credential":    func() error { _, err := rows.Credential(ctx, "id"); return err },
		"SQL: Proof":         func() error { _, err := rows.Credentials(ctx, "anna"); return err },
		"SQL: Delete":        func() error { return rows.DeleteCredential(ctx, "id") },
		"SQL: Spend": func() error {
			_, err := rows.SpendCredential(ctx, "id", 1,
				1)
			return err
		},
		"SQL: Used": func() error { return rows.UsedCredential(ctx, "id", time.Now()) },
		"OpenHtpasswd": func() error {
			_, err := auth.OpenHtpasswd(filepath.Join(t.TempDir(), "x"),
				nil)
			return err
		},
	} {
		if err := call(); err == nil || errors.Is(err, auth.ErrBadCredentials) ||
			errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
