package relay

import (
	"crypto/tls"
	"crypto/x509"
	"slices"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// Connectors returns the receive connectors that take part, in the order of the
// configuration. After [Relay.Listen] a binding with port 0 has its real port.
// They are copies, but what they point to is not: do not change it.
func (r *Relay) Connectors() []*connector.Connector {
	var list []*connector.Connector
	for _, c := range r.snap.Load().rules.Connectors {
		own := *c
		own.Bindings = slices.Clone(c.Bindings)
		list = append(list, &own)
	}
	return list
}

// AcceptedDomains returns the table of the accepted domains.
func (r *Relay) AcceptedDomains() *domains.Table { return r.snap.Load().rules.Table }

// Hostname returns the name the relay goes by.
func (r *Relay) Hostname() string { return r.snap.Load().cfg.Hostname }

// OffersTLS reports whether the relay has a certificate to offer TLS with.
func (r *Relay) OffersTLS() bool { return r.snap.Load().cfg.TLS != nil }

// Mechanisms returns those by which users may log on inside TLS on the named
// connector, the strongest first: none where they may not, or without a
// certificate. [auth.External] is for those who show a certificate of their
// own. [auth.ScramSHA256] stands for SCRAM-SHA-256-PLUS as well, since only a
// handshake tells whether there is something to bind to.
func (r *Relay) Mechanisms(name string) []auth.Mechanism {
	p := r.snap.Load()
	c, ok := p.rules.Connector(name)
	if !ok || p.rules.Auth == nil || p.cfg.TLS == nil ||
		!c.AuthMechanisms.Has(connector.BasicAuth|connector.TLS) {
		return nil
	}
	// As it is for a client that shows a good certificate, if anybody can.
	state := new(tls.ConnectionState)
	if p.cfg.TLS.ClientCAs != nil {
		state.VerifiedChains = [][]*x509.Certificate{nil}
	}
	return p.rules.Auth.Mechanisms(auth.Conn{TLS: state, Allowed: policy.Mechanisms(c, true)})
}
