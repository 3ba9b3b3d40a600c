package connector

import (
	"net/netip"
	"slices"
)

// Usage is the preset that [New] applied. Afterwards it is a label; only the
// default of [Limits.MessageRate] depends on it.
type Usage uint8

const (
	// Custom starts with nothing but TLS.
	Custom Usage = iota
	// Client is for users who log on.
	Client
	// Internal is for the organization's own servers.
	Internal
	// Internet is for anybody, who may write to the accepted domains.
	Internet
	// Partner is for partners who prove their domain with a certificate.
	Partner
)

func usageWords() []word[Usage] {
	return []word[Usage]{
		{"Client", Client},
		{"Custom", Custom},
		{"Internal", Internal},
		{"Internet", Internet},
		{"Partner", Partner},
	}
}

// ParseUsage reads a usage.
func ParseUsage(s string) (Usage, error) { return parseOne("usage", s, usageWords()) }

// String returns the name of the usage.
func (u Usage) String() string { return formatOne("Usage", u, usageWords()) }

// MarshalText returns the name of the usage. It fails for a value that is none.
func (u Usage) MarshalText() ([]byte, error) { return marshalOne("usage", u, usageWords()) }

// UnmarshalText reads what [ParseUsage] reads.
func (u *Usage) UnmarshalText(text []byte) (err error) {
	*u, err = ParseUsage(string(text))
	return err
}

// New returns a connector with the fields that the usage fills in. What is not
// listed here is for the caller to set; every field may be changed.
//
//   - All: Name, Usage and the AuthMechanism Tls.
//   - [Client]: the group ExchangeUsers; BasicAuth, BasicAuthRequireTLS and
//     Integrated; port 587.
//   - [Custom]: nothing more.
//   - [Internal]: the groups ExchangeServers and ExchangeLegacyServers;
//     ExchangeServer; port 25.
//   - [Internet]: the group AnonymousUsers; the remote addresses all of IPv4.
//   - [Partner]: the group Partners.
//
// The bindings are to all local addresses, IPv4 and IPv6. Client also limits
// each user to 5 messages a minute, as Exchange does for people at a mail
// program; an application that sends much through it wants another
// [Limits.MessageRate], or [Submission].
//
// An Internal connector lets nobody in as it stands: list the other relays of
// yours in ServerNames, or let the verifier know them by a password (see
// [ExchangeServer]). For servers on a trusted network set AuthMechanisms to
// [ExternalAuthoritative] and PermissionGroups to [ExchangeServers].
func New(name string, u Usage) *Connector {
	c := &Connector{Name: name, Usage: u, AuthMechanisms: TLS}
	switch u {
	case Client:
		c.PermissionGroups = ExchangeUsers
		c.AuthMechanisms |= BasicAuth | BasicAuthRequireTLS | Integrated
		c.Bindings = allLocal(587)
		c.Limits.MessageRate = clientMessageRate
		c.Limits.MessageRateBy = RateByUser
	case Internal:
		c.PermissionGroups = ExchangeServers | ExchangeLegacyServers
		c.AuthMechanisms |= ExchangeServer
		c.Bindings = allLocal(25)
	case Internet:
		c.PermissionGroups = AnonymousUsers
		c.RemoteIPRanges = []Range{AllIPv4()}
	case Partner:
		c.PermissionGroups = Partners
	}
	return c
}

func allLocal(port uint16) []netip.AddrPort {
	return []netip.AddrPort{
		netip.AddrPortFrom(netip.IPv4Unspecified(), port),
		netip.AddrPortFrom(netip.IPv6Unspecified(), port),
	}
}

// AnonymousRelay returns a connector through which the hosts of the ranges
// send to anybody without logging on. TLS is offered but not asked for.
//
// It is bound to port 25 of all local addresses; set Bindings for another
// place. List the application's hosts and nothing else: a load balancer or a
// router that hides its clients' addresses lets in everybody behind it.
//
// A host that is listed is no stranger: the limits that keep one stranger from
// taking all connections are off, MaxConnectionsPerSource,
// MaxConnectionsPercentPerSource and ConnectionRate. Limits.MaxConnections
// still bounds the hosts together.
func AnonymousRelay(name string, ranges ...Range) *Connector {
	c := New(name, Custom)
	c.Bindings = allLocal(25)
	c.RemoteIPRanges = slices.Clone(ranges)
	c.PermissionGroups = AnonymousUsers
	c.Grants = []Grant{{Principal: Anonymous, Rights: AcceptAnyRecipient}}
	c.Limits.MaxConnectionsPerSource = -1
	c.Limits.MaxConnectionsPercentPerSource = -1
	c.Limits.ConnectionRate = -1
	return c
}

// FromInternet returns a connector for mail from other hosts on the internet to
// the accepted domains: every IPv4 and IPv6 address on port 25, no relaying,
// TLS offered.
//
// It is an Internet connector with one denial, which closes a door that the
// group AnonymousUsers leaves open: strangers may not send as an address in the
// relay's own authoritative domains, neither in the envelope nor in the From
// and Sender fields. Give hosts and services that send as such an address
// without logging on a connector of their own.
func FromInternet(name string) *Connector {
	c := New(name, Internet)
	c.Bindings = allLocal(25)
	c.RemoteIPRanges = Everyone()
	c.Grants = []Grant{{Principal: Anonymous, Rights: AcceptAuthoritativeDomainSender, Deny: true}}
	return c
}

// Submission returns a connector for users: from every address, on port 587 of
// all local addresses, logon only inside TLS, and then to any recipient. For
// TLS from the first byte set ImplicitTLS and bind port 465. Users send as the
// addresses that their identity owns and as no other: see Senders of
// auth.Identity.
//
// It is a Client connector without the 5 messages a minute, which suit a person
// and stop an application. Set Limits.MessageRate to bound a user.
func Submission(name string) *Connector {
	c := New(name, Client)
	c.RemoteIPRanges = Everyone()
	c.Limits.MessageRate = -1
	return c
}
