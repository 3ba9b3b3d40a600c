package ldapauth_test

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth/ldapauth"
)

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
