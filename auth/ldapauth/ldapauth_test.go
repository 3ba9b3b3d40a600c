package ldapauth_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/ldapauth"
)

// searching are the options to find users in the directory.
func searching(s *slapd) ldapauth.Config {
	return ldapauth.Config{
		URLs: []string{s.ldaps}, TLS: trusting(s),
		BindDN: searcher, BindPassword: "searching",
		Base: "dc=example,dc=com", Filter: "(uid={user})",
		Groups: []string{"memberof"}, Senders: []string{"mail", "proxyAddresses"},
	}
}

// naming are those to compose their names.
func naming(s *slapd) ldapauth.Config {
	return ldapauth.Config{
		URLs: []string{s.ldap}, StartTLS: true, TLS: trusting(s),
		DN:     "uid={user},ou=people,dc=example,dc=com",
		Groups: []string{"memberOf"}, Senders: []string{"mail", "proxyAddresses"},
	}
}

func open(t *testing.T, opt ldapauth.Config) *ldapauth.Verifier {
	t.Helper()
	v, err := ldapauth.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func verify(t *testing.T, v auth.Verifier, user, password string) error {
	t.Helper()
	id, err := v.Verify(t.Context(), auth.Proof{Username: user, Password: password})
	if (id == nil) == (err == nil) {
		t.Errorf("%s: both or none: %v, %v", user, id, err)
	}
	return err
}

// unknown wants an error that is not about the user.
func unknown(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || errors.Is(err, auth.ErrBadCredentials) ||
		!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v, want %s", err, want)
	}
}

var anna = &auth.Identity{
	User:    "anna",
	Groups:  []string{"cn=staff,ou=groups,dc=example,dc=com"},
	Senders: []string{"Anna@example.com", "a@xn--bcher-kva.example"},
}

func TestVerify(t *testing.T) {
	for _, options := range []func(*slapd) ldapauth.Config{searching, naming} {
		v := open(t, options(directory))
		for _, tt := range []struct {
			user, password string
			want           *auth.Identity
			err            string // empty for bad credentials
		}{
			{"anna", "secret", anna, ""},
			{"ANNA", "secret", anna, ""},
			{"anna", "guess", nil, ""},
			{"anna", "Secret", nil, ""},
			{"anna", "secret ", nil, ""},
			{"anna", "", nil, ""},
			{"anna", "\x00", nil, ""},
			{"anna", "secret\x00", nil, ""},
			{"", "secret", nil, ""},
			{
				"über", "secret",
				&auth.Identity{User: "Über", Senders: []string{"both@example.com"}}, "",
			},
			{"u\u0308ber", "secret", nil, ""}, // sessions prepare names
			{odd, "secret", &auth.Identity{User: odd}, ""},
			{odd, "guess", nil, ""},
			{"none", "secret", nil, ""}, // has no password
			{"nobody", "secret", nil, ""},
			{"*", "secret", nil, ""},
			{"ann*", "secret", nil, ""},
			{"nobody)(uid=anna", "secret", nil, ""},
			{"nobody)(|(uid=anna)", "secret", nil, ""},
			{"anna,ou=people,dc=example,dc=com", "secret", nil, ""},
			{"nobody+uid=anna", "secret", nil, ""},
			{"{user}", "secret", nil, ""},
			{`\61nna`, "secret", nil, ""},
			{"#616e6e61", "secret", nil, ""},
			{"anna\x00", "secret", nil, ""},
			{strings.Repeat("a", 255), "secret", nil, ""},
			{strings.Repeat("a", 256), "secret", nil, ""},
			{"two", "secret", nil, "2 values of uid"},
		} {
			id, err := v.Verify(
				t.Context(), auth.Proof{Username: tt.user, Password: tt.password},
			)
			switch {
			case !reflect.DeepEqual(id, tt.want):
				t.Errorf("%s with %q: %+v, %v", tt.user, tt.password, id, err)
			case tt.want == nil && tt.err == "" && err != auth.ErrBadCredentials:
				t.Errorf("%s with %q: %v", tt.user, tt.password, err)
			case tt.err != "":
				unknown(t, err, tt.err)
			}
		}
		if _, err := v.Verify(
			t.Context(), auth.Proof{Username: "anna", Password: "secret", Authzid: "bert"},
		); !errors.Is(err, auth.ErrBadCredentials) {
			t.Error(err)
		}
	}
	elsewhere.(*net.TCPListener).SetDeadline(time.Now())
	if c, err := elsewhere.Accept(); err == nil {
		c.Close()
		t.Error("followed a referral")
	}
}

