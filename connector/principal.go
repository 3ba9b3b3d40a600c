package connector

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Principal names whom a [Grant] is for: [Anonymous], [Authenticated],
// [Servers], [ExternallySecured], or one of [User], [Group], [PartnerName].
type Principal string

const (
	// Anonymous is every session that has not logged on.
	Anonymous Principal = "anonymous"
	// Authenticated is every session that has logged on.
	Authenticated Principal = "authenticated"
	// Servers is every session that has proved to be one of the operator's own
	// relays. See [ExchangeServer].
	Servers Principal = "servers"
	// ExternallySecured is every session of a connector with
	// [ExternalAuthoritative].
	ExternallySecured Principal = "externally-secured"
)

const (
	userPrefix    = "user:"
	groupPrefix   = "group:"
	partnerPrefix = "partner:"
)

// User is a user who has logged on under this name. A grant compares the name
// exactly and a denial without regard to case, so that no other spelling wins a
// right or keeps one.
func User(name string) Principal { return Principal(userPrefix + name) }

// Group is every user who has logged on and is in a group of this name, which
// is the application's own. Names are compared as for [User].
func Group(name string) Principal { return Principal(groupPrefix + name) }

// PartnerName is a partner whose client certificate has proved this domain.
func PartnerName(domain string) Principal {
	return Principal(partnerPrefix + strings.ToLower(strings.TrimSuffix(domain, ".")))
}

// ParsePrincipal reads "anonymous", "authenticated", "servers",
// "externally-secured", "user:NAME", "group:NAME" or "partner:DOMAIN".
func ParsePrincipal(s string) (Principal, error) {
	s = strings.TrimSpace(s)
	var p Principal
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
	case Anonymous, Authenticated, Servers, ExternallySecured:
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
		return errors.New(
			"valid are anonymous, authenticated, servers, externally-secured, user:NAME, " +
				"group:NAME, partner:DOMAIN",
		)
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

// MarshalText returns the text that [ParsePrincipal] reads. It fails for an
// invalid principal.
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
