package relay

import (
	"slices"

	"github.com/postern-mail/postern/connector"
)

// SendConnectors returns the send connectors that take part, in the order of
// the configuration. They are copies for showing, without Password, Tokens and
// Certificates.
func (r *Relay) SendConnectors() []*connector.SendConnector {
	var list []*connector.SendConnector
	for _, c := range r.snap.Load().cfg.SendConnectors {
		if c != nil && !c.Disabled {
			shown := *c
			shown.Password, shown.Tokens, shown.Certificates = "", nil, nil
			shown.AddressSpaces = slices.Clone(c.AddressSpaces)
			shown.Hosts = slices.Clone(c.Hosts)
			list = append(list, &shown)
		}
	}
	return list
}
