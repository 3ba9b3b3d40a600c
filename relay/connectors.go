package relay

import (
	"slices"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
)

// Connectors returns the receive connectors that take part, in the order of the configuration. After
// [Relay.Listen] a binding with port 0 has its real port. They are copies, but what they
// point to is not: do not change it.
func (r *Relay) Connectors() []*connector.Connector {
	var list []*connector.Connector
	for _, c := range r.snap.Load().cfg.Connectors {
		if c != nil && !c.Disabled {
			own := *c
			own.Bindings = slices.Clone(c.Bindings)
			list = append(list, &own)
		}
	}
	return list
}

// AcceptedDomains returns the table of the accepted domains.
func (r *Relay) AcceptedDomains() *domains.Table { return r.snap.Load().table }

// Hostname returns the name the relay goes by.
func (r *Relay) Hostname() string { return r.snap.Load().cfg.Hostname }

// OffersTLS reports whether the relay has a certificate to offer TLS with.
func (r *Relay) OffersTLS() bool { return r.snap.Load().cfg.TLS != nil }
