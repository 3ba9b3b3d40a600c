package policy

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
)

// Rules say who may do what. They do not change once they are made, but for
// [Rules.Bound], which makes others.
type Rules struct {
	Hostname   string
	Connectors []*connector.Connector // that take part
	Set        *connector.Set         // of Connectors
	Table      *domains.Table
	Auth       *Verifiers // nil if nobody can log on
	Postmaster domains.Address
	// Complete is the domain that addresses without one get; empty for none.
	Complete string
	// Encrypt tells that content comes inside TLS only.
	Encrypt bool
	// Recipients are the calls of those that know the recipients.
	Recipients *Calls
	// Spend counts a message against the quota of its sender. Nil: nothing
	// keeps quotas.
	Spend func(ctx context.Context, id *auth.Identity) error

	// Made once, and not to be changed: who guesses recipients is refused
	// without an allocation.
	unableToRelay, unknownUser *Reply
}

// New makes rules ready to decide. The fields are the caller's to check.
func New(r Rules) *Rules {
	r.unableToRelay = UnableToRelay.Missing(connector.AcceptAnyRecipient)
	r.unknownUser = UnknownUser.Reply()
	return &r
}

// Active returns the connectors that take part.
func Active(all []*connector.Connector) []*connector.Connector {
	var list []*connector.Connector
	for _, c := range all {
		if c != nil && !c.Disabled {
			list = append(list, c)
		}
	}
	return list
}

// Bound returns the rules for connectors whose bindings are known.
func (p *Rules) Bound(connectors []*connector.Connector) (*Rules, error) {
	set, err := connector.NewSet(connectors...)
	if err != nil {
		return nil, err
	}
	own := *p
	own.Connectors, own.Set = Active(connectors), set
	return &own, nil
}

// Connector returns the receive connector of that name.
func (p *Rules) Connector(name string) (*connector.Connector, bool) {
	for _, c := range p.Connectors {
		if c.Name == name {
			return c, true
		}
	}
	return nil, false
}

// Serves reports whether a connection from remote to one of c's bindings would
// be c's. Before Listen a binding with port 0 is not known, and the ranges of c
// alone count.
func (p *Rules) Serves(c *connector.Connector, remote netip.Addr) bool {
	for _, b := range c.Bindings {
		if m, ok := p.Set.Match(b, remote); ok && m != c {
			return false
		}
	}
	for _, r := range c.RemoteIPRanges {
		if r.Contains(remote) {
			return true
		}
	}
	return false
}

// IsOurs reports whether a host name is one by which this relay goes.
func (p *Rules) IsOurs(c Client, name string) bool {
	if ascii, err := domains.ParseDomain(strings.TrimSuffix(name, ".")); err == nil {
		name = ascii
	}
	if c.Connector != nil && c.Connector.FQDN != "" && strings.EqualFold(name, c.Connector.FQDN) {
		return true
	}
	return strings.EqualFold(name, p.Hostname)
}

// ListensAt reports whether a connector is bound to an address.
func (p *Rules) ListensAt(a netip.AddrPort) bool {
	for _, c := range p.Connectors {
		for _, b := range c.Bindings {
			if b.Port() == a.Port() && covers(b.Addr().Unmap(), a.Addr()) {
				return true
			}
		}
	}
	return false
}

// covers reports whether a binding takes connections to an address of this
// host.
func covers(binding, a netip.Addr) bool {
	if !binding.IsUnspecified() || binding.Is4() && !a.Is4() {
		return binding == a
	}
	return a.IsLoopback() || isLocal(a)
}

// isLocal reports whether an interface of this host has an address.
func isLocal(a netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	return err == nil && slices.ContainsFunc(list, func(i net.Addr) bool {
		n, ok := i.(*net.IPNet)
		return ok && n.IP.Equal(net.IP(a.AsSlice()))
	})
}
