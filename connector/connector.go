package connector

import (
	"net/netip"
	"time"
)

// Right is a set of extended rights (exchange.md section 4).
type Right uint16

const (
	Submit Right = 1 << iota
	AcceptAnyRecipient
	AcceptAnySender
	AcceptAuthoritativeDomainSender
	AcceptAuthenticationFlag
	AcceptHeadersRouting
	AcceptHeadersOrganization
	AcceptHeadersForest
	BypassAntiSpam
	BypassMessageSizeLimit
)

// Has reports whether r contains every right of x.
func (r Right) Has(x Right) bool { return r&x == x }

// PermissionGroup is a set of permission groups.
type PermissionGroup uint8

const (
	AnonymousUsers PermissionGroup = 1 << iota
	ExchangeUsers
	ExchangeServers
	ExchangeLegacyServers
	Partners

	AuthenticatedUsers = ExchangeUsers
)

// AuthMechanism is a set of ways a session may prove who it is.
type AuthMechanism uint8

const (
	TLS AuthMechanism = 1 << iota
	BasicAuth
	BasicAuthRequireTLS
	Integrated
	ExchangeServer
	ExternalAuthoritative
	NoAuth // "None"; must stand alone
)

// Usage is a preset that a constructor applied.
type Usage uint8

const (
	Custom Usage = iota
	Client
	Internal
	Internet
	Partner
)

// Principal names whom a Grant is for: Anonymous, Authenticated, or one of User, Group, PartnerName.
type Principal string

// Grant gives rights to a principal on one connector, or with Deny takes them away. A denial wins.
type Grant struct {
	Principal Principal
	Rights    Right
	Deny      bool
}

// Range is an inclusive range of addresses of one family.
type Range struct{ From, To netip.Addr }

// RateSource says by what a message rate is counted.
type RateSource uint8

const (
	RateByAddress RateSource = iota
	RateByUser
	RateByAll
	RateByNone
)

// Limits bound a connector. 0 means the documented default, -1 off where that makes sense.
type Limits struct {
	MaxMessageBytes                int64
	MaxHeaderBytes                 int64
	MaxRecipients                  int
	MaxHops                        int
	MaxLocalHops                   int
	MaxConnections                 int
	MaxConnectionsPerSource        int
	MaxConnectionsPercentPerSource int
	ConnectionRate                 int // connections a minute
	MessageRate                    int // messages a minute
	MessageRateBy                  RateSource
	MaxProtocolErrors              int
	MaxLogonFailures               int
	InactivityTimeout              time.Duration
	ConnectionTimeout              time.Duration
	Tarpit                         time.Duration
	AuthTarpit                     time.Duration
}

// WithDefaults returns l with every default filled in for the usage; what is
// off is returned as -1.
func (l Limits) WithDefaults(u Usage) Limits { panic("connector: WithDefaults") }

// Connector is a receive connector.
type Connector struct {
	Name             string
	Usage            Usage
	Bindings         []netip.AddrPort
	RemoteIPRanges   []Range
	PermissionGroups PermissionGroup
	AuthMechanisms   AuthMechanism
	Grants           []Grant
	RequireTLS       bool
	ImplicitTLS      bool
	FQDN             string
	Banner           string
	Limits           Limits
	// RepairLineEndings repairs bare CR and LF in content instead of refusing the message.
	RepairLineEndings bool
	// SuppressedKeywords are ESMTP keywords that EHLO does not offer.
	SuppressedKeywords []string
	// OpenRelay confirms that anonymous relaying for everyone is wanted.
	OpenRelay bool
	Disabled  bool
}

// Peer is what a session has shown so far.
type Peer struct {
	Authenticated bool
	User          string
	Groups        []string
	Partner       string // domain proved by a client certificate
	TLS           bool
}

// Rights returns what the peer may do on this connector: a pure function (design, I5).
func (c *Connector) Rights(p Peer) Right { panic("connector: Rights") }

// Set chooses the connector of a connection. It is immutable and safe for concurrent use.
type Set struct{}

// NewSet checks all connectors and builds the set. The error holds every fault, joined with errors.Join, each a *FieldError.
func NewSet(connectors ...*Connector) (*Set, error) { panic("connector: NewSet") }

// Match returns the connector for a connection accepted at local from remote.
func (s *Set) Match(local netip.AddrPort, remote netip.Addr) (*Connector, bool) {
	panic("connector: Match")
}

// FieldError is one fault of a configuration: the path of the field and what is wrong with it.
type FieldError struct {
	Field string // "[1].RemoteIPRanges[0]"
	Err   error
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }
