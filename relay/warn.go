package relay

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// warn tells the log of connectors that let passwords be read on the way, and
// of those whose hosts will meet limits that were not meant for them.
func warn(p *policy.Rules, log *slog.Logger) {
	for _, c := range p.Connectors {
		if hasStrangersLimits(c) {
			log.Warn("hosts that may relay without logging on have the connection limits meant "+
				"for strangers, and are refused when they send much; set "+
				"MaxConnectionsPerSource and MaxConnectionsPercentPerSource to -1, as "+
				"connector.AnonymousRelay does", logkey.Connector, c.Name)
		}
		if c.ImplicitTLS || onLoopback(c) {
			continue
		}
		if policy.DecideAuth(p.Auth, c, false) == nil && p.Auth.Passwords != nil {
			log.Warn(
				"users may log on without TLS, and whoever listens on the way learns their "+
					"passwords; set BasicAuthRequireTLS",
				logkey.Connector, c.Name,
			)
		}
	}
}

// hasStrangersLimits reports whether a connector has a default limit for one
// remote address, though its hosts are named ones that may relay.
func hasStrangersLimits(c *connector.Connector) bool {
	if c.OpenRelay ||
		!c.Rights(connector.Subject{}).Has(connector.Submit|connector.AcceptAnyRecipient) {
		return false
	}
	l, d := c.Limits.WithDefaults(c.Usage), connector.Limits{}.WithDefaults(c.Usage)
	return l.MaxConnectionsPerSource == d.MaxConnectionsPerSource ||
		l.MaxConnectionsPercentPerSource == d.MaxConnectionsPercentPerSource
}

// hasPort reports whether a connector may be for clients of a listener. Behind
// a proxy the port that counts is not known before the connection.
func hasPort(p *snapshot, at net.Addr) bool {
	tcp, ok := at.(*net.TCPAddr)
	if !ok || len(p.cfg.Proxies) > 0 {
		return true
	}
	return slices.ContainsFunc(p.rules.Connectors, func(c *connector.Connector) bool {
		return slices.ContainsFunc(c.Bindings, func(b netip.AddrPort) bool {
			return int(b.Port()) == tcp.Port
		})
	})
}

func onLoopback(c *connector.Connector) bool {
	for _, b := range c.Bindings {
		if !b.Addr().Unmap().IsLoopback() {
			return false
		}
	}
	return len(c.Bindings) > 0
}
