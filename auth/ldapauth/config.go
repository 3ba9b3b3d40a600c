package ldapauth

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/postern-mail/postern"
)

// placeholder stands for the user's name in a filter or a DN.
const placeholder = "{user}"

// Config says where the directory is and what it knows. URLs are needed, and
// either Filter or DN.
type Config struct {
	// URLs are the servers: "ldaps://ldap.example.com", or
	// "ldap://ldap.example.com:3389". They hold the same entries. The first
	// that can be reached is asked.
	URLs []string
	// StartTLS begins TLS on ldap:// connections (RFC 4511 section 4.14). A
	// server that does not is a failed one.
	StartTLS bool
	// TLS is for ldaps:// and StartTLS. Defaults to the roots of the system and
	// the host name of the URL.
	TLS *tls.Config
	// AllowPlaintext sends passwords over ldap:// without TLS, for everyone on
	// the way to read.
	AllowPlaintext bool

	// BindDN and BindPassword are those of the account that searches. It needs
	// to find the users and to read the attributes below, and nothing else.
	// Defaults to an anonymous search.
	BindDN       string
	BindPassword string `json:"-"`
	// Base is the DN of the entry below which users are searched.
	Base string
	// Filter finds the entry of a user: "(&(objectClass=person)(uid={user}))".
	// {user} stands for the name. Users whom it does not find cannot log on; it
	// is an error if it finds several.
	Filter string

	// DN is the name of the entry of each user, instead of a search:
	// "uid={user},ou=people,dc=example,dc=com". Users then read the attributes
	// of their own entries.
	DN string

	// User is the attribute with the name of the identity. A directory does not
	// regard the case of names, and finds one user by several; this attribute
	// makes them one. It has one value. Defaults to "uid".
	User string
	// Groups are the attributes with the groups: "memberOf". Defaults to none.
	Groups []string
	// Group makes the name of a group from a value of Groups. Values for which
	// it returns nothing are left out. Defaults to the value itself, which is
	// the DN of the group for memberOf.
	Group func(value string) string
	// Senders are the attributes with the addresses to send as: "mail",
	// "proxyAddresses". Of values that name their kind, those of "smtp:" count.
	// Values that are no addresses, and *@example.com, are left out. Do not
	// name attributes that users may change. Defaults to none.
	Senders []string

	// Decoy is the DN of an entry whose password is tried for a user whom
	// Filter does not find, and whose answer does not matter. Exempt it from
	// lock-outs. Set it to one with a hash of the kind that most users have, so
	// that the time it takes does not tell who exists. Defaults to an entry
	// below Base that is not there.
	Decoy string

	// Timeout is how long a server may take to be connected to, how long for
	// the requests of a logon, and how long a logon waits for others. Defaults
	// to 5 s.
	Timeout time.Duration
	// Conns is how many connections search at a time, and how many bind.
	// Further logons wait. Defaults to 8.
	Conns int
}

// New returns a Verifier. It does not connect yet. The error tells what is
// wrong with the options.
func New(cfg Config) (*Verifier, error) {
	if cfg.User == "" {
		cfg.User = "uid"
	}
	if cfg.Group == nil {
		cfg.Group = func(value string) string { return value }
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.Conns <= 0 {
		cfg.Conns = 8
	}
	servers, faults := cfg.servers()
	if err := errors.Join(append(faults, cfg.check()...)...); err != nil {
		return nil, err
	}
	if cfg.Decoy == "" {
		cfg.Decoy = "cn=nobody"
		if cfg.Base != "" {
			cfg.Decoy += "," + cfg.Base
		}
	}
	v := &Verifier{cfg: cfg}
	v.attributes = append(append([]string{cfg.User}, cfg.Groups...), cfg.Senders...)
	v.searches = newPool(servers, cfg, func(c *conn) error {
		if cfg.BindDN == "" {
			return nil
		}
		return c.bind(cfg.BindDN, cfg.BindPassword)
	})
	v.binds = newPool(servers, cfg, func(*conn) error { return nil })
	return v, nil
}

// check returns every fault but those of the URLs.
func (cfg *Config) check() []error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, &postern.FieldError{Field: field, Err: fmt.Errorf(format, args...)})
	}
	switch {
	case (cfg.Filter == "") == (cfg.DN == ""):
		fault("Filter", "needs either a filter or a DN")
	case cfg.Filter != "":
		if _, err := ldap.CompileFilter(fill(cfg.Filter, "x")); err != nil ||
			!strings.Contains(cfg.Filter, placeholder) {
			fault("Filter", "%q is malformed or has no %s", cfg.Filter, placeholder)
		}
	default:
		if _, err := ldap.ParseDN(fill(cfg.DN, "x")); err != nil ||
			!strings.Contains(cfg.DN, placeholder) {
			fault("DN", "%q is malformed or has no %s", cfg.DN, placeholder)
		}
		if cfg.BindDN != "" || cfg.Base != "" || cfg.Decoy != "" {
			fault(
				"DN", "nothing is searched where the DN is known: a BindDN, a Base and a Decoy "+
					"have "+
					"no use",
			)
		}
	}
	for _, dn := range []struct{ field, value string }{
		{"BindDN", cfg.BindDN}, {"Base", cfg.Base}, {"Decoy", cfg.Decoy},
	} {
		if _, err := ldap.ParseDN(dn.value); err != nil {
			fault(dn.field, "DN %q is malformed", dn.value)
		}
	}
	// An empty password would make the bind an anonymous one (RFC 4513 section
	// 5.1.2).
	if (cfg.BindDN == "") != (cfg.BindPassword == "") {
		fault("BindPassword", "a BindDN needs a BindPassword, and the other way round")
	}
	return faults
}

// servers reads the URLs.
func (cfg *Config) servers() ([]*server, []error) {
	if len(cfg.URLs) == 0 {
		return nil, []error{
			&postern.FieldError{Field: "URLs", Err: errors.New("no URL of a server")},
		}
	}
	var all []*server
	var faults []error
	for i, s := range cfg.URLs {
		fault := func(format string, args ...any) {
			faults = append(faults, &postern.FieldError{
				Field: fmt.Sprintf("URLs[%d]", i), Err: fmt.Errorf(format, args...),
			})
		}
		u, err := url.Parse(s)
		if err != nil || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" ||
			u.RawQuery != "" || u.Fragment != "" {
			fault("a URL has a scheme, a host and perhaps a port, and nothing else")
			continue
		}
		srv := &server{port: u.Port(), host: u.Hostname(), startTLS: cfg.StartTLS}
		switch {
		case u.Scheme == "ldaps":
			srv.ldaps, srv.startTLS = true, false
			srv.defaultPort("636")
		case u.Scheme != "ldap":
			fault("%s://: not ldap or ldaps", u.Scheme)
		case !cfg.StartTLS && !cfg.AllowPlaintext:
			fault(
				"passwords would be sent to %s for everyone to read: use ldaps:// or StartTLS",
				u.Host,
			)
		}
		srv.defaultPort("389")
		srv.tls = cfg.TLS.Clone() // of nil, it is nil
		if srv.tls == nil {
			srv.tls = &tls.Config{}
		}
		if srv.tls.ServerName == "" {
			srv.tls.ServerName = srv.host
		}
		all = append(all, srv)
	}
	return all, faults
}

func (s *server) defaultPort(port string) {
	if s.port == "" {
		s.port = port
	}
}

func (s *server) address() string { return net.JoinHostPort(s.host, s.port) }

func fill(template, escaped string) string {
	return strings.ReplaceAll(template, placeholder, escaped)
}
