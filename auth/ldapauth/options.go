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

// Options say where the directory is and what it knows. URLs are needed, and
// either Filter or DN.
type Options struct {
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
func New(opt Options) (*Verifier, error) {
	if opt.User == "" {
		opt.User = "uid"
	}
	if opt.Group == nil {
		opt.Group = func(value string) string { return value }
	}
	if opt.Timeout <= 0 {
		opt.Timeout = 5 * time.Second
	}
	if opt.Conns <= 0 {
		opt.Conns = 8
	}
	servers, faults := opt.servers()
	if err := errors.Join(append(faults, opt.check()...)...); err != nil {
		return nil, err
	}
	if opt.Decoy == "" {
		opt.Decoy = "cn=nobody"
		if opt.Base != "" {
			opt.Decoy += "," + opt.Base
		}
	}
	v := &Verifier{opt: opt}
	v.attributes = append(append([]string{opt.User}, opt.Groups...), opt.Senders...)
	v.searches = newPool(servers, opt, func(c *conn) error {
		if opt.BindDN == "" {
			return nil
		}
		return c.bind(opt.BindDN, opt.BindPassword)
	})
	v.binds = newPool(servers, opt, func(*conn) error { return nil })
	return v, nil
}

// check returns every fault but those of the URLs.
func (opt *Options) check() []error {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, &postern.FieldError{Field: field, Err: fmt.Errorf(format, args...)})
	}
	switch {
	case (opt.Filter == "") == (opt.DN == ""):
		fault("Filter", "needs either a filter or a DN")
	case opt.Filter != "":
		if _, err := ldap.CompileFilter(fill(opt.Filter, "x")); err != nil ||
			!strings.Contains(opt.Filter, placeholder) {
			fault("Filter", "%q is malformed or has no %s", opt.Filter, placeholder)
		}
	default:
		if _, err := ldap.ParseDN(fill(opt.DN, "x")); err != nil ||
			!strings.Contains(opt.DN, placeholder) {
			fault("DN", "%q is malformed or has no %s", opt.DN, placeholder)
		}
		if opt.BindDN != "" || opt.Base != "" || opt.Decoy != "" {
			fault(
				"DN", "nothing is searched where the DN is known: a BindDN, a Base and a Decoy "+
					"have "+
					"no use",
			)
		}
	}
	for _, dn := range []struct{ field, value string }{
		{"BindDN", opt.BindDN}, {"Base", opt.Base}, {"Decoy", opt.Decoy},
	} {
		if _, err := ldap.ParseDN(dn.value); err != nil {
			fault(dn.field, "DN %q is malformed", dn.value)
		}
	}
	// An empty password would make the bind an anonymous one (RFC 4513 section
	// 5.1.2).
	if (opt.BindDN == "") != (opt.BindPassword == "") {
		fault("BindPassword", "a BindDN needs a BindPassword, and the other way round")
	}
	return faults
}

// servers reads the URLs.
func (opt *Options) servers() ([]*server, []error) {
	if len(opt.URLs) == 0 {
		return nil, []error{
			&postern.FieldError{Field: "URLs", Err: errors.New("no URL of a server")},
		}
	}
	var all []*server
	var faults []error
	for i, s := range opt.URLs {
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
		srv := &server{port: u.Port(), host: u.Hostname(), startTLS: opt.StartTLS}
		switch {
		case u.Scheme == "ldaps":
			srv.ldaps, srv.startTLS = true, false
			srv.defaultPort("636")
		case u.Scheme != "ldap":
			fault("%s://: not ldap or ldaps", u.Scheme)
		case !opt.StartTLS && !opt.AllowPlaintext:
			fault(
				"passwords would be sent to %s for everyone to read: use ldaps:// or StartTLS",
				u.Host,
			)
		}
		srv.defaultPort("389")
		srv.tls = opt.TLS.Clone() // of nil, it is nil
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
