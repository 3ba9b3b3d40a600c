package policy

import (
	"crypto/tls"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
)

// Client is what a decision rests on: everything else is configuration (design,
// I5).
type Client struct {
	Connector *connector.Connector // nil for the application itself
	Rights    connector.Right
	Identity  *auth.Identity // nil for anonymous clients
	TLS       bool
}

// AllRights is what the application itself may do.
const AllRights = ^connector.Right(0)

// Stranger reports whether the client is neither the application nor a user nor
// a host that may relay: what it claims to be may be forged.
func (c Client) Stranger() bool {
	return c.Identity == nil && !c.Rights.Has(connector.AcceptAnyRecipient)
}

// Vouches reports whether the client's word on what was verified counts: that
// of the application, of a server of the organization and of a host that may
// relay, not that of a user or of a stranger.
func (c Client) Vouches() bool {
	return c.Rights.Has(connector.AcceptHeadersOrganization) ||
		c.Identity == nil && c.Rights.Has(connector.AcceptAnyRecipient)
}

// PeerOf is what decides the rights of a client.
func PeerOf(id *auth.Identity, t *tls.ConnectionState) connector.Subject {
	p := connector.Subject{TLS: t != nil}
	if id != nil {
		p.Authenticated, p.User, p.Groups, p.Server = true, id.User, id.Groups, id.Server
	}
	if t != nil && len(t.VerifiedChains) > 0 {
		p.Names = t.VerifiedChains[0][0].DNSNames
	}
	return p
}
