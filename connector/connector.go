package connector

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unicode/utf8"
)

// Connector is a receive connector: where connections arrive, from whom, and
// what they may do. Start from [AnonymousRelay], [Submission] or [New].
type Connector struct {
	// Name identifies the connector in logs and events: unique without regard
	// to case, at most 64 characters. Required.
	Name string
	// Usage is the preset the connector was made from.
	Usage Usage
	// Bindings are the local addresses and ports. 0.0.0.0 and [::] stand for
	// all local addresses of their family. Port 0 stands for a free port of the
	// connector's own, which must be filled in before a [Set] can match it.
	// Required.
	Bindings []netip.AddrPort
	// RemoteIPRanges are the remote addresses the connector is for. Required.
	RemoteIPRanges []Range
	// PermissionGroups say who may do what. Defaults to nobody.
	PermissionGroups PermissionGroup
	// AuthMechanisms say how a session may prove who it is. Defaults to none.
	AuthMechanisms AuthMechanism
	// Grants add rights to those of the groups, or take them away. Defaults to
	// none.
	Grants []Grant
	// ServerNames are DNS names of the operator's own relays. With
	// [ExchangeServer], a client whose verified certificate has one of them
	// among its DNS names is a server. Wildcards are not allowed, neither here
	// nor in the certificate, and the common name is never looked at. Defaults
	// to none.
	ServerNames []string
	// PartnerNames are the DNS names of partners' certificates, in lower case,
	// each with the partner's domain that it proves. A name that is not a key
	// then proves nothing. Wildcards are not allowed, neither here nor in the
	// certificate. Defaults to none: every DNS name of a verified certificate
	// proves the domain of the same name, and not the one above it.
	PartnerNames map[string]string
	// RequireTLS refuses mail outside TLS. Defaults to false.
	RequireTLS bool
	// ImplicitTLS speaks TLS from the first byte, as on port 465 (RFC 8314).
	// Defaults to false.
	ImplicitTLS bool
	// FQDN is the name in the banner, the EHLO reply and the Received field.
	// Defaults to the relay's host name.
	FQDN string
	// Banner is the whole greeting, beginning with "220 ". Defaults to one that
	// names the FQDN.
	Banner string
	// Limits bound the connector. Each field has its own default.
	Limits Limits
	// RepairLineEndings repairs bare CR and LF in content instead of refusing
	// the message. Defaults to false.
	RepairLineEndings bool
	// SuppressedKeywords are ESMTP keywords that EHLO does not offer. Defaults
	// to none.
	SuppressedKeywords []string
	// OpenRelay confirms that anonymous relaying for everyone is wanted.
	// Defaults to false.
	OpenRelay bool
	// Disabled takes the connector out of use. It is still checked. Defaults to
	// false.
	Disabled bool
}

const (
	maxName = 64 // characters
	// maxBanner leaves room for CRLF in a reply line (RFC 5321 section
	// 4.5.3.1.5).
	maxBanner = 510
)

// Validate checks the connector by itself. The error holds every fault, joined
// with [errors.Join], each a *[postern.FieldError] with a path such as
// "RemoteIPRanges[0]". What a connector may not have in common with others is
// for [NewSet] to check.
func (c *Connector) Validate() error {
	var f faults
	if c == nil {
		f.in("")("", "nil connector")
		return f.join()
	}
	c.validate(f.in(""))
	return f.join()
}

func (c *Connector) validate(fault report) {
	checkName(fault, c.Name)
	if _, ok := nameOf(c.Usage, usageWords()); !ok {
		fault(
			"Usage", "%d is no usage; valid are Client, Custom, Internal, Internet, Partner",
			c.Usage,
		)
	}
	c.validateBindings(fault)
	c.validateRanges(fault)
	if extra := unnamed(c.PermissionGroups, groupWords()); extra != 0 {
		fault("PermissionGroups", "%#x is no permission group", uint(extra))
	}
	c.validateMechanisms(fault)
	c.validateNames(fault)
	c.validateGrants(fault)
	c.validateGreeting(fault)
	c.validateKeywords(fault)
	c.Limits.validate(c.Usage, func(field, format string, args ...any) {
		fault("Limits."+field, format, args...)
	})
	c.validateRelay(fault)
}

