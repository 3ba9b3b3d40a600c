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
	"sync"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

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

func TestTLS(t *testing.T) {
	plain := newSlapd(t, false)
	for name, tt := range map[string]struct {
		change func(*ldapauth.Config)
		want   string
	}{
		"unknown issuer, ldaps": {func(o *ldapauth.Config) {
			o.TLS = nil
		}, "unknown authority"},
		"unknown issuer, StartTLS": {func(o *ldapauth.Config) {
			o.TLS, o.URLs, o.StartTLS = nil, []string{directory.ldap}, true
		}, "unknown authority"},
		"other name": {func(o *ldapauth.Config) {
			o.TLS.ServerName = "ldap.example.com"
		}, "ldap.example.com"},
		"other name, StartTLS": {func(o *ldapauth.Config) {
			o.TLS.ServerName, o.URLs, o.StartTLS = "ldap.example.com", []string{
				directory.ldap,
			}, true
		}, "ldap.example.com"},
		"no TLS": {func(o *ldapauth.Config) {
			o.URLs, o.StartTLS = []string{plain.ldap}, true
		}, "StartTLS"},
		"no fallback": {func(o *ldapauth.Config) {
			o.URLs, o.StartTLS, o.AllowPlaintext = []string{plain.ldap}, true, true
		}, "StartTLS"},
		"ldaps without TLS": {func(o *ldapauth.Config) {
			o.URLs = []string{strings.Replace(plain.ldap, "ldap:", "ldaps:", 1)}
			o.Timeout = 300 * time.Millisecond
		}, ""},
	} {
		before := len(directory.requests()) + len(plain.requests())
		opt := searching(directory)
		tt.change(&opt)
		err := verify(t, open(t, opt), "anna", "secret")
		unknown(t, err, tt.want)
		if after := len(directory.requests()) + len(plain.requests()); after != before {
			t.Errorf("%s: %d requests", name, after-before)
		}
	}
	opt := searching(plain)
	opt.URLs, opt.AllowPlaintext = []string{plain.ldap}, true
	if err := verify(t, open(t, opt), "anna", "secret"); err != nil {
		t.Error(err)
	}
}

