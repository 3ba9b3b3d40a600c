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

const defaultConnections = 20

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
	for _, c := range cfg.SendConnectors {
		if c != nil {
			p.hops[c.Name] = p.hopOf(c, cfg.Hostname)
		}
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
		if _, ok, _ := p.send.Select(name, 0); !ok {
			f.addf(fmt.Sprintf("AcceptedDomains[%d].Type", i),
				"%s is %s, but no send connector leads to it: add one with the address space "+
					"%s, or make the domain Authoritative",
				d.Domain, d.Type, d.Domain)
		}
	}
}

// bind lends the relay's client to a NextHop. Other transports are called
// apart.
func (s smtpSender) bind(
	cfg *Config, f *faults, field string, t Transport, calls *smtpd.Calls,
) Transport {
	n, ok := t.(*NextHop)
	switch {
	case !ok && t != nil:
		return boundTransport{calls: calls, of: t}
	case n == nil: // nothing, or what checkNil has told
		return nil
	}
	next, err := n.hop(s.number+"/"+field, cfg.Hostname)
	f.join(field, err)
	return &smtpTransport{client: s.client, hop: next, signer: s.signer}
}

func (p *routes) hopOf(sc *connector.SendConnector, hostname string) *hop {
	c := sc.WithDefaults()
	h := &hop{next: outbound.NextHop{
		Key:                   p.lent.number + "/" + c.Name,
		Hosts:                 c.SmartHosts,
		AllowPrivate:          c.AllowPrivateAddresses,
		Port:                  c.Port,
		TLS:                   c.TLS,
		TLSDomain:             c.TLSDomain,
		RootCAs:               c.RootCAs,
		Certificates:          c.Certificates,
		ImplicitTLS:           c.ImplicitTLS,
		Username:              c.Username,
		Password:              c.Password,
		AllowPlaintextAuth:    c.AllowPlaintextAuth,
		Helo:                  c.FQDN,
		MaxConnections:        c.MaxConnections,
		MessagesPerConnection: c.MessagesPerConnection,
	}}
	if h.next.Helo == "" {
		h.next.Helo = hostname
	}
	if len(c.SmartHosts) > 0 {
		h.route = routeSend + c.Name
	}
	return h
}
