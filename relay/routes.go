package relay

import (
	"fmt"
	"log/slog"
	"strings"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// routes say where a copy goes.
type routes struct {
	lent      smtpSender
	send      *connector.SendSet
	hops      map[string]*hop // by name of the send connector
	mailboxes Transport
	transport Transport
}

// smtpSender is what SMTP deliveries use of the relay.
type smtpSender struct {
	client *outbound.Client
	rules  *rules
	log    *slog.Logger
	signer *signer
	number string // of the configuration
}

// hop is a send connector made ready for the client.
type hop struct {
	next  outbound.NextHop
	route string // of smart hosts; empty for MX delivery
}

// newRoutes makes the routes of a configuration.
func newRoutes(
	cfg *Config, lent smtpSender, calls *smtpd.Calls, f *faults,
) *routes {
	p := &routes{lent: lent, hops: make(map[string]*hop)}
	var err error
	p.send, err = connector.NewSendSet(cfg.SendConnectors...)
	f.join("SendConnectors", err)
	checkMailboxes(cfg, f)
	if cfg.Transport == nil {
		p.checkRelayDomains(lent.rules.table, f)
	}
	p.mailboxes = lent.bind(cfg, f, "Mailboxes", cfg.Mailboxes, calls)
	p.transport = lent.bind(cfg, f, "Transport", cfg.Transport, calls)
	for i, c := range cfg.SendConnectors {
		if c == nil {
			continue
		}
		if c.Transport != "" {
			f.addf(fmt.Sprintf("SendConnectors[%d].Transport", i), "no transport is called %q",
				c.Transport)
		}
		p.hops[c.Name] = p.hopOf(c, cfg.Hostname)
	}
	return p
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

// bind lends the relay's client to an SMTP transport. Others are called apart.
func (s smtpSender) bind(
	cfg *Config, f *faults, field string, t Transport, calls *smtpd.Calls,
) Transport {
	n, ok := t.(*smtpHop)
	switch {
	case !ok && t != nil:
		return boundTransport{calls: calls, of: t}
	case n == nil: // nothing, or what checkNil has told
		return nil
	}
	wire, err := n.onWire()
	f.join(field, err)
	next := outboundHop(&wire, s.number+"/"+field, cfg.Hostname)
	return &smtpTransport{client: s.client, hop: &next, signer: s.signer}
}

func (p *routes) hopOf(c *connector.SendConnector, hostname string) *hop {
	h := &hop{next: outboundHop(&c.NextHop, p.lent.number+"/"+c.Name, hostname)}
	if len(c.Hosts) > 0 {
		h.route = routeSend + c.Name
	}
	return h
}
