package auth_test

import (
	"context"
	"encoding/json"
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
	"github.com/postern-mail/postern/domains"
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

func TestKeyringSenders(t *testing.T) {
	t.Parallel()
	k := auth.NewKeyring(new(auth.MemoryCredentials), nil)
	for _, tt := range []struct {
		owner string
		want  []string
	}{
		{"anna@example.com", []string{"anna@example.com"}},
		{"anna", nil},
		{"*@example.com", nil},
	} {
		token, _ := issue(t, k, auth.Credential{Owner: tt.owner})
		id, err := k.Verify(t.Context(), shown(tt.owner, token))
		if err != nil || !reflect.DeepEqual(id.Senders, tt.want) {
			t.Errorf("%s: %+v, %v", tt.owner, id, err)
		}
	}
}

// TestKeyringFaults: what no credential may be, neither new nor changed. Each
// fault names its field.
func TestKeyringFaults(t *testing.T) {
	t.Parallel()
	store := new(auth.MemoryCredentials)
	k := auth.NewKeyring(store, nil)
	_, id := issue(t, k, auth.Credential{Owner: "anna", Senders: []string{"anna@example.com"}})
	senders := func(s ...string) auth.Credential { return auth.Credential{Senders: s} }
	sources := func(p ...netip.Prefix) auth.Credential { return auth.Credential{Sources: p} }
	for _, c := range []struct {
		name   string
		c      auth.Credential
		faults []string
	}{
		{"nothing", auth.Credential{}, nil},
		{
			"senders",
			senders(
				"Anna@Example.com", "*@example.com", "müller@xn--exmple-cua.com",
				`"odd local"@example.com`, "a@[192.0.2.1]", "a@[IPv6:2001:db8::1]", "a@localhost",
			),
			nil,
		},
		{"caps", auth.Credential{PerMinute: 1, PerDay: 1}, nil},
		{
			"sources",
			sources(netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("2001:db8::1/128")),
			nil,
		},
		{
			"no address", senders("a@b", "nonsense"),
			[]string{`Senders[1]: "nonsense" is not an address`},
		},
		{"no domain", senders("a@"), []string{`Senders[0]: "a@" is not an address`}},
		{"no local part", senders("@example.com"), []string{"Senders[0]: "}},
		{"empty", senders(""), []string{"Senders[0]: "}},
		{
			"U-labels", senders("a@example.com", "Ü@exämple.com"),
			[]string{`Senders[1]: "Ü@exämple.com": write its domain with A-labels`},
		},
		{
			"stars", senders("*@*.example.com", "*", "*@"),
			[]string{"Senders[0]: ", "Senders[1]: ", "Senders[2]: "},
		},
		{
			"dots", senders("a@example.com.", "a@example..com", ".a@example.com"),
			[]string{"Senders[0]: ", "Senders[1]: ", "Senders[2]: "},
		},
		{"needless quotes", senders(`"a"@example.com`), []string{"Senders[0]: "}},
		{
			"with a name", senders("Anna <a@example.com>", "a@example.com (Anna)"),
			[]string{"Senders[0]: ", "Senders[1]: "},
		},
		{
			"two", senders("a@example.com,b@example.com", "a@b@example.com"),
			[]string{"Senders[0]: ", "Senders[1]: "},
		},
		{"spaces and controls", senders(
			" a@example.com", "a@example.com\r\n", "a\x00@example.com", "a@exa mple.com",
		),
			[]string{"Senders[0]: ", "Senders[1]: ", "Senders[2]: ", "Senders[3]: "}},
		{"no UTF-8", senders("\xff@example.com"), []string{"Senders[0]: "}},
		{"long", senders(strings.Repeat("a", 257) + "@example.com"), []string{"Senders[0]: "}},
		{
			"zero prefix", sources(netip.MustParsePrefix("192.0.2.0/24"), netip.Prefix{}),
			[]string{"Sources[1]: not a range of addresses"},
		},
		{
			"IPv4 as IPv6", sources(netip.MustParsePrefix("::ffff:192.0.2.0/120")),
			[]string{"Sources[0]: ::ffff:192.0.2.0/120: write it as IPv4"},
		},
		{
			"negative", auth.Credential{PerMinute: -1, PerDay: -2},
			[]string{"PerMinute: -1 is negative", "PerDay: -2 is negative"},
		},
		{
			"all at once",
			auth.Credential{PerDay: -1, Senders: []string{"x"}, Sources: []netip.Prefix{{}}},
			[]string{"Senders[0]: ", "Sources[0]: ", "PerDay: "},
		},
	} {
		check := func(by string, err error) {
			t.Helper()
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			ok := len(got) == len(c.faults)
			for i := range min(len(got), len(c.faults)) {
				ok = ok && strings.HasPrefix(got[i], c.faults[i])
			}
			if !ok {
				t.Errorf("%s, %s: %q, want %q", c.name, by, got, c.faults)
			}
		}
		own := c.c
		own.Owner = "anna"
		_, _, err := k.Issue(t.Context(), own)
		check("issued", err)
		check("updated", k.Update(t.Context(), id, func(old *auth.Credential) error {
			old.Senders, old.Sources, old.PerMinute, old.PerDay = c.c.Senders, c.c.Sources, c.c.PerMinute, c.c.PerDay
			return nil
		}))
	}
	for _, owner := range []string{"", "a\n"} {
		_, _, err := k.Issue(t.Context(), auth.Credential{Owner: owner, PerDay: -1})
		if err == nil || strings.Count(err.Error(), "\n") != 1 ||
			!strings.Contains(err.Error(), "Owner: ") {
			t.Errorf("owner %q: %v", owner, err)
		}
	}
}

// TestKeyringBadStored: a credential that was stored before its faults were
// looked for can be held and rotated, and mended.
func TestKeyringBadStored(t *testing.T) {
	t.Parallel()
	store := new(auth.MemoryCredentials)
	k := auth.NewKeyring(store, nil)
	c := &auth.Credential{
		ID: "aaaaaaaaaa", Owner: "anna", Senders: []string{"nonsense", "@", "", "*@"},
		Sources: []netip.Prefix{{}}, PerMinute: -1, PerDay: -1,
	}
	if err := store.PutCredential(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	token, err := k.Rotate(t.Context(), c.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := k.Verify(
		t.Context(), shown("anna", token),
	); refusal(err) != "not from that address" {
		t.Errorf("%+v, %v", id, err)
	}
	update := func(change func(*auth.Credential)) error {
		return k.Update(t.Context(), c.ID, func(c *auth.Credential) error { change(c); return nil })
	}
	if err := update(func(c *auth.Credential) { c.Sources, c.Label = nil, "old" }); err != nil {
		t.Error(err)
	}
	id, err := k.Verify(t.Context(), shown("anna", token))
	if err != nil || id.MaySendAs("nonsense") || id.MaySendAs("a@example.com") {
		t.Fatalf("%+v, %v", id, err)
	}
	if err := k.Spend(t.Context(), id); err != nil {
		t.Error(err)
	}
	if err := update(func(c *auth.Credential) { c.PerDay = -2 }); err == nil {
		t.Error("a new fault was taken")
	}
	if err := update(func(c *auth.Credential) { c.Held = true }); err != nil {
		t.Error(err)
	}
	if err := k.Spend(t.Context(), id); refusal(err) != "held" {
		t.Error(err)
	}
}

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

func TestCredentialJSON(t *testing.T) {
	t.Parallel()
	k := auth.NewKeyring(new(auth.MemoryCredentials), nil)
	_, c, err := k.Issue(t.Context(), auth.Credential{Owner: "anna"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c)
	if err != nil || strings.Contains(string(text), "ecret") {
		t.Errorf("%s, %v", text, err)
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

// FuzzSenders: an address in its canonical form may be a sender, and then owns
// itself.
func FuzzSenders(f *testing.F) {
	for _, s := range []string{
		"Anna@Example.com", "müller@exämple.com", `"a b"@example.com`, `"\\a\""@example.com`,
		"a@[192.0.2.1]", "a@[IPv6:::1]", "*@example.com", "a@1.example", "=?x?=@b", `""@a`,
	} {
		f.Add(s)
	}
	f.Add("a@host_1.example")
	f.Add("a..b@example.com.")
	f.Add(strings.Repeat("a", 256) + "@example.com")
	store := new(auth.MemoryCredentials)
	k := auth.NewKeyring(store, nil)
	f.Fuzz(func(t *testing.T, s string) {
		token, c, err := k.Issue(t.Context(), auth.Credential{Owner: "anna", Senders: []string{s}})
		if err == nil {
			if _, err := k.Verify(t.Context(), shown("anna", token)); err != nil {
				t.Fatalf("%q: %v", s, err)
			}
			store.DeleteCredential(t.Context(), c.ID)
		}
		a, bad := domains.Parse(s)
		if bad != nil {
			return
		}
		key := a.Key()
		_, c, err = k.Issue(t.Context(), auth.Credential{Owner: "anna", Senders: []string{key}})
		if err != nil {
			t.Fatalf("%q: %v", key, err)
		}
		store.DeleteCredential(t.Context(), c.ID)
		if id := (&auth.Identity{Credential: c.ID, Senders: c.Senders}); !id.MaySendAs(key) {
			t.Fatalf("%q is not its own", key)
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
