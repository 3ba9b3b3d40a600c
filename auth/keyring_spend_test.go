package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
)

// TestKeyringRunning: a session ends when a new logon would not give it the
// same.
func TestKeyringRunning(t *testing.T) {
	t.Parallel()
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	for _, c := range []struct {
		name   string
		change func(c *auth.Credential) // nil for rotate
		rotate []time.Duration
		want   string
	}{
		{"nothing", func(c *auth.Credential) {}, nil, "<nil>"},
		{"label", func(c *auth.Credential) { c.Label = "new" }, nil, "<nil>"},
		{"rotated", nil, []time.Duration{time.Hour}, "<nil>"},
		{"rotated at once", nil, []time.Duration{0}, "secret expired"},
		{"rotated twice", nil, []time.Duration{time.Hour, time.Hour}, "wrong secret"},
		{"rotated twice at once", nil, []time.Duration{0, 0}, "wrong secret"},
		{"another source", func(c *auth.Credential) {
			c.Sources = prefixes("198.51.100.0/24")
		}, nil, "not from that address"},
		{"fewer sources", func(c *auth.Credential) {
			c.Sources = prefixes("192.0.2.1/32")
		}, nil, "<nil>"},
		{"more senders", func(c *auth.Credential) {
			c.Senders = append(c.Senders, "x@example.com")
		}, nil, "<nil>"},
		{"whole domain", func(c *auth.Credential) {
			c.Senders = []string{"*@EXAMPLE.com", "*@example.net"}
		}, nil, "<nil>"},
		{"fewer senders", func(c *auth.Credential) {
			c.Senders = []string{"a@example.com"}
		}, nil, "rights reduced since the logon"},
		{"one of a domain", func(c *auth.Credential) {
			c.Senders = []string{"a@example.com", "a@example.net"}
		}, nil, "rights reduced since the logon"},
		{"no senders", func(c *auth.Credential) {
			c.Senders = nil
		}, nil, "rights reduced since the logon"},
		{"more groups", func(c *auth.Credential) {
			c.Groups = append(c.Groups, "more")
		}, nil, "<nil>"},
		{"fewer groups", func(c *auth.Credential) {
			c.Groups = nil
		}, nil, "rights reduced since the logon"},
		{"expired", func(c *auth.Credential) { c.Expires = time.Now() }, nil, "expired"},
		{"held", func(c *auth.Credential) { c.Held = true }, nil, "held"},
	} {
		var told []string
		k := auth.NewKeyring(
			new(auth.MemoryCredentials),
			&auth.KeyringOptions{OnRefusal: func(e *auth.CredentialError) {
				told = append(told, string(e.Refusal))
			}},
		)
		token, id := issue(t, k, auth.Credential{
			Owner: "anna@example.com", Groups: []string{"devices"},
			Sources: prefixes("192.0.2.0/24"), Senders: []string{"A@example.com", "*@example.net"},
		})
		// As it comes from a verifier around the Keyring.
		v := auth.Cached(
			auth.WithSenders(k, map[string][]string{"anna@example.com": {"more@example.org"}}),
			nil,
		)
		session, err := v.Verify(t.Context(), shown("anna@example.com", token))
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Spend(t.Context(), session); err != nil {
			t.Errorf("%s: before: %v", c.name, err)
		}
		for _, overlap := range c.rotate {
			if _, err := k.Rotate(t.Context(), id, overlap); err != nil {
				t.Fatal(err)
			}
		}
		if c.change != nil {
			if err := k.Update(t.Context(), id, func(old *auth.Credential) error {
				c.change(old)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		if err := k.Spend(t.Context(), session); refusal(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
		if c.want == "<nil>" && len(told) != 0 ||
			c.want != "<nil>" && fmt.Sprint(told) != "["+c.want+"]" {
			t.Errorf("%s: told %q", c.name, told)
		}
		// An identity that the application has made logged on with nothing.
		made := &auth.Identity{User: "anna@example.com", Credential: id, Senders: session.Senders}
		if err := k.Spend(
			t.Context(), made,
		); (err != nil) != (c.want == "held" || c.want == "expired") {
			t.Errorf("%s: made by hand: %v", c.name, err)
		}
		if s := fmt.Sprintf(
			"%v %+v %#v", session, session, session,
		); strings.Contains(s, token[11:]) {
			t.Errorf("%s: the token is in %s", c.name, s)
		}
	}
}

// unused cannot note when a credential was used.
type unused struct{ auth.MemoryCredentials }

func (*unused) UsedCredential(context.Context, string, time.Time) error { return errDown }

// TestKeyringNotNoted: that the use of a credential cannot be noted is told,
// and stops nobody.
func TestKeyringNotNoted(t *testing.T) {
	t.Parallel()
	var told []error
	k := auth.NewKeyring(new(unused), &auth.KeyringOptions{OnError: func(err error) {
		told = append(told, err)
	}})
	token, id := issue(t, k, auth.Credential{Owner: "anna"})
	if got, err := k.Verify(t.Context(), shown("anna", token)); err != nil || got.Credential != id {
		t.Errorf("%+v, %v", got, err)
	}
	if len(told) != 1 || !errors.Is(told[0], errDown) || !strings.Contains(told[0].Error(), id) ||
		strings.Contains(told[0].Error(), token) {
		t.Errorf("told %v", told)
	}
	k = auth.NewKeyring(new(unused), nil)
	token, _ = issue(t, k, auth.Credential{Owner: "anna"})
	if _, err := k.Verify(t.Context(), shown("anna", token)); err != nil {
		t.Error(err)
	}
}

func TestKeyringSpend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := auth.NewKeyring(new(auth.MemoryCredentials), nil)
		_, minute := issue(t, k, auth.Credential{Owner: "anna", PerMinute: 3})
		_, day := issue(t, k, auth.Credential{Owner: "anna", PerDay: 5})
		_, free := issue(t, k, auth.Credential{Owner: "anna"})
		spend := func(id string, n int, want string) {
			t.Helper()
			for range n {
				if err := k.Spend(
					t.Context(), &auth.Identity{User: "anna", Credential: id},
				); refusal(err) != want {
					t.Errorf("%v, want %s", err, want)
				}
			}
		}
		spend(minute, 3, "<nil>")
		spend(minute, 2, "too many messages in a minute")
		time.Sleep(20 * time.Second)
		spend(minute, 1, "<nil>")
		spend(minute, 1, "too many messages in a minute")
		time.Sleep(time.Hour)
		spend(minute, 3, "<nil>")
		spend(minute, 1, "too many messages in a minute")
		spend(day, 5, "<nil>")
		spend(day, 2, "too many messages on a day")
		spend(free, 1000, "<nil>")
		spend("", 1, "<nil>")
		time.Sleep(24 * time.Hour)
		spend(day, 5, "<nil>")
		if err := k.Spend(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
}
