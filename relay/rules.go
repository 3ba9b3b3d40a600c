package relay

import (
	"fmt"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// rules say who may do what.
type rules struct {
	hostname      string
	connectors    []*connector.Connector // that take part
	set           *connector.Set
	table         *domains.Table
	auth          *auth.Server // nil if nobody can log on
	quota         Quota
	postmaster    domains.Address
	defaultDomain string
	// complete is what addresses without a domain get; empty for nothing.
	complete string
	// encrypt tells that content comes inside TLS only.
	encrypt bool
	calls   callbacks
	// Made once, and not to be changed: who guesses recipients is refused
	// without an allocation.
	unableToRelay, unknownUser *smtpd.Reply
}

// newRules makes the rules of a configuration, under which users log on by a.
func newRules(cfg *Config, a *auth.Server, calls callbacks, f *faults) *rules {
	p := &rules{
		hostname: cfg.Hostname, auth: a, quota: cfg.Quota, encrypt: cfg.RequireEncryption,
		calls: calls, unableToRelay: replyUnableToRelay(), unknownUser: replyUnknownUser(),
	}
	p.setDefaultDomain(cfg, f)
	p.setPostmaster(cfg, f)
	if cfg.CompleteAddresses {
		p.complete = p.defaultDomain
	}
	var err error
	p.connectors = active(cfg.Connectors)
	p.set, err = connector.NewSet(cfg.Connectors...)
	f.join("Connectors", err)
	p.table, err = domains.NewTable(cfg.AcceptedDomains...)
	f.join("AcceptedDomains", err)
	cfg.checkClients(f)
	for i, c := range cfg.Connectors {
		if c != nil && !c.Disabled {
			cfg.checkConnector(f, fmt.Sprintf("Connectors[%d]", i), c, a)
		}
	}
	return p
}

// active are the connectors that take part.
func active(all []*connector.Connector) []*connector.Connector {
	var list []*connector.Connector
	for _, c := range all {
		if c != nil && !c.Disabled {
			list = append(list, c)
		}
	}
	return list
}

// bound returns the rules for connectors whose bindings are known.
func (p *rules) bound(connectors []*connector.Connector) (*rules, error) {
	set, err := connector.NewSet(connectors...)
	if err != nil {
		return nil, err
	}
	own := *p
	own.connectors, own.set = active(connectors), set
	return &own, nil
}

func (p *rules) setDefaultDomain(cfg *Config, f *faults) {
	p.defaultDomain = cfg.DefaultDomain
	if p.defaultDomain == "" {
		p.defaultDomain = firstDomain(cfg)
	} else if _, err := domains.ParseDomain(p.defaultDomain); err != nil {
		f.addf("DefaultDomain", "%q is not a domain", p.defaultDomain)
		return
	}
	if canonical, err := domains.ParseDomain(p.defaultDomain); err == nil {
		p.defaultDomain = canonical
	}
}

// firstDomain is the first accepted domain without a wildcard, or the host name
// if there is none.
func firstDomain(cfg *Config) string {
	for _, d := range cfg.AcceptedDomains {
		if !strings.HasPrefix(d.Domain, "*") && !strings.HasPrefix(d.Domain, "[") {
			return d.Domain
		}
	}
	return cfg.Hostname
}

func (p *rules) setPostmaster(cfg *Config, f *faults) {
	postmaster := cfg.Postmaster
	if postmaster == "" {
		postmaster = "postmaster@" + p.defaultDomain
	}
	var err error
	p.postmaster, err = domains.Parse(postmaster)
	if err != nil {
		if cfg.Postmaster != "" {
			f.addf("Postmaster", "%q is not a mailbox", postmaster)
		}
		return
	}
	// Reports have to reach hosts without SMTPUTF8.
	text, ascii := p.postmaster.ASCII()
	if !ascii {
		f.addf("Postmaster", "%q has a local part that is not ASCII", postmaster)
	} else if p.postmaster, err = domains.Parse(text); err != nil {
		f.addf("Postmaster", "%q is not a mailbox", postmaster)
	}
}

// isOurs reports whether a host name is one by which this relay goes.
func (p *rules) isOurs(c client, name string) bool {
	if ascii, err := domains.ParseDomain(strings.TrimSuffix(name, ".")); err == nil {
		name = ascii
	}
	if c.connector != nil && c.connector.FQDN != "" && strings.EqualFold(name, c.connector.FQDN) {
		return true
	}
	return strings.EqualFold(name, p.hostname)
}
