package auth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
)

func TestMaySendAs(t *testing.T) {
	t.Parallel()
	tests := []struct {
		id      *auth.Identity
		mailbox string
		want    bool
	}{
		{nil, "a@b", false},
		{&auth.Identity{}, "a@b", false},
		{&auth.Identity{}, "", false},
		{&auth.Identity{User: "app@example.com"}, "app@example.com", true},
		{&auth.Identity{User: "App@Example.com"}, "aPP@example.com", true},
		{&auth.Identity{User: "app@example.com"}, "app2@example.com", false},
		{&auth.Identity{User: "app@example.com"}, "app@example.co", false},
		{&auth.Identity{User: "app"}, "app@example.com", false},
		{&auth.Identity{User: "app"}, "app", false},
		{&auth.Identity{User: "postmaster"}, "postmaster", false},
		{&auth.Identity{User: "*@example.com"}, "a@example.com", false}, // the name is no pattern
		{&auth.Identity{User: "x", Senders: []string{"app@example.com"}}, "app@example.com", true},
		{&auth.Identity{User: "x", Senders: []string{"app@example.com"}}, "x@example.com", false},
		{
			&auth.Identity{User: "x", Senders: []string{"a@b", "*@Example.com"}},
			"any.body@example.com", true,
		},
		{&auth.Identity{User: "x", Senders: []string{"*@example.com"}}, `"a@b"@example.com`, true},
		{
			&auth.Identity{User: "x", Senders: []string{"*@example.com"}},
			`"a@example.com"@evil.test`, false,
		},
		{&auth.Identity{User: "x", Senders: []string{"*@example.com"}}, "a@sub.example.com", false},
		{&auth.Identity{User: "x", Senders: []string{"*@example.com"}}, "a@notexample.com", false},
		{&auth.Identity{User: "x", Senders: []string{"*@example.com"}}, "@example.com", false},
		{
			&auth.Identity{
				User: "x", Senders: []string{"*", "*@", "@example.com", "*@*", "example.com", ""},
			},
			"a@example.com", false,
		},
		{&auth.Identity{User: "x", Senders: []string{"*@"}}, "a@", false},
		// a Kelvin sign folds to k
		{&auth.Identity{User: "kate@example.com"}, "\u212aate@example.com", false},
		{&auth.Identity{User: "jürgen@example.com"}, "JÜRGEN@example.com", false},
		{&auth.Identity{User: "jürgen@example.com"}, "jürgen@example.com", true},
	}
	for _, tt := range tests {
		if got := tt.id.MaySendAs(tt.mailbox); got != tt.want {
			t.Errorf("%+v may send as %q: %v", tt.id, tt.mailbox, got)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		c    auth.Proof
		want error
	}{
		{auth.Proof{Username: "u", Password: "p"}, nil},
		{auth.Proof{Username: "u", Password: "p", Authzid: "u"}, nil},
		{auth.Proof{Username: "jürgen@bücher.example", Password: "p"}, nil},
		{auth.Proof{Username: strings.Repeat("u", 255), Password: "p"}, nil},
		{
			auth.Proof{Username: strings.Repeat("u", 256), Password: "p"},
			auth.ErrBadCredentials,
		},
		{auth.Proof{Username: "u", Password: "p", Authzid: "root"}, auth.ErrBadCredentials},
		{auth.Proof{Username: "u", Password: "p", Authzid: "U"}, auth.ErrBadCredentials},
		{auth.Proof{Username: "", Password: "p"}, auth.ErrBadCredentials},
		{auth.Proof{Username: "u"}, auth.ErrBadCredentials},
		{auth.Proof{Username: "u\n", Password: "p"}, auth.ErrBadCredentials},
		{auth.Proof{Username: "u\x00", Password: "p"}, auth.ErrBadCredentials},
		{auth.Proof{Username: "u\x7f", Password: "p"}, auth.ErrBadCredentials},
		{auth.Proof{Username: "u\u0085", Password: "p"}, auth.ErrBadCredentials},
		{auth.Proof{Username: "u\xff", Password: "p"}, auth.ErrBadCredentials},
		// not prepared
		{auth.Proof{Username: "u\u0308", Password: "p"}, auth.ErrBadCredentials},
		{auth.Proof{Username: "u", Token: "t"}, auth.ErrBadCredentials},
	}
	for _, tt := range tests {
		if err := tt.c.Check(); !errors.Is(err, tt.want) {
			t.Errorf("%v: %v, want %v", tt.c, err, tt.want)
		}
	}
}

func TestProofHidesPassword(t *testing.T) {
	t.Parallel()
	c := auth.Proof{
		Mechanism: auth.Plain, Username: "user", Password: "hunter2", Token: "hunter2",
	}
	var out bytes.Buffer
	for _, h := range []slog.Handler{
		slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil),
	} {
		slog.New(h).Info("auth", "c", c, "p", &c, "in", struct{ C auth.Proof }{c})
	}
	fmt.Fprintf(&out, "%v %+v %#v %s %q %v", c, c, c, c, c, &c)
	fmt.Fprintf(
		&out, "%v %+v %#v", struct{ C auth.Proof }{c}, struct{ C *auth.Proof }{&c},
		[]auth.Proof{c},
	)
	if err := json.NewEncoder(&out).Encode(c); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "hunter2") {
		t.Errorf("the password shows in %s", &out)
	}
	if strings.Count(out.String(), "user") < 10 {
		t.Errorf("the user is missing in %s", &out)
	}
}

