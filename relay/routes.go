package relay

import (
	"fmt"
	"strings"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// routes say where a copy goes.
type routes struct {
	lent      *smtpSender
	send      *connector.SendSet
	hops      map[string]*hop // by name of the send connector
	mailboxes delivery.Transport
	transport delivery.Transport
}

// hop is a send connector made ready.
type hop struct {
	next      outbound.NextHop
	transport delivery.Transport // in the place of next
}

// isMX reports whether a copy goes to the exchangers of its domain.
func (h *hop) isMX() bool { return h.transport == nil && len(h.next.Hosts) == 0 }

// newRoutes makes the routes of a configuration.
func newRoutes(cfg *Config, lent *smtpSender, calls *policy.Calls, f *faults) *routes {
	p := &routes{lent: lent, hops: make(map[string]*hop)}
	var err error
	p.send, err = connector.NewSendSet(cfg.SendConnectors...)
	f.join("SendConnectors", err)
	checkMailboxes(cfg, f)
	if cfg.Transport == nil {
		p.checkRelayDomains(lent.rules.Table, f)
	}
	p.mailboxes = bound(f, "Mailboxes", cfg.Mailboxes, calls)
	p.transport = bound(f, "Transport", cfg.Transport, calls)
	if cfg.Transport != nil && len(cfg.SendConnectors) > 0 {
		f.addf("Transport", "SendConnectors are set too, and one of them would never be used: "+
			"make it an entry of Transports, and name that in a send connector")
	}
	p.setHops(cfg, calls, f)
	return p
}

// setHops makes the send connectors ready, and those of the application's
// transports that they name.
func (p *routes) setHops(cfg *Config, calls *policy.Calls, f *faults) {
	transports := make(map[string]delivery.Transport, len(cfg.Transports))
	for name, t := range cfg.Transports {
		field := fmt.Sprintf("Transports[%q]", name)
		if t == nil {
			f.addf(field, "nil")
		}
		transports[name] = bound(f, field, t, calls)
	}
	for i, c := range cfg.SendConnectors {
		if c == nil {
			continue
		}
		t, ok := transports[c.Transport]
		if c.Transport != "" && !ok {
			f.addf(fmt.Sprintf("SendConnectors[%d].Transport", i),
				"Transports has no entry %q", c.Transport)
		}
		p.hops[c.Name] = &hop{next: p.lent.hop(&c.NextHop, c.Name), transport: t}
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
func (p *routes) checkRelayDomains(table *domains.Table, f *faults) {
	if p.send == nil || table == nil {
		return
	}
	for i, d := range table.Domains() {
		if d.Type == domains.Authoritative {
			continue
		}
		name := strings.TrimPrefix(d.Domain, "*.")
		if _, err := p.send.Select(name, 0); err != nil {
			f.addf(fmt.Sprintf("AcceptedDomains[%d].Type", i),
				"%s is %s, but no send connector leads to it: add one with the address space "+
					"%s, or make the domain Authoritative",
				d.Domain, d.Type, d.Domain)
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
