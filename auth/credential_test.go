package auth_test

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/domains"
)

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
			old.Senders, old.Sources = c.c.Senders, c.c.Sources
			old.PerMinute, old.PerDay = c.c.PerMinute, c.c.PerDay
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

func TestRefusalText(t *testing.T) {
	t.Parallel()
	for _, r := range []auth.Refusal{
		"", auth.WrongSecret, auth.SecretExpired, auth.WrongOwner, auth.Expired, auth.Held,
		auth.SourceRefused, auth.RightsReduced, auth.RateReached, auth.DayReached,
	} {
		text, err := json.Marshal(r)
		var back auth.Refusal
		if err != nil || json.Unmarshal(text, &back) != nil || back != r {
			t.Errorf("%q became %s, %q, %v", r, text, back, err)
		}
	}
	var r auth.Refusal
	if err := r.UnmarshalText([]byte("because")); err == nil || r != "" {
		t.Errorf("read %q, %v", r, err)
	}
}