func TestIdentity(t *testing.T) {
	opt := searching(directory)
	opt.Filter, opt.User, opt.Senders = "(|(uid={user})(cn={user}))", "CN", nil
	opt.Group = func(dn string) string {
		name, found := strings.CutSuffix(dn, ",ou=groups,dc=example,dc=com")
		if !found {
			return ""
		}
		return strings.TrimPrefix(name, "cn=")
	}
	opt.Groups = []string{"memberOf", "sn", "memberOf"}
	id, err := open(t, opt).Verify(
		t.Context(), auth.Proof{Username: "anna", Password: "secret"},
	)
	if want := (&auth.Identity{User: "Anna", Groups: []string{"staff"}}); err != nil ||
		!reflect.DeepEqual(id, want) {
		t.Error(id, err)
	}
	opt.User = "description"
	unknown(t, verify(t, open(t, opt), "anna", "secret"), "0 values of description")
	if err := verify(t, open(t, opt), "anna", "guess"); err != auth.ErrBadCredentials {
		t.Error(err)
	}
}

func TestSender(t *testing.T) {
	for value, want := range map[string]string{
		"anna@example.com":         "anna@example.com",
		"Anna@EXAMPLE.com":         "Anna@example.com",
		"SMTP:anna@example.com":    "anna@example.com",
		"smtp:anna@example.com":    "anna@example.com",
		"sip:anna@example.com":     "",
		"x500:/o=a/cn=b@c":         "",
		"*@example.com":            "",
		"smtp:*@example.com":       "",
		`"*"@example.com`:          "",
		`"\*"@example.com`:         "",
		`"a:b"@example.com`:        `"a:b"@example.com`,
		"a@[IPv6:2001:db8::1]":     "a@[IPv6:2001:db8::1]",
		"smtp:smtp:a@example.com":  "",
		"":                         "",
		"anna":                     "",
		"@example.com":             "",
		"a@example.com b@b.org":    "",
		"a@example.com\r\nRCPT TO": "",
	} {
		if got := ldapauth.Sender(value); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}

// What cannot be right never reaches the server, which would agree to an empty
// password.
func TestNoAnonymousBind(t *testing.T) {
	for _, options := range []func(*slapd) ldapauth.Config{searching, naming} {
		v := open(t, options(directory))
		if err := verify(t, v, "anna", "secret"); err != nil {
			t.Fatal(err)
		}
		before := len(directory.requests())
		for _, password := range []string{"", "\x00", "\x00secret"} {
			if err := verify(t, v, "anna", password); err != auth.ErrBadCredentials {
				t.Errorf("%q: %v", password, err)
			}
		}
		if got := directory.requests()[before:]; len(got) > 0 {
			t.Error(got)
		}
	}
}

// An unknown user is as much work as a wrong password.
func TestSameWork(t *testing.T) {
	opt := searching(directory)
	opt.Decoy = "uid=bert,ou=people,dc=example,dc=com"
	v := open(t, opt)
	requests := func(user, password string) (kinds, all string) {
		t.Helper()
		before := len(directory.requests())
		if err := verify(t, v, user, password); err != auth.ErrBadCredentials {
			t.Error(user, err)
		}
		for _, r := range directory.requests()[before:] {
			kind, _, _ := strings.Cut(r, "=")
			kinds += kind + " "
			all += r + "\n"
		}
		return kinds, all
	}
	requests("nobody", "secret") // connects
	wrong, _ := requests("anna", "guess")
	absent, all := requests("nobody", "secret") // the decoy's
	if wrong != "SRCH base BIND dn " || absent != wrong || !strings.Contains(all, opt.Decoy) {
		t.Errorf("%q and %q\n%s", wrong, absent, all)
	}
}

func TestDirectorySaysNo(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*ldapauth.Config)
		want   string
	}{
		"two found": {func(o *ldapauth.Config) {
			o.Filter = "(&(mail=both@example.com)(!(uid={user})))"
		}, "more than one entry"},
		"all found": {func(o *ldapauth.Config) {
			o.Filter = "(!(uid={user}))"
		}, "more than one entry"},
		"referral": {func(o *ldapauth.Config) {
			o.Base = "ou=elsewhere,dc=example,dc=com"
		}, "Referral"},
		"no such base": {func(o *ldapauth.Config) {
			o.Base = "ou=none,dc=example,dc=com"
		}, "No Such Object"},
		"wrong password": {func(o *ldapauth.Config) {
			o.BindPassword = "guess"
		}, "logging on to search"},
		"no such searcher": {func(o *ldapauth.Config) {
			o.BindDN = "cn=nobody,dc=example,dc=com"
		}, "logging on to search"},
		"may not search": {func(o *ldapauth.Config) {
			o.BindDN, o.BindPassword = "", ""
		}, "No Such Object"},
	} {
		opt := searching(directory)
		tt.change(&opt)
		v := open(t, opt)
		for _, password := range []string{"secret", "guess"} {
			if err := verify(t, v, "anna", password); err == nil ||
				errors.Is(err, auth.ErrBadCredentials) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}

	// Unwilling to take any user, or this one: only that which has taken the
	// account that searches is known to do binds.
	opt := searching(directory)
	opt.Base = "dc=closed"
	if err := verify(t, open(t, opt), "carl", "secret"); err != auth.ErrBadCredentials {
		t.Error(err)
	}
	opt = naming(directory)
	opt.DN = "uid={user},dc=closed"
	unknown(t, verify(t, open(t, opt), "carl", "secret"), "Unwilling")

	opt = naming(directory)
	opt.DN = "uid={user},ou=elsewhere,dc=example,dc=com"
	if err := verify(t, open(t, opt), "anna", "secret"); err == nil {
		t.Error("logged on elsewhere")
	}
}

