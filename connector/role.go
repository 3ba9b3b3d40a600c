package connector

import "strings"

// Subject is what a session has shown so far.
type Subject struct {
	Authenticated bool
	User          string   // the name it logged on with
	Groups        []string // the application's groups the user is in
	// Server tells that it logged on as one of the operator's own relays.
	// Counts inside TLS only.
	Server bool
	// Names are the DNS names of its verified client certificate. They count
	// inside TLS only.
	Names []string
	// Partner is a partner's domain that it has proved in another way. Counts
	// inside TLS only.
	Partner string
	TLS     bool
}

// role is the one principal that a session has at a time.
type role uint8

const (
	roleAnonymous role = iota
	roleAuthenticated
	roleServer
	rolePartner
	roleExternallySecured
)

// Rights returns what the subject may do on this connector. It is a function of
// the connector and the subject alone and allocates nothing.
//
// A session is one principal at a time, and the rights of a new one replace
// those of the old. It is anonymous at first. After it has logged on it is
// authenticated. A client certificate makes it a server, if the connector has
// [ExchangeServer] and lists one of the certificate's names in ServerNames.
// Otherwise it makes it a partner, if the connector has the group Partners or a
// grant that names one of the domains that the certificate proves (see
// [Connector.PartnerNames]); a certificate with several is given what any of
// them is granted, and denied what any of them is denied. Other certificates do
// not count. With [ExternalAuthoritative] every session is externally secured,
// whatever it shows.
//
// Who logs on is judged by that alone: as a server if the connector has
// [ExchangeServer] and the verifier says that the identity is one, else as a
// user, whatever the certificate.
func (c *Connector) Rights(s Subject) Right {
	r := c.role(&s)
	rights := r.groupRights(c.PermissionGroups)
	var denied Right
	for i := range c.Grants {
		g := &c.Grants[i]
		switch {
		case !c.applies(g, r, &s):
		case g.Deny:
			denied |= g.Rights
		default:
			rights |= g.Rights
		}
	}
	return rights &^ denied
}

// AsksForCertificate reports whether a client certificate could make a
// difference on this connector, so that a client ought to be asked for one.
func (c *Connector) AsksForCertificate() bool {
	m := c.AuthMechanisms
	if !m.Has(TLS) || m.Has(ExternalAuthoritative) {
		return false
	}
	if m.Has(ExchangeServer) && len(c.ServerNames) > 0 || c.PermissionGroups&Partners != 0 {
		return true
	}
	for i := range c.Grants {
		if strings.HasPrefix(string(c.Grants[i].Principal), partnerPrefix) {
			return true
		}
	}
	return false
}

func (c *Connector) role(s *Subject) role {
	switch {
	case c.AuthMechanisms&ExternalAuthoritative != 0:
		return roleExternallySecured
	case s.Authenticated && s.Server && s.TLS && c.AuthMechanisms&ExchangeServer != 0:
		return roleServer
	case s.Authenticated:
		return roleAuthenticated
	case s.TLS && c.namesServer(s):
		return roleServer
	case s.TLS && c.knowsPartner(s):
		return rolePartner
	}
	return roleAnonymous
}

// namesServer reports whether the certificate is that of one of the operator's
// own relays.
func (c *Connector) namesServer(s *Subject) bool {
	if c.AuthMechanisms&ExchangeServer == 0 {
		return false
	}
	for _, name := range s.Names {
		for _, server := range c.ServerNames {
			if sameName(name, server) {
				return true
			}
		}
	}
	return false
}

func (c *Connector) knowsPartner(s *Subject) bool {
	if c.PermissionGroups&Partners != 0 {
		return c.partner(s) != ""
	}
	return c.partnerGranted(s) != ""
}

// partner returns the domain that a partner is shown as: one that a grant
// names, else the first.
func (c *Connector) partner(s *Subject) string {
	if domain := c.partnerGranted(s); domain != "" {
		return domain
	}
	for i := range len(s.Names) + 1 {
		if domain := c.proved(s, i); domain != "" {
			return domain
		}
	}
	return ""
}

// partnerGranted returns a domain of the subject that a grant names, or
// nothing.
func (c *Connector) partnerGranted(s *Subject) string {
	for i := range c.Grants {
		if domain := c.grantedTo(&c.Grants[i], s); domain != "" {
			return domain
		}
	}
	return ""
}

// grantedTo returns the partner's domain that the grant names, if the subject
// has proved it.
func (c *Connector) grantedTo(g *Grant, s *Subject) string {
	domain, ok := strings.CutPrefix(string(g.Principal), partnerPrefix)
	if !ok {
		return ""
	}
	for i := range len(s.Names) + 1 {
		if sameName(domain, c.proved(s, i)) {
			return domain
		}
	}
	return ""
}

// proved returns the ith domain that the subject has proved, or nothing if that
// name proves none: the first is Subject.Partner, those that follow are the
// certificate's.
func (c *Connector) proved(s *Subject, i int) string {
	if i == 0 {
		return s.Partner
	}
	name := strings.TrimSuffix(s.Names[i-1], ".")
	switch {
	case strings.Contains(name, "*"):
		// Whoever holds a wildcard is no single host, let alone the domain.
		return ""
	case len(c.PartnerNames) > 0:
		return c.PartnerNames[strings.ToLower(name)]
	}
	return name
}

func sameName(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}

// group returns the permission group that counts for a role.
func (r role) group() PermissionGroup {
	switch r {
	case roleAuthenticated:
		return ExchangeUsers
	case rolePartner:
		return Partners
	case roleServer, roleExternallySecured:
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

// applies reports whether the grant is for a subject in a role.
func (c *Connector) applies(g *Grant, r role, s *Subject) bool {
	switch r {
	case roleAnonymous:
		return g.Principal == Anonymous
	case roleExternallySecured:
		return g.Principal == ExternallySecured
	case rolePartner:
		return c.grantedTo(g, s) != ""
	case roleServer:
		if g.Principal == Servers {
			return true
		}
		if !s.Authenticated {
			return false
		}
		// It has logged on under a name that may be denied something.
	}
	if g.Principal == Authenticated {
		return true
	}
	if name, ok := strings.CutPrefix(string(g.Principal), userPrefix); ok {
		return g.names(name, s.User)
	}
	if name, ok := strings.CutPrefix(string(g.Principal), groupPrefix); ok {
		for _, group := range s.Groups {
			if g.names(name, group) {
				return true
			}
		}
	}
	return false
}

// names compares a name of the grant with one of the subject. Whether case
// matters is known to the verifier only: the closed answer is to grant
// to the exact name and to deny every spelling of it.
func (g *Grant) names(name, of string) bool {
	return name == of || g.Deny && strings.EqualFold(name, of)
}
