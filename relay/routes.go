package relay

import (
	"fmt"
	"strings"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/attempt"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/internal/routing"
)

// newRoutes checks where mail goes by a configuration, and makes its routes.
func (r *Relay) newRoutes(cfg *Config, p *snapshot, f *faults) *routing.Routes {
	set, err := connector.NewSendSet(cfg.SendConnectors...)
	f.join("SendConnectors", err)
	checkMailboxes(cfg, f)
	checkRelayDomains(cfg, set, f)
	checkTransports(cfg, f)
	calls := r.calls.transport
	transports := make(map[string]delivery.Transport, len(cfg.Transports))
	for name, t := range cfg.Transports {
		transports[name] = bound(f, fmt.Sprintf("Transports[%q]", name), t, calls)
	}
	return routing.New(routing.Config{
		Mailboxes:      bound(f, "Mailboxes", cfg.Mailboxes, calls),
		Transport:      bound(f, "Transport", cfg.Transport, calls),
		SendSet:        set,
		SendConnectors: cfg.SendConnectors,
		Transports:     transports,
		Client:         r.client,
		Rules:          p.rules,
		Signer:         attempt.Resigner{Signer: signing{p.signer}},
	})
}

// checkTransports reports transports that would never be used, and those that
// are named and not there.
func checkTransports(cfg *Config, f *faults) {
	if cfg.Transport != nil && len(cfg.SendConnectors) > 0 {
		f.addf("Transport", "SendConnectors are set too, and one of them would never be used: "+
			"make it an entry of Transports, and name that in a send connector")
	}
	for name, t := range cfg.Transports {
		if t == nil {
			f.addf(fmt.Sprintf("Transports[%q]", name), "is nil: set a Transport or leave it out")
		}
	}
	for i, c := range cfg.SendConnectors {
		if c == nil || c.Transport == "" {
			continue
		}
		if _, ok := cfg.Transports[c.Transport]; !ok {
			f.addf(fmt.Sprintf("SendConnectors[%d].Transport", i),
				"Transports has no entry %q", c.Transport)
		}
	}
}

func checkMailboxes(cfg *Config, f *faults) {
	for i, d := range cfg.AcceptedDomains {
		if d.Recipients != nil && cfg.Mailboxes == nil {
			f.addf(
				"Mailboxes", "required, because AcceptedDomains[%d] (%s) has recipients", i,
				d.Domain,
			)
			break
		}
	}
}

// checkRelayDomains reports relay domains whose mail could go nowhere: it would
// be accepted and wait until it expires.
func checkRelayDomains(cfg *Config, set *connector.SendSet, f *faults) {
	if cfg.Transport != nil || set == nil {
		return
	}
	for i, d := range cfg.AcceptedDomains {
		if d.Type != domains.InternalRelay && d.Type != domains.ExternalRelay {
			continue
		}
		given, wild := strings.CutPrefix(d.Domain, "*.")
		name, err := domains.ParseDomain(given)
		if err != nil {
			continue // a fault of its own
		}
		if _, err := set.Select(name, 0); err != nil {
			if wild {
				name = "*." + name
			}
			f.addf(fmt.Sprintf("AcceptedDomains[%d].Type", i),
				"%s is %s, but no send connector leads to it: add one with the address space "+
					"%s, or make the domain Authoritative",
				name, d.Type, name)
		}
	}
}

// bound returns a transport that is called apart, and reports the faults that
// it finds in itself.
func bound(f *faults, field string, t delivery.Transport, calls *policy.Calls) delivery.Transport {
	if t == nil || isNil(t) {
		return nil
	}
	if v, ok := t.(interface{ Validate() error }); ok {
		f.join(field, v.Validate())
	}
	return boundTransport{calls: calls, of: t}
}