// A password that is changed by other means counts at once.
func TestPasswordChange(t *testing.T) {
	t.Parallel()
	s := newSlapd(t, true)
	searched, named := open(t, searching(s)), open(t, naming(s))
	for i, current := range []string{"secret", "changed"} {
		if i > 0 {
			cmd := exec.CommandContext(t.Context(), "ldappasswd", "-x", "-H", s.ldaps,
				"-D", "cn=admin,dc=example,dc=com", "-w", "admin",
				"-s", current, "uid=anna,ou=people,dc=example,dc=com")
			cmd.Env = append(os.Environ(), "LDAPTLS_CACERT="+filepath.Join(s.dir, "cert.pem"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("ldappasswd: %v\n%s", err, out)
			}
		}
		for _, v := range []auth.Verifier{searched, named} {
			for _, password := range []string{"secret", "changed"} {
				if err := verify(t, v, "anna", password); (err == nil) != (password == current) ||
					err != nil && err != auth.ErrBadCredentials {
					t.Errorf("%s instead of %s: %v", password, current, err)
				}
			}
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for name, options := range map[string]func(*slapd) ldapauth.Config{
		"search": searching, "DN": naming,
	} {
		b.Run(name, func(b *testing.B) {
			v, err := ldapauth.New(options(directory))
			if err != nil {
				b.Fatal(err)
			}
			defer v.Close()
			for b.Loop() {
				if _, err := v.Verify(
					b.Context(), auth.Proof{Username: "anna", Password: "secret"},
				); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func Example() {
	v, err := ldapauth.New(ldapauth.Config{
		URLs: []string{directory.ldaps}, // "ldaps://ldap1.example.com", "ldaps://ldap2.example.com"
		TLS:  trusting(directory),

		BindDN: "cn=postern,dc=example,dc=com", BindPassword: "searching",
		Base:   "ou=people,dc=example,dc=com",
		Filter: "(&(objectClass=inetOrgPerson)(|(uid={user})(mail={user})))",

		User:    "uid",
		Groups:  []string{"memberOf"},
		Senders: []string{"mail"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer v.Close()
	id, err := v.Verify(
		context.Background(), auth.Proof{Username: "anna@example.com", Password: "secret"},
	)
	fmt.Println(id.User, id.Groups, id.Senders, err)
	_, err = v.Verify(context.Background(), auth.Proof{Username: "anna", Password: "guess"})
	fmt.Println(err)
	// Output:
	// anna [cn=staff,ou=groups,dc=example,dc=com] [Anna@example.com] <nil>
	// auth: bad credentials
}
