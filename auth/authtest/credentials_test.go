//go:build unix

package authtest_test

import (
	"database/sql"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
)

func TestMemoryCredentials(t *testing.T) {
	testStore(t, new(auth.MemoryCredentials))
}

func TestSQLCredentials(t *testing.T) {
	databases(t, func(t *testing.T, db *sql.DB) {
		store := auth.NewSQLCredentials(db, nil)
		for range 2 {
			if err := store.CreateTable(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		testStore(t, store)
	})
}

func TestSQLCredentialsQuestionMarks(t *testing.T) {
	store := auth.NewSQLCredentials(
		openSQLite(t), &auth.SQLCredentialsOptions{Table: "other", QuestionMarks: true},
	)
	if err := store.CreateTable(t.Context()); err != nil {
		t.Fatal(err)
	}
	testStore(t, store)
}

// testStore holds a store to what auth.CredentialStore says.
func testStore(t *testing.T, s auth.CredentialStore) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	wantErr := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	_, err := s.Credential(ctx, "none")
	wantErr(err, auth.ErrNoCredential)
	wantErr(s.DeleteCredential(ctx, "none"), auth.ErrNoCredential)
	wantErr(s.UsedCredential(ctx, "none", time.Now()), auth.ErrNoCredential)
	_, err = s.SpendCredential(ctx, "none", 1, 1)
	wantErr(err, auth.ErrNoCredential)
	if all, err := s.Credentials(ctx, "anna"); len(all) != 0 || err != nil {
		t.Errorf("%v, %v", all, err)
	}

	at := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	c := &auth.Credential{
		ID: "b", Owner: "anna's", Label: "a \"label\" ü", Groups: []string{"g"},
		Senders: []string{"*@example.com"},
		Sources: []netip.Prefix{
			netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32"),
		},
		PerMinute: 1, PerDay: 2, Expires: at, Held: true, Created: at.Add(time.Hour),
		Secrets: []auth.Secret{{Digest: [32]byte{1, 2, 255}, Expires: at}, {Digest: [32]byte{3}}},
	}
	must(s.PutCredential(ctx, c))
	wantErr(s.PutCredential(ctx, c), auth.ErrConflict)
	want := *c
	want.Version = 1
	got, err := s.Credential(ctx, "b")
	if err != nil || !reflect.DeepEqual(*got, want) {
		t.Fatalf("%+v, %v; want %+v", got, err, want)
	}

	must(s.UsedCredential(ctx, "b", at))
	got.Held, got.LastUsed = false, time.Time{}
	must(s.PutCredential(ctx, got))
	wantErr(s.PutCredential(ctx, got), auth.ErrConflict)
	want.Held, want.LastUsed, want.Version = false, at, 2
	got.Secrets[0].Digest[0]++ // the caller's own
	if got, err = s.Credential(ctx, "b"); err != nil || !reflect.DeepEqual(*got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	wantErr(s.PutCredential(ctx, &auth.Credential{ID: "none", Version: 3}), auth.ErrConflict)

	must(s.PutCredential(ctx, &auth.Credential{ID: "a", Owner: "anna's"}))
	must(s.PutCredential(ctx, &auth.Credential{ID: "c", Owner: "bert"}))
	all, err := s.Credentials(ctx, "anna's")
	if err != nil || len(all) != 2 || all[0].ID != "a" || !reflect.DeepEqual(*all[1], want) {
		t.Errorf("%+v, %v", all, err)
	}

	// No message is counted twice or not at all.
	var totals []int
	var mu sync.Mutex
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 5 {
				total, err := s.SpendCredential(ctx, "b", 20000, 2)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				totals = append(totals, total)
				mu.Unlock()
			}
		})
	}
	group.Wait()
	slices.Sort(totals)
	for i, total := range totals {
		if total != 2*(i+1) {
			t.Fatalf("totals %v", totals)
		}
	}
	if total, err := s.SpendCredential(ctx, "b", 20001, 1); total != 1 || err != nil {
		t.Errorf("%d, %v", total, err)
	}
	if total, err := s.SpendCredential(ctx, "a", 20001, 1); total != 1 || err != nil {
		t.Errorf("%d, %v", total, err)
	}

	must(s.DeleteCredential(ctx, "b"))
	_, err = s.Credential(ctx, "b")
	wantErr(err, auth.ErrNoCredential)

	// A keyring on top, with changes at the same time.
	k := auth.NewKeyring(s, nil)
	token, issued, err := k.Issue(ctx, auth.Credential{Owner: "anna", PerDay: 1})
	must(err)
	for range 3 {
		group.Go(func() {
			if err := k.Update(ctx, issued.ID, func(c *auth.Credential) error {
				c.PerDay++
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got, err = s.Credential(ctx, issued.ID); err != nil || got.PerDay != 4 {
		t.Errorf("%+v, %v", got, err)
	}
	second, err := k.Rotate(ctx, issued.ID, time.Hour)
	must(err)
	for _, token := range []string{token, second} {
		id, err := k.Verify(ctx, auth.Proof{Username: "anna", Password: token})
		if err != nil || id.Credential != issued.ID {
			t.Errorf("%+v, %v", id, err)
		}
	}
	for i := range 6 {
		if err := k.Spend(ctx, &auth.Identity{Credential: issued.ID}); (err == nil) != (i < 4) {
			t.Errorf("%d: %v", i, err)
		}
	}

	// Another process takes away what a session has logged on with.
	other := auth.NewKeyring(s, nil)
	for _, tt := range []struct {
		change func(*auth.Credential)
		want   auth.Refusal
	}{
		{nil, auth.WrongSecret},
		{func(c *auth.Credential) { c.Senders = []string{"a@example.com"} }, auth.RightsReduced},
		{func(c *auth.Credential) {
			c.Sources = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
		}, auth.SourceRefused},
	} {
		token, issued, err := k.Issue(
			ctx, auth.Credential{Owner: "anna", Senders: []string{"*@example.com"}},
		)
		must(err)
		session, err := k.Verify(
			ctx, auth.Proof{Token: token, Remote: netip.MustParseAddrPort("192.0.2.1:25")},
		)
		must(err)
		must(k.Spend(ctx, session))
		if tt.change == nil {
			for range 2 {
				_, err := other.Rotate(ctx, issued.ID, 0)
				must(err)
			}
		} else {
			must(other.Update(ctx, issued.ID, func(c *auth.Credential) error {
				tt.change(c)
				return nil
			}))
		}
		err = k.Spend(ctx, session)
		if e, ok := errors.AsType[*auth.CredentialError](err); !ok || e.Refusal != tt.want {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}