// outcome is what Verify answers, in short.
func outcome(t *testing.T, v auth.Verifier, user, password string) string {
	t.Helper()
	id, err := v.Verify(t.Context(), auth.Proof{Username: user, Password: password})
	switch {
	case err == nil && id != nil && id.User == user:
		return "yes"
	case errors.Is(err, auth.ErrBadCredentials) && id == nil:
		return "no"
	}
	return fmt.Sprintf("%+v, %v", id, err)
}

func TestStatic(t *testing.T) {
	t.Parallel()
	users := map[string]string{
		"anna": "secret", "empty": "", "": "x", "bad\n": "x", "bert": "other",
	}
	v := auth.Static(users)
	users["anna"] = "changed"
	for _, tt := range []struct{ user, password, want string }{
		{"anna", "secret", "yes"},
		{"bert", "other", "yes"},
		{"anna", "changed", "no"},
		{"anna", "other", "no"},
		{"anna", "", "no"},
		{"Anna", "secret", "no"},
		{"nobody", "secret", "no"},
		{"empty", "", "no"},
		{"", "x", "no"},
		{"bad\n", "x", "no"},
	} {
		if got := outcome(t, v, tt.user, tt.password); got != tt.want {
			t.Errorf("%q with %q: %s", tt.user, tt.password, got)
		}
	}
	_, err := v.Verify(
		t.Context(), auth.Proof{Username: "anna", Password: "secret", Authzid: "bert"},
	)
	if !errors.Is(err, auth.ErrBadCredentials) {
		t.Errorf("acting as another: %v", err)
	}
}

// TestSCRAMWithSenders: who logs on by SCRAM may send as the same addresses as
// by password, and the store's own identity stays what it is.
func TestSCRAMWithSenders(t *testing.T) {
	t.Parallel()
	shared, down := &auth.Identity{User: "anna"}, errors.New("down")
	s := auth.SCRAMWithSenders(auth.SCRAMStoreFunc(func(
		_ context.Context, c auth.Proof,
	) (string, *auth.Identity, error) {
		if c.Username != "anna" {
			return "", nil, down
		}
		return "keys", shared, nil
	}), map[string][]string{"anna": {"b@example.com"}})
	keys, id, err := s.SCRAMKeys(t.Context(), auth.Proof{Username: "anna"})
	if err != nil || keys != "keys" || !id.MaySendAs("b@example.com") {
		t.Errorf("got %q, %+v, %v", keys, id, err)
	}
	if len(shared.Senders) != 0 {
		t.Errorf("the store's own identity has become %+v", shared)
	}
	if _, _, err := s.SCRAMKeys(t.Context(), auth.Proof{}); !errors.Is(err, down) {
		t.Errorf("error of the store: %v", err)
	}
}

func TestWithSenders(t *testing.T) {
	t.Parallel()
	shared := &auth.Identity{User: "anna", Groups: []string{"g"}, Senders: make([]string, 1, 8)}
	shared.Senders[0] = "a@example.com"
	down := errors.New("down")
	v := auth.VerifierFunc(func(_ context.Context, c auth.Proof) (*auth.Identity, error) {
		switch c.Username {
		case "anna":
			return shared, nil
		case "bert":
			return &auth.Identity{User: "bert"}, nil
		}
		return nil, down
	})
	senders := map[string][]string{"anna": {"b@example.com"}, "nobody": {"c@example.com"}}
	w := auth.WithSenders(v, senders)
	senders["anna"][0] = "changed@example.com"
	for range 2 {
		id, err := w.Verify(t.Context(), auth.Proof{Username: "anna", Password: "x"})
		if err != nil || len(id.Senders) != 2 || len(id.Groups) != 1 ||
			!id.MaySendAs("a@example.com") || !id.MaySendAs("b@example.com") ||
			id.MaySendAs("changed@example.com") {
			t.Fatalf("%+v, %v", id, err)
		}
	}
	if len(shared.Senders) != 1 {
		t.Errorf("the verifier's own identity has become %+v", shared)
	}
	if id, err := w.Verify(t.Context(), auth.Proof{Username: "bert"}); err != nil ||
		len(id.Senders) != 0 {
		t.Errorf("%+v, %v", id, err)
	}
	if id, err := w.Verify(t.Context(), auth.Proof{Username: "nobody"}); id != nil ||
		!errors.Is(err, down) {
		t.Errorf("%+v, %v", id, err)
	}
}

func BenchmarkMaySendAs(b *testing.B) {
	id := &auth.Identity{
		User:    "app@example.com",
		Senders: []string{"a@example.com", "b@example.com", "*@news.example.com"},
	}
	for _, mailbox := range []string{"app@example.com", "x@news.example.com", "x@example.org"} {
		b.Run(mailbox, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				id.MaySendAs(mailbox)
			}
		})
	}
}
