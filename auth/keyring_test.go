package auth_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/auth"
)

// issue makes a credential and fails the test if that cannot be.
func issue(t testing.TB, k *auth.Keyring, c auth.Credential) (token, id string) {
	t.Helper()
	token, issued, err := k.Issue(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return token, issued.ID
}

// shown are credentials with a token for a password.
func shown(user, token string) auth.Proof {
	return auth.Proof{
		Mechanism: auth.Plain, Username: user, Password: token,
		Remote: netip.MustParseAddrPort("192.0.2.1:25"),
	}
}

// refusal is what Verify says, in a word.
func refusal(err error) string {
	if e, ok := errors.AsType[*auth.CredentialError](err); ok {
		if e.Temporary() == errors.Is(err, auth.ErrBadCredentials) {
			return "inconsistent " + err.Error()
		}
		return string(e.Refusal)
	}
	return fmt.Sprint(err)
}

func TestKeyring(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var told []string
		store := new(auth.MemoryCredentials)
		k := auth.NewKeyring(store, &auth.KeyringOptions{OnRefusal: func(e *auth.CredentialError) {
			told = append(told, e.Error())
		}})
		token, id := issue(t, k, auth.Credential{
			Owner: "anna@example.com", Label: "printer", Groups: []string{"devices"},
			Senders: []string{"printer@example.com"},
			Sources: []netip.Prefix{
				netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32"),
			},
		})
		if len(token) != 43 || !strings.HasPrefix(token, id+"_") ||
			strings.ToLower(token) != token {
			t.Fatalf("%s, %s", token, id)
		}
		_, otherID := issue(t, k, auth.Credential{Owner: "bert"})
		want := &auth.Identity{
			User: "anna@example.com", Credential: id, Groups: []string{"devices"},
			Senders: []string{"printer@example.com"},
			Labels:  map[string]string{"credential": "printer"},
		}
		with := func(change func(*auth.Proof)) auth.Proof {
			c := shown("anna@example.com", token)
			change(&c)
			return c
		}
		last := "a"
		if strings.HasSuffix(token, last) {
			last = "b"
		}
		for _, tt := range []struct {
			name string
			c    auth.Proof
			want string
		}{
			{"good", shown("anna@example.com", token), ""},
			{"by id", shown(id, token), ""},
			{"from IPv6", with(func(c *auth.Proof) {
				c.Remote = netip.MustParseAddrPort("[2001:db8::1]:25")
			}), ""},
			{"from IPv4 as IPv6", with(func(c *auth.Proof) {
				c.Remote = netip.MustParseAddrPort("[::ffff:192.0.2.1]:25")
			}), ""},
			{"bearer", with(func(c *auth.Proof) {
				c.Username, c.Password, c.Token = "", "", token
			}), ""},
			{"bearer of the owner", with(func(c *auth.Proof) {
				c.Password, c.Token = "", token
			}), ""},
			{"bearer of another", with(func(c *auth.Proof) {
				c.Username, c.Password, c.Token = "bert", "", token
			}), "not of that user"},
			{"wrong", shown("anna@example.com", token[:42]+last), "wrong secret"},
			{"of another", shown("bert", token), "not of that user"},
			{"for another", with(func(c *auth.Proof) {
				c.Authzid = "bert"
			}), "auth: bad credentials"},
			{"mixed up", shown("anna@example.com", otherID+token[10:]), "wrong secret"},
			{
				"unknown", shown("anna@example.com", "aaaaaaaaaa"+token[10:]),
				"auth: bad credentials",
			},
			{"short", shown("anna@example.com", token[:42]), "auth: bad credentials"},
			{"long", shown("anna@example.com", token+"a"), "auth: bad credentials"},
			{
				"upper case", shown("anna@example.com", strings.ToUpper(token)),
				"auth: bad credentials",
			},
			{"the id", shown("anna@example.com", id), "auth: bad credentials"},
			{"nothing", shown("anna@example.com", ""), "auth: bad credentials"},
			{"nobody", shown("", token), "auth: bad credentials"},
			{"elsewhere", with(func(c *auth.Proof) {
				c.Remote = netip.MustParseAddrPort("198.51.100.1:25")
			}), "not from that address"},
			{"nowhere", with(func(c *auth.Proof) {
				c.Remote = netip.AddrPort{}
			}), "not from that address"},
		} {
			told = nil
			got, err := k.Verify(t.Context(), tt.c)
			if tt.want == "" {
				auth.Forget(got)
				if !reflect.DeepEqual(got, want) || err != nil {
					t.Errorf("%s: %+v, %v", tt.name, got, err)
				}
				continue
			}
			if got != nil || refusal(err) != tt.want || !errors.Is(err, auth.ErrBadCredentials) ||
				strings.Contains(fmt.Sprint(err, told), token[11:]) {
				t.Errorf("%s: %+v, %v; want %s", tt.name, got, err, tt.want)
			}
			if _, known := errors.AsType[*auth.CredentialError](err); known != (len(told) == 1) {
				t.Errorf("%s: told %q", tt.name, told)
			}
		}
		if id, _ := k.Verify(
			t.Context(), shown("anna@example.com", token),
		); id.MaySendAs("anna@example.com") || !id.MaySendAs("printer@example.com") {
			t.Error("a credential with senders of its own sends as its owner")
		}

		c, err := store.Credential(t.Context(), id)
		if err != nil || !c.LastUsed.Equal(time.Now().Truncate(time.Minute)) {
			t.Errorf("%+v, %v", c, err)
		}
		hold := func(held bool) {
			if err := k.Update(t.Context(), id, func(c *auth.Credential) error {
				c.Held, c.Owner, c.ID = held, "root", "x"
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
		hold(true)
		if _, err := k.Verify(t.Context(), shown(id, token)); refusal(err) != "held" {
			t.Error(err)
		}
		if err := k.Spend(t.Context(), want); refusal(err) != "held" {
			t.Error(err)
		}
		hold(false)
		if _, err := k.Verify(t.Context(), shown("anna@example.com", token)); err != nil {
			t.Error(err)
		}
		if err := store.DeleteCredential(t.Context(), id); err != nil {
			t.Error(err)
		}
		if _, err := k.Verify(
			t.Context(), shown(id, token),
		); !errors.Is(err, auth.ErrBadCredentials) {
			t.Error(err)
		}
		if err := k.Spend(t.Context(), want); !errors.Is(err, auth.ErrBadCredentials) {
			t.Error(err)
		}
	})
}

func TestKeyringRotate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := new(auth.MemoryCredentials)
		k := auth.NewKeyring(store, nil)
		first, id := issue(
			t, k, auth.Credential{Owner: "anna", Expires: time.Now().Add(100 * time.Hour)},
		)
		rotate := func(overlap time.Duration) string {
			t.Helper()
			token, err := k.Rotate(t.Context(), id, overlap)
			if err != nil {
				t.Fatal(err)
			}
			return token
		}
		want := func(token, want string) {
			t.Helper()
			if _, err := k.Verify(t.Context(), shown("anna", token)); refusal(err) != want {
				t.Errorf("%v, want %s", err, want)
			}
		}
		second := rotate(time.Hour)
		want(first, "<nil>")
		want(second, "<nil>")
		time.Sleep(time.Hour - time.Second)
		want(first, "<nil>")
		time.Sleep(time.Second)
		want(first, "secret expired")
		want(second, "<nil>")
		third := rotate(24 * time.Hour)
		want(first, "wrong secret")
		fourth := rotate(24 * time.Hour)
		want(second, "wrong secret") // two at once are enough
		want(third, "<nil>")
		fifth := rotate(0)
		want(fourth, "secret expired")
		want(fifth, "<nil>")
		if _, err := k.Rotate(t.Context(), "unknown", 0); !errors.Is(err, auth.ErrNoCredential) {
			t.Error(err)
		}
		time.Sleep(99 * time.Hour)
		want(fifth, "expired")
		if err := k.Spend(t.Context(), &auth.Identity{Credential: id}); refusal(err) != "expired" {
			t.Error(err)
		}
	})
}

