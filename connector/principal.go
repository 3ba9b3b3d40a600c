package connector

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Principal names whom a [Grant] is for: [Anonymous], [Authenticated],
// [ExternallySecured], or one of [User], [Group], [PartnerName].
type Principal string

const (
	// Anonymous is every session that has not logged on.
	Anonymous Principal = "anonymous"
	// Authenticated is every session that has logged on.
	Authenticated Principal = "authenticated"
	// ExternallySecured is every session of a connector with [ExternalAuthoritative].
	ExternallySecured Principal = "externally-secured"
)

const (
	userPrefix    = "user:"
	groupPrefix   = "group:"
	partnerPrefix = "partner:"
)

// User is a user who has logged on under this name. A grant compares the name
// exactly and a denial without regard to case, so that no other spelling wins a right or keeps one.
func User(name string) Principal { return Principal(userPrefix + name) }

// Group is every user who has logged on and is in a group of this name, which
// is the application's own. Names are compared as for [User].
func Group(name string) Principal { return Principal(groupPrefix + name) }

// PartnerName is a partner whose client certificate has proved this domain.
func PartnerName(domain string) Principal {
	return Principal(partnerPrefix + strings.ToLower(strings.TrimSuffix(domain, ".")))
}

// ParsePrincipal reads "anonymous", "authenticated", "externally-secured",
// "user:NAME", "group:NAME" or "partner:DOMAIN".
func ParsePrincipal(s string) (Principal, error) {
	s = strings.TrimSpace(s)
	p := Principal(s)
	kind, name, named := strings.Cut(s, ":")
	kind = strings.ToLower(kind)
	switch {
	case !named:
		p = Principal(kind)
	case kind+":" == partnerPrefix:
		p = PartnerName(name)
	default:
		p = Principal(kind + ":" + name)
	}
	if err := p.check(); err != nil {
		return "", fmt.Errorf("connector: invalid principal %q: %w", s, err)
	}
	return p, nil
}

// maxPrincipalName bounds a user or group name, in octets.
const maxPrincipalName = 255

func (p Principal) check() error {
	switch p {
	case Anonymous, Authenticated, ExternallySecured:
		return nil
	case "":
		return errors.New("empty")
	}
	s := string(p)
	if domain, ok := strings.CutPrefix(s, partnerPrefix); ok {
		if strings.ToLower(domain) != domain {
			return errors.New("a partner's domain is written in lower case")
		}
		return checkDomain(domain)
	}
	name, ok := strings.CutPrefix(s, userPrefix)
	if !ok {
		name, ok = strings.CutPrefix(s, groupPrefix)
	}
	switch {
	case !ok:
		return errors.New("valid are anonymous, authenticated, externally-secured, user:NAME, group:NAME, partner:DOMAIN")
	case name == "":
		return errors.New("no name after the colon")
	case len(name) > maxPrincipalName:
		return fmt.Errorf("the name is longer than %d octets", maxPrincipalName)
	}
	return checkText(name)
}

// checkText refuses text that would not print on one line as it stands.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("not UTF-8")
	}
	if strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("control characters are not allowed")
	}
	return nil
}

// String returns the text that [ParsePrincipal] reads.
func (p Principal) String() string { return string(p) }

// MarshalText returns the text that [ParsePrincipal] reads. It fails for an invalid principal.
func (p Principal) MarshalText() ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("connector: invalid principal %q: %w", string(p), err)
	}
	return []byte(p), nil
}

// UnmarshalText reads what [ParsePrincipal] reads.
func (p *Principal) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePrincipal(string(text))
	return err
}

// Grant gives rights to a principal on one connector, or with Deny takes them
// away. A denial wins over every group and grant.
type Grant struct {
	Principal Principal
	Rights    Right
	Deny      bool
}

// Peer is what a session has shown so far.
type Peer struct {
	Authenticated bool
	User          string   // the name it logged on with
	Groups        []string // the application's groups the user is in
	Partner       string   // domain proved by a verified client certificate; counts inside TLS only
	TLS           bool
}

// role is the one principal that a session has at a time.
type role uint8

const (
	roleAnonymous role = iota
	roleAuthenticated
	rolePartner
	roleExternallySecured
)

// Rights returns what the peer may do on this connector. It is a function of
// the connector and the peer alone and allocates nothing.
//
// A session is one principal at a time, and the rights of a new one replace
// those of the old. It is anonymous at first. After it has logged on it is
// authenticated. A client certificate makes it a partner, if the connector
// has the group Partners or a grant that names the domain; otherwise the certificate does
// not count. With [ExternalAuthoritative] every session is externally secured, whatever it shows.
func (c *Connector) Rights(p Peer) Right {
	r := c.role(&p)
	rights := r.groupRights(c.PermissionGroups)
	var denied Right
	for i := range c.Grants {
		g := &c.Grants[i]
		switch {
		case !g.isFor(r, &p):
		case g.Deny:
			denied |= g.Rights
		default:
			rights |= g.Rights
		}
	}
	return rights &^ denied
}

func (c *Connector) role(p *Peer) role {
	switch {
	case c.AuthMechanisms&ExternalAuthoritative != 0:
		return roleExternallySecured
	case p.Authenticated:
		return roleAuthenticated
	case p.TLS && p.Partner != "" && c.knowsPartner(p):
		return rolePartner
	}
	return roleAnonymous
}

func (c *Connector) knowsPartner(p *Peer) bool {
	if c.PermissionGroups&Partners != 0 {
		return true
	}
	for i := range c.Grants {
		if c.Grants[i].isFor(rolePartner, p) {
			return true
		}
	}
	return false
}

// group returns the permission group that counts for a role.
func (r role) group() PermissionGroup {
	switch r {
	case roleAuthenticated:
		return ExchangeUsers
	case rolePartner:
		return Partners
	case roleExternallySecured:
		return ExchangeServers
	default:
		return AnonymousUsers
	}
}

// groupRights returns the rights that the connector's groups give to a role.
func (r role) groupRights(groups PermissionGroup) Right {
	switch {
	case groups&r.group() == 0:
		return 0
	case r == roleExternallySecured:
		return externallySecured
	default:
		return r.group().Rights()
	}
}

// isFor reports whether the grant is for a peer in a role.
func (g *Grant) isFor(r role, p *Peer) bool {
	switch r {
	case roleAnonymous:
		return g.Principal == Anonymous
	case roleExternallySecured:
		return g.Principal == ExternallySecured
	case rolePartner:
		domain, ok := strings.CutPrefix(string(g.Principal), partnerPrefix)
		return ok && strings.EqualFold(domain, strings.TrimSuffix(p.Partner, "."))
	}
	if g.Principal == Authenticated {
		return true
	}
	if name, ok := strings.CutPrefix(string(g.Principal), userPrefix); ok {
		return g.names(name, p.User)
	}
	if name, ok := strings.CutPrefix(string(g.Principal), groupPrefix); ok {
		for _, group := range p.Groups {
			if g.names(name, group) {
				return true
			}
		}
	}
	return false
}

// names compares a name of the grant with one of the peer. Whether case
// matters is known to the verifier only: the closed answer is to grant
// to the exact name and to deny every spelling of it.
func (g *Grant) names(name, of string) bool {
	return name == of || g.Deny && strings.EqualFold(name, of)
}