func TestNew(t *testing.T) {
	base := ldapauth.Config{
		URLs: []string{"ldaps://ldap.example.com"}, Base: "dc=example", Filter: "(uid={user})",
	}
	for name, tt := range map[string]struct {
		change func(*ldapauth.Config)
		want   string // empty for no fault
	}{
		"good":   {func(*ldapauth.Config) {}, ""},
		"no URL": {func(o *ldapauth.Config) { o.URLs = nil }, "no URL"},
		"plaintext": {func(o *ldapauth.Config) {
			o.URLs = []string{"ldap://ldap.example.com"}
		}, "for everyone to read"},
		"plaintext second": {func(o *ldapauth.Config) {
			o.URLs = append(o.URLs, "ldap://b.example.com")
		}, "for everyone to read"},
		"plaintext here": {func(o *ldapauth.Config) {
			o.URLs = []string{"ldap://127.0.0.1"}
		}, "for everyone to read"},
		"allowed": {func(o *ldapauth.Config) {
			o.URLs, o.AllowPlaintext = []string{"ldap://[::1]:3389/"}, true
		}, ""},
		"StartTLS": {func(o *ldapauth.Config) {
			o.URLs, o.StartTLS = []string{"LDAP://ldap.example.com"}, true
		}, ""},
		"other scheme": {func(o *ldapauth.Config) {
			o.URLs = []string{"https://ldap.example.com"}
		}, "https://: not ldap"},
		"password in URL": {func(o *ldapauth.Config) {
			o.URLs = []string{"ldaps://a:hunter2@ldap.example.com"}
		}, "nothing else"},
		"bad URL": {func(o *ldapauth.Config) {
			o.URLs = []string{"ldaps://a:hunter2@ldap:x"}
		}, "nothing else"},
		"DN in URL": {func(o *ldapauth.Config) {
			o.URLs = []string{"ldaps://a/dc=example?uid"}
		}, "nothing else"},
		"no host": {func(o *ldapauth.Config) {
			o.URLs = []string{"ldap.example.com"}
		}, "nothing else"},
		"neither": {func(o *ldapauth.Config) { o.Filter = "" }, "either a filter or a DN"},
		"both": {func(o *ldapauth.Config) {
			o.DN = "uid={user}"
		}, "either a filter or a DN"},
		"bad filter": {func(o *ldapauth.Config) { o.Filter = "(uid={user}" }, "malformed"},
		"all users":  {func(o *ldapauth.Config) { o.Filter = "(uid=*)" }, "has no {user}"},
		"template": {func(o *ldapauth.Config) {
			o.Filter, o.Base, o.DN = "", "", "uid={user},dc=example"
		}, ""},
		"bad template": {func(o *ldapauth.Config) {
			o.Filter, o.Base, o.DN = "", "", "{user}"
		}, "malformed"},
		"one user": {func(o *ldapauth.Config) {
			o.Filter, o.Base, o.DN = "", "", "uid=root,dc=example"
		}, "has no {user}"},
		"template, base": {func(o *ldapauth.Config) {
			o.Filter, o.DN = "", "uid={user},dc=example"
		}, "no use"},
		"bad base": {func(o *ldapauth.Config) {
			o.Base = "example.com"
		}, `"example.com" is malformed`},
		"bad decoy": {func(o *ldapauth.Config) { o.Decoy = "nobody" }, `"nobody" is malformed`},
		"no password": {func(o *ldapauth.Config) {
			o.BindDN = "cn=postern"
		}, "needs a BindPassword"},
		"no DN": {func(o *ldapauth.Config) { o.BindPassword = "hunter2" }, "needs a BindPassword"},
	} {
		opt := base
		opt.URLs = append([]string(nil), base.URLs...)
		tt.change(&opt)
		v, err := ldapauth.New(opt)
		switch {
		case (err != nil) != (tt.want != ""), (v == nil) != (err != nil):
			t.Errorf("%s: %v", name, err)
		case err != nil &&
			(!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
}

func TestFailOver(t *testing.T) {
	t.Parallel()
	first, second := newSlapd(t, true), newSlapd(t, true)
	opt := searching(first)
	opt.URLs, opt.TLS = []string{first.ldaps, second.ldaps}, trusting(first, second)
	v := open(t, opt)
	for _, tt := range []struct {
		stop *slapd
		down bool
	}{{nil, false}, {first, false}, {second, true}} {
		if tt.stop != nil {
			if tt.stop.requests() == nil {
				t.Error("was not asked")
			}
			tt.stop.stop()
		}
		for range 2 {
			for password, want := range map[string]error{
				"secret": nil, "guess": auth.ErrBadCredentials,
			} {
				err := verify(t, v, "anna", password)
				if tt.down {
					unknown(t, err, "connection refused")
				} else if err != want {
					t.Error(password, err)
				}
			}
		}
	}
}

// answering returns the address of a server that answers each connection once,
// and counts them.
func answering(t *testing.T, answer []byte) (address string, asked <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	count := make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			count <- struct{}{}
			c.Read(make([]byte, 1000))
			c.Write(answer)
			c.Close()
		}
	}()
	return l.Addr().String(), count
}

// Answers that look like one about the user, and like one to a bind.
func TestOddAnswers(t *testing.T) {
	// LDAPMessage 1, an ExtendedResponse: 49, invalid credentials. So StartTLS
	// is refused.
	address, _ := answering(t, []byte{0x30, 12, 2, 1, 1, 0x78, 7, 10, 1, 49, 4, 0, 4, 0})
	opt := naming(directory)
	opt.URLs = []string{"ldap://" + address}
	unknown(t, verify(t, open(t, opt), "anna", "secret"), "StartTLS")

	// A SearchResultEntry with uid: anna and without a DN, and a
	// SearchResultDone.
	address, asked := answering(t, []byte("\x30\x18\x02\x01\x01\x64\x13\x04\x00\x30\x0f\x30\x0d\x04\x03uid\x31\x06\x04\x04anna"+
		"\x30\x0c\x02\x01\x01\x65\x07\x0a\x01\x00\x04\x00\x04\x00"))
	opt = ldapauth.Config{
		URLs: []string{"ldap://" + address}, AllowPlaintext: true, Filter: "(uid={user})",
	}
	unknown(t, verify(t, open(t, opt), "anna", "secret"), "has no name")
	if len(asked) != 1 {
		t.Errorf("asked %d times", len(asked))
	}

	address, _ = answering(t, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	opt.URLs = []string{"ldap://" + address}
	unknown(t, verify(t, open(t, opt), "anna", "secret"), address)
}

// A server that is silent, or is unable, costs the time of one logon in a
// while.
func TestServerDown(t *testing.T) {
	t.Parallel()
	// LDAPMessage 1, a BindResponse: 52, unavailable.
	unable, asked := answering(t, []byte{0x30, 12, 2, 1, 1, 0x61, 7, 10, 1, 52, 4, 0, 4, 0})
	silent := newProxy(t, strings.TrimPrefix(directory.ldap, "ldap://"))
	silent.silence(true)
	attempts := func(which string) int {
		if which == "silent" {
			n, _, _ := silent.counts()
			return n
		}
		return len(asked)
	}
	for which, address := range map[string]string{
		"silent": silent.Addr().String(), "unable": unable,
	} {
		for _, options := range []func(*slapd) ldapauth.Config{searching, naming} {
			before := attempts(which)
			opt := options(directory)
			opt.URLs, opt.StartTLS, opt.AllowPlaintext = []string{
				"ldap://" + address, directory.ldap,
			}, false, true
			opt.Timeout = time.Second
			v := open(t, opt)
			now := time.Now()
			ldapauth.SetClock(v, func() time.Time { return now })
			for range 5 {
				if err := verify(t, v, "anna", "secret"); err != nil {
					t.Error(which, err)
				}
			}
			if n := attempts(which) - before; n != 1 {
				t.Errorf("%s: tried %d times", which, n)
			}
			now = now.Add(time.Hour)
			if err := verify(t, v, "anna", "secret"); err != nil {
				t.Error(which, err)
			}
			if n := attempts(which) - before; n != 2 {
				t.Errorf("%s: tried %d times after an hour", which, n)
			}
			opt.URLs = opt.URLs[:1]
			unknown(t, verify(t, open(t, opt), "anna", "secret"), address)
		}
	}
}

// A server that falls silent is found out once, by one of the connections that
// are kept.
func TestServerFallsSilent(t *testing.T) {
	t.Parallel()
	p := newProxy(t, strings.TrimPrefix(directory.ldaps, "ldaps://"))
	opt := searching(directory)
	opt.URLs, opt.Timeout = []string{"ldaps://" + p.Addr().String(), directory.ldaps}, time.Second
	v := open(t, opt)
	for range 3 {
		if err := verify(t, v, "anna", "secret"); err != nil {
			t.Error(err)
		}
		p.silence(true)
	}
	if accepted, _, _ := p.counts(); accepted != 2 || len(p.unheard) != 1 {
		t.Errorf("%d connections, %d of them used in vain", accepted, len(p.unheard))
	}
}

// A server that is back, and one whose client has gone away, is used like
// others.
func TestServerComesBack(t *testing.T) {
	t.Parallel()
	p := newProxy(t, strings.TrimPrefix(directory.ldaps, "ldaps://"))
	opt := searching(directory)
	opt.URLs, opt.Timeout = []string{"ldaps://" + p.Addr().String()}, time.Second
	alone := open(t, opt)
	opt.URLs, opt.Timeout = append(opt.URLs, directory.ldaps), time.Minute
	first := open(t, opt)

	p.silence(true)
	unknown(t, verify(t, alone, "anna", "secret"), "deadline exceeded")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := first.Verify(
		ctx, auth.Proof{Username: "anna", Password: "secret"},
	); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	p.silence(false)
	for _, v := range []*ldapauth.Verifier{alone, first} {
		before, _, _ := p.counts()
		for range 3 {
			if err := verify(t, v, "anna", "secret"); err != nil {
				t.Error(err)
			}
		}
		if after, _, _ := p.counts(); after != before+2 {
			t.Errorf("%d connections instead of 2", after-before)
		}
	}

	// Busy connections do not last for ever either: what has changed must
	// count.
	before, _, _ := p.counts()
	start := time.Now()
	for later := time.Duration(0); later < 6*time.Minute; later += 30 * time.Second {
		ldapauth.SetClock(first, func() time.Time { return start.Add(later) })
		if err := verify(t, first, "anna", "secret"); err != nil {
			t.Error(err)
		}
	}
	if after, _, _ := p.counts(); after != before+2 {
		t.Errorf("%d new connections in six minutes", after-before)
	}
}

func TestContext(t *testing.T) {
	t.Parallel()
	silent := newProxy(t, strings.TrimPrefix(directory.ldap, "ldap://"))
	silent.silence(true)
	for _, url := range []string{"ldap://", "ldaps://"} {
		opt := naming(directory)
		opt.URLs, opt.Timeout, opt.Conns = []string{url + silent.Addr().String()}, time.Minute, 1
		v := open(t, opt)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range 3 { // one is served, the others wait for it
			wg.Go(func() {
				_, err := v.Verify(ctx, auth.Proof{Username: "anna", Password: "secret"})
				if !errors.Is(err, context.Canceled) || errors.Is(err, auth.ErrBadCredentials) {
					t.Error(err)
				}
			})
		}
		time.AfterFunc(100*time.Millisecond, cancel)
		wg.Wait()
	}

	opt := naming(directory)
	opt.URLs, opt.Timeout, opt.Conns = []string{
		"ldap://" + silent.Addr().String(),
	}, 200*time.Millisecond, 1
	v := open(t, opt)
	errs := make(chan error)
	for range 8 { // nobody waits for all others
		go func() {
			_, err := v.Verify(t.Context(), auth.Proof{Username: "anna", Password: "secret"})
			errs <- err
		}()
	}
	busy := 0
	for range 8 {
		err := <-errs
		unknown(t, err, "")
		if strings.Contains(err.Error(), "too many logons") {
			busy++
		}
	}
	if busy < 4 {
		t.Errorf("%d of 8 gave up waiting", busy)
	}
}

func TestPool(t *testing.T) {
	t.Parallel()
	for _, options := range []func(*slapd) ldapauth.Config{searching, naming} {
		opt := options(directory)
		target := strings.TrimPrefix(strings.TrimPrefix(opt.URLs[0], "ldaps://"), "ldap://")
		p := newProxy(t, target)
		opt.URLs = []string{strings.Replace(opt.URLs[0], target, p.Addr().String(), 1)}
		opt.Conns = 2
		limit := 2
		if opt.DN == "" {
			limit = 4 // two that search, two that bind
		}
		v := open(t, opt)
		many := func() {
			t.Helper()
			var wg sync.WaitGroup
			for i := range 40 {
				wg.Go(func() {
					password, want := "secret", error(nil)
					if i%2 == 1 {
						password, want = "guess", auth.ErrBadCredentials
					}
					if _, err := v.Verify(
						t.Context(), auth.Proof{Username: "anna", Password: password},
					); err != want {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		}
		many()
		accepted, most, _ := p.counts()
		if accepted > limit || most > limit {
			t.Errorf("%d connections, %d at a time", accepted, most)
		}
		// The server has started anew: connections that are kept are dead.
		p.cut()
		many()
		if _, most, _ := p.counts(); most > 2*limit { // those cut may be counted still
			t.Errorf("%d connections at a time", most)
		}
		// One at a time needs one connection of each kind.
		start := time.Now()
		for _, later := range []time.Duration{30 * time.Second, 70 * time.Second} {
			ldapauth.SetClock(v, func() time.Time { return start.Add(later) })
			if err := verify(t, v, "anna", "secret"); err != nil {
				t.Error(err)
			}
		}
		p.await(t, limit/2)
		// Kept for too long.
		before, _, _ := p.counts()
		ldapauth.SetClock(v, func() time.Time { return start.Add(time.Hour) })
		many()
		if after, _, _ := p.counts(); after == before {
			t.Error("old connections are used")
		}
		v.Close()
		many()
		p.await(t, 0)
	}
}

// A password that is changed by other means counts at once.
func TestPasswordChange(t *testing.T) {
	t.Parallel()
	s := newSlapd(t, true)
	searched, named := open(t, searching(s)), open(t, naming(s))
	for i, current := range []string{"secret", "changed"} {
		if i > 0 {
			cmd := exec.CommandContext(t.Context(), "ldappasswd", "-x", "-H", s.ldaps, "-D", "cn=admin,dc=example,dc=com", "-w", "admin",
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

// A name stays one value of a filter, and one of a DN, whatever is in it.
func FuzzName(f *testing.F) {
	for _, s := range []string{
		"anna", odd, "*", ")(", `\`, " a ", "#a", "a,b=c", "a+b=c", "\u0308", "{user}", `"`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if prepared, err := auth.PrepareName(name); err != nil || prepared != name {
			return
		}
		packet, err := ldap.CompileFilter(
			ldapauth.Fill("(&(a=b)(uid={user}))", ldap.EscapeFilter(name)),
		)
		if err != nil {
			t.Fatal(err)
		}
		if len(packet.Children) != 2 || len(packet.Children[1].Children) != 2 ||
			packet.Children[1].Children[1].Data.String() != name {
			t.Errorf("%q in a filter", name)
		}
		dn, err := ldap.ParseDN(ldapauth.Fill("uid={user},dc=example", ldap.EscapeDN(name)))
		if err != nil {
			t.Fatal(err)
		}
		if len(dn.RDNs) != 2 || len(dn.RDNs[0].Attributes) != 1 ||
			dn.RDNs[0].Attributes[0].Value != name {
			t.Errorf("%q in a DN: %v", name, dn)
		}
	})
}

func FuzzSender(f *testing.F) {
	f.Add("smtp:anna@example.com")
	f.Add(`"*"@example.com`)
	f.Add("x500:/o=a")
	f.Fuzz(func(t *testing.T, value string) {
		address := ldapauth.Sender(value)
		if address == "" {
			return
		}
		id := &auth.Identity{Senders: []string{address}}
		if !id.MaySendAs(address) ||
			id.MaySendAs("other"+address[strings.LastIndexByte(address, '@'):]) &&
				!strings.HasPrefix(strings.ToLower(address), "other@") {
			t.Errorf("%q: %q", value, address)
		}
	})
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