func checkName(fault report, name string) {
	switch {
	case strings.TrimSpace(name) == "":
		fault("Name", "missing; give the connector a name of its own")
	case utf8.RuneCountInString(name) > maxName:
		fault("Name", "longer than %d characters", maxName)
	case strings.TrimSpace(name) != name:
		fault("Name", "white space at an end of %q", name)
	default:
		if err := checkText(name); err != nil {
			fault("Name", "%q: %w", name, err)
		}
	}
}

func (c *Connector) validateBindings(fault report) {
	if len(c.Bindings) == 0 {
		fault("Bindings", "missing; name a local address and port, such as 0.0.0.0:25")
	}
	seen := make(map[netip.AddrPort]bool, len(c.Bindings))
	for i, b := range c.Bindings {
		b = unmap(b)
		field := fmt.Sprintf("Bindings[%d]", i)
		switch {
		case !b.Addr().IsValid():
			fault(field, "no address")
		case b.Addr().IsMulticast():
			fault(field, "%s is a multicast address", b.Addr())
		case seen[b] && b.Port() != 0:
			fault(field, "%s is listed twice; remove one", b)
		}
		seen[b] = true
	}
}

func (c *Connector) validateRanges(fault report) {
	if len(c.RemoteIPRanges) == 0 {
		fault("RemoteIPRanges", "missing; list the remote addresses the connector is for")
	}
	spans := make([]span, 0, len(c.RemoteIPRanges))
	for i, r := range c.RemoteIPRanges {
		if err := r.check(); err != nil {
			fault(rangeField(i), "%w", err)
			continue
		}
		spans = append(spans, newSpan(r, 0, i))
	}
	nest(spans, func(a, b span) {
		if a.index > b.index {
			a, b = b, a
		}
		if a.from == b.from && a.to == b.to {
			fault(rangeField(b.index), "%s is listed twice; remove one", b.Range)
		} else {
			fault(
				rangeField(b.index),
				"%s overlaps %s; one must lie inside the other, or they must be apart", b.Range,
				a.Range,
			)
		}
	})
}

func rangeField(i int) string { return fmt.Sprintf("RemoteIPRanges[%d]", i) }

func (c *Connector) validateMechanisms(fault report) {
	m := c.AuthMechanisms
	const field = "AuthMechanisms"
	if extra := unnamed(m, mechanismWords()); extra != 0 {
		fault(field, "%#x is no auth mechanism", uint(extra))
	}
	if m.Has(NoAuth) && m != NoAuth {
		fault(field, "None must stand alone; remove it, or remove %s", m&^NoAuth)
	}
	if m.Has(BasicAuthRequireTLS) && !m.Has(BasicAuth|TLS) {
		fault(field, "BasicAuthRequireTLS needs BasicAuth and Tls; add %s", (BasicAuth|TLS)&^m)
	}
	if m.Has(ExternalAuthoritative) {
		if others := m &^ (ExternalAuthoritative | TLS | NoAuth); others != 0 {
			fault(field, "ExternalAuthoritative may be combined with Tls only; remove %s", others)
		}
		if c.PermissionGroups != ExchangeServers {
			fault(
				"PermissionGroups",
				"ExternalAuthoritative needs ExchangeServers and nothing else; these are %s",
				c.PermissionGroups,
			)
		}
	}
	if m.Has(ExchangeServer) {
		if c.FQDN != "" {
			fault(
				"FQDN",
				"ExchangeServer needs the server's own name; leave FQDN empty or remove "+
					"ExchangeServer",
			)
		}
		if !m.Has(TLS) {
			fault(field, "ExchangeServer needs Tls, in which servers prove who they are; add Tls")
		}
	}
	if !m.Has(TLS) {
		if c.RequireTLS {
			fault("RequireTLS", "needs Tls; add it to AuthMechanisms")
		}
		if c.ImplicitTLS {
			fault("ImplicitTLS", "needs Tls; add it to AuthMechanisms")
		}
	}
}