// Changes at the same time are all made.
func TestKeyringUpdate(t *testing.T) {
	t.Parallel()
	store := new(auth.MemoryCredentials)
	k := auth.NewKeyring(store, nil)
	_, id := issue(t, k, auth.Credential{Owner: "anna"})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := k.Update(t.Context(), id, func(c *auth.Credential) error {
				c.PerDay++
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if c, err := store.Credential(t.Context(), id); err != nil || c.PerDay != 4 || c.Version != 5 {
		t.Errorf("%+v, %v", c, err)
	}
	stop := errors.New("stop")
	if err := k.Update(t.Context(), id, func(c *auth.Credential) error {
		c.PerDay = 0
		return stop
	}); !errors.Is(err, stop) {
		t.Error(err)
	}
}

// down is a store that does not answer.
type down struct{ auth.CredentialStore }

var errDown = errors.New("down")

func (down) Credential(context.Context, string) (*auth.Credential, error) { return nil, errDown }
func (down) PutCredential(context.Context, *auth.Credential) error        { return errDown }

func TestKeyringStoreDown(t *testing.T) {
	t.Parallel()
	k := auth.NewKeyring(down{}, nil)
	_, err1 := k.Verify(
		t.Context(), shown("anna", strings.Repeat("a", 10)+"_"+strings.Repeat("a", 32)),
	)
	_, _, err2 := k.Issue(t.Context(), auth.Credential{Owner: "anna"})
	_, err3 := k.Rotate(t.Context(), "x", 0)
	err4 := k.Spend(t.Context(), &auth.Identity{Credential: "x"})
	for i, err := range []error{err1, err2, err3, err4} {
		if !errors.Is(err, errDown) || errors.Is(err, auth.ErrBadCredentials) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func FuzzKeyring(f *testing.F) {
	k := auth.NewKeyring(new(auth.MemoryCredentials), nil)
	token, id := issue(f, k, auth.Credential{Owner: "anna"})
	f.Add("anna", token)
	f.Add(id, token[:20])
	f.Add("", "_")
	f.Fuzz(func(t *testing.T, user, password string) {
		got, err := k.Verify(t.Context(), auth.Proof{Username: user, Password: password})
		if err == nil && (password != token || user != "anna" && user != id) {
			t.Errorf("%q with %q is %+v", user, password, got)
		}
	})
}

func BenchmarkKeyring(b *testing.B) {
	k := auth.NewKeyring(new(auth.MemoryCredentials), nil)
	token, _ := issue(b, k, auth.Credential{Owner: "anna"})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Verify(
			b.Context(), auth.Proof{Username: "anna", Password: token},
		); err != nil {
			b.Fatal(err)
		}
	}
}
