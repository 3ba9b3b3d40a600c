package connector

// PermissionGroup is a set of permission groups: fixed bundles of rights, each
// for sessions that have shown to be of one kind.
type PermissionGroup uint8

const (
	// AnonymousUsers is for sessions that have not logged on. It does not allow
	// relaying: that takes a [Grant] of [AcceptAnyRecipient] to [Anonymous].
	AnonymousUsers PermissionGroup = 1 << iota
	// ExchangeUsers is for sessions that have logged on.
	ExchangeUsers
	// ExchangeServers is for servers of the organization: sessions that have
	// proved to be one of them (see [ExchangeServer]), and every session of a
	// connector with [ExternalAuthoritative], which however does not get
	// AcceptHeadersOrganization and AcceptHeadersForest.
	ExchangeServers
	// ExchangeLegacyServers is for servers before Exchange 2007. The way in
	// which they prove who they are is not spoken here, so nobody gets its
	// rights.
	ExchangeLegacyServers
	// Partners is for sessions whose client certificate has proved a partner's
	// domain.
	Partners

	// AuthenticatedUsers is another name of ExchangeUsers.
	AuthenticatedUsers = ExchangeUsers
)

func groupWords() []word[PermissionGroup] {
	return []word[PermissionGroup]{
		{"AnonymousUsers", AnonymousUsers},
		{"ExchangeUsers", ExchangeUsers},
		{"ExchangeServers", ExchangeServers},
		{"ExchangeLegacyServers", ExchangeLegacyServers},
		{"Partners", Partners},
		{"None", 0},
		{"Anonymous", AnonymousUsers},
		{"AuthenticatedUsers", ExchangeUsers},
		{"Partner", Partners},
	}
}

// Rights returns the rights that the groups of g bundle, each for its own kind
// of session. Use [Connector.Rights] to learn what a session may do.
func (g PermissionGroup) Rights() Right {
	var r Right
	if g&AnonymousUsers != 0 {
		r |= Submit | AcceptAnySender | AcceptAuthoritativeDomainSender | AcceptHeadersRouting
	}
	if g&ExchangeUsers != 0 {
		r |= Submit | AcceptAnyRecipient | AcceptHeadersRouting | BypassAntiSpam
	}
	if g&ExchangeServers != 0 {
		r |= externallySecured | AcceptHeadersOrganization | AcceptHeadersForest
	}
	if g&ExchangeLegacyServers != 0 {
		r |= externallySecured
	}
	if g&Partners != 0 {
		r |= Submit | AcceptHeadersRouting
	}
	return r
}

// ParsePermissionGroup reads groups separated by commas or spaces. Besides
// Exchange's words it takes AuthenticatedUsers for ExchangeUsers, and
// the short forms Anonymous and Partner.
func ParsePermissionGroup(s string) (PermissionGroup, error) {
	return parseSet("permission group", s, groupWords())
}

// Has reports whether g contains every group of x.
func (g PermissionGroup) Has(x PermissionGroup) bool { return g&x == x }

// String prints the groups comma separated, and the empty set as None.
func (g PermissionGroup) String() string { return formatSet(g, groupWords()) }

// MarshalText prints g as [PermissionGroup.String] does. It fails for bits that
// are no group.
func (g PermissionGroup) MarshalText() ([]byte, error) {
	return marshalSet("permission group", g, groupWords())
}

// UnmarshalText reads what [ParsePermissionGroup] reads.
func (g *PermissionGroup) UnmarshalText(text []byte) (err error) {
	*g, err = ParsePermissionGroup(string(text))
	return err
}