func (c *Connector) validateNames(fault report) {
	if len(c.ServerNames) > 0 && !c.AuthMechanisms.Has(ExchangeServer) {
		fault(
			"ServerNames",
			"no session is a server without ExchangeServer; add it to AuthMechanisms",
		)
	}
	for i, name := range c.ServerNames {
		if err := checkDomain(name); err != nil {
			fault(fmt.Sprintf("ServerNames[%d]", i), "%q: %w", name, err)
		}
	}
	if len(c.PartnerNames) == 0 {
		return
	}
	if !c.AuthMechanisms.Has(TLS) {
		fault("PartnerNames", "needs Tls; add it to AuthMechanisms")
	}
	if c.AuthMechanisms.Has(ExternalAuthoritative) {
		fault(
			"PartnerNames",
			"with ExternalAuthoritative no session is a partner; remove one of them",
		)
	}
	for _, name := range slices.Sorted(maps.Keys(c.PartnerNames)) {
		field := fmt.Sprintf("PartnerNames[%q]", name)
		if err := checkDomain(name); err != nil {
			fault(field, "%w", err)
		} else if strings.ToLower(name) != name {
			fault(field, "write the name in lower case")
		}
		if domain := c.PartnerNames[name]; checkDomain(domain) != nil {
			fault(field, "%q: %w", domain, checkDomain(domain))
		}
	}
}

func (c *Connector) validateGrants(fault report) {
	for i, g := range c.Grants {
		field := fmt.Sprintf("Grants[%d].", i)
		if err := g.Principal.check(); err != nil {
			fault(field+"Principal", "invalid principal %q: %w", string(g.Principal), err)
		} else if external := c.AuthMechanisms.Has(
			ExternalAuthoritative,
		); external != (g.Principal == ExternallySecured) {
			// Such a grant never applies; a denial without effect would be a
			// false comfort.
			if external {
				fault(
					field+"Principal", "with ExternalAuthoritative every session is %q, never %q",
					ExternallySecured, g.Principal,
				)
			} else {
				fault(
					field+"Principal", "no session is %q without ExternalAuthoritative",
					ExternallySecured,
				)
			}
		} else if g.Principal == Servers && !c.AuthMechanisms.Has(ExchangeServer) {
			fault(field+"Principal", "no session is %q without ExchangeServer", Servers)
		}
		if extra := unnamed(g.Rights, rightWords()); extra != 0 {
			fault(field+"Rights", "%#x is no right", uint(extra))
		} else if g.Rights == 0 {
			fault(field+"Rights", "missing; name a right")
		}
	}
}

func (c *Connector) validateGreeting(fault report) {
	if c.FQDN != "" {
		if err := checkDomain(c.FQDN); err != nil {
			fault("FQDN", "%q: %w", c.FQDN, err)
		}
	}
	if c.Banner == "" {
		return
	}
	if !strings.HasPrefix(c.Banner, "220 ") {
		fault("Banner", "must begin with 220 and a space")
	}
	if len(c.Banner) > maxBanner {
		fault("Banner", "longer than %d octets", maxBanner)
	}
	for i := range len(c.Banner) {
		if b := c.Banner[i]; b < ' ' || b > '~' {
			fault("Banner", "must be one line of printable ASCII")
			break
		}
	}
}

func (c *Connector) validateKeywords(fault report) {
	suppressed := map[string]bool{}
	for i, k := range c.SuppressedKeywords {
		if !isKeyword(k) {
			fault(fmt.Sprintf("SuppressedKeywords[%d]", i), "%q is no ESMTP keyword", k)
		}
		suppressed[strings.ToUpper(k)] = true
	}
	// RFC 3030 section 3: BINARYMIME cannot be used without CHUNKING.
	if suppressed["CHUNKING"] && !suppressed["BINARYMIME"] {
		fault("SuppressedKeywords", "BINARYMIME needs CHUNKING; suppress BINARYMIME as well")
	}
	if suppressed["STARTTLS"] && !c.ImplicitTLS &&
		(c.RequireTLS || c.AuthMechanisms.Has(BasicAuthRequireTLS)) {
		fault(
			"SuppressedKeywords",
			"STARTTLS is the only way into the TLS that the connector requires; do not suppress it",
		)
	}
}

// maxKeyword bounds an ESMTP keyword; the longest registered one has 20 octets.
const maxKeyword = 64

// isKeyword checks the syntax of RFC 5321 section 4.1.1.1, ehlo-keyword.
func isKeyword(s string) bool {
	if s == "" || len(s) > maxKeyword || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if !isAlnum(s[i]) && s[i] != '-' {
			return false
		}
	}
	return true
}

func isAlnum(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z'
}

// unmap turns an IPv4-mapped IPv6 address into the IPv4 address.
func unmap(b netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(b.Addr().Unmap(), b.Port())
}
