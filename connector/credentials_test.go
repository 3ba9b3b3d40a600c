package connector_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	. "github.com/postern-mail/postern/connector"
)

// token is a source that gives itself.
type token string

func (t token) Token(context.Context, string) (string, error) { return string(t), nil }

// list is a source that cannot be compared.
type list []string

func (l list) Token(context.Context, string) (string, error) { return l[0], nil }

// TestCredentials holds a next hop to one way to log on.
func TestCredentials(t *testing.T) {
	t.Parallel()
	certificates := []tls.Certificate{
		{Certificate: [][]byte{{0}}, PrivateKey: make(ed25519.PrivateKey, ed25519.PrivateKeySize)},
	}
	for name, c := range map[string]struct {
		hop  NextHop
		want string // the faults' beginnings
	}{
		"token":   {NextHop{Username: "u", Tokens: token("t")}, ""},
		"pointer": {NextHop{Username: "u", Tokens: &list{"t"}}, ""},
		"slice": {
			NextHop{Username: "u", Tokens: list{"t"}}, "Tokens: connector_test.list cannot",
		},
		"both": {
			NextHop{Username: "u", Password: "p", Tokens: token("t")}, "Tokens: there is",
		},
		"no user":     {NextHop{Tokens: token("t")}, "Username: missing; there are Tokens"},
		"certificate": {NextHop{Certificates: certificates}, ""},
		"as somebody": {NextHop{Certificates: certificates, Username: "u"}, ""},
		"no user, no smarthost": {
			NextHop{Password: "p", Hosts: []string{}},
			"Username: missing; there is a Password\nUsername: needs smart hosts",
		},
		"no user, any host": {
			NextHop{Tokens: token("t"), Hosts: []string{"smtp.example.com"}},
			"Username: missing; there are Tokens\nUsername: the token would go to whoever",
		},
		"nothing": {NextHop{Username: "u"}, "Password: missing; there is a Username"},
		"odd user": {
			NextHop{Username: "u\x01", Tokens: token("t")}, "Username: \"u\\x01\" has",
		},
		"no smarthost": {
			NextHop{Username: "u", Tokens: token("t"), Hosts: []string{}}, "Username: needs",
		},
	} {
		hop := c.hop
		if hop.Hosts == nil {
			hop.Hosts = []string{"smtp.example.com"}
			hop.TLS, hop.TLSDomain = TLSDomainValidation, "smtp.example.com"
		}
		switch err := hop.Validate(); {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want)):
			t.Errorf("%s: %v; want %s", name, err, c.want)
		}
	}
}

// TestTokenNeedsVerifiedHost: a token goes where a password would go, and a
// certificate's owner needs no proof of the host to be safe.
func TestTokenNeedsVerifiedHost(t *testing.T) {
	t.Parallel()
	hop := NextHop{Hosts: []string{"a"}, Username: "u", Tokens: token("t")}
	if err := fmt.Sprint(hop.Validate()); !strings.HasPrefix(err, "Username: the token would go") {
		t.Error(err)
	}
	hop.TLS = TLSNone
	if err := fmt.Sprint(hop.Validate()); !strings.HasPrefix(err, "Username: needs TLS") {
		t.Error(err)
	}
	hop.TLS, hop.AllowUnverifiedAuth = TLSEncryptionOnly, true
	if err := hop.Validate(); err != nil {
		t.Error(err)
	}
	if s := fmt.Sprintf("%v %#v", hop, hop); strings.Contains(s, "token") {
		t.Error(s)
	}
}
