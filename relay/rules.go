package relay

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// newRules makes the rules of a configuration, under which users log on by a.
func newRules(cfg *Config, a *policy.Verifiers, calls callbacks, f *faults) *policy.Rules {
	domain := cfg.defaultDomain(f)
	p := policy.Rules{
		Hostname: cfg.Hostname, Auth: a, Encrypt: cfg.RequireEncryption,
		Postmaster: cfg.postmaster(domain, f), Connectors: policy.Active(cfg.Connectors),
		Recipients: calls.recipients,
	}
	if cfg.CompleteAddresses {
		p.Complete = domain
	}
	if q := cfg.Quota; q != nil {
		p.Spend = func(ctx context.Context, id *auth.Identity) error {
			return policy.AskOnly(ctx, calls.quota, "a Quota", slog.String(logkey.User, id.User),
				func(ctx context.Context) error { return q.Spend(ctx, id) })
		}
	}
	var err error
	p.Set, err = connector.NewSet(cfg.Connectors...)
	f.join("Connectors", err)
	p.Table, err = domains.NewTable(cfg.AcceptedDomains...)
	f.join("AcceptedDomains", err)
	cfg.checkClients(f)
	for i, c := range cfg.Connectors {
		if c != nil && !c.Disabled {
			cfg.checkConnector(f, fmt.Sprintf("Connectors[%d]", i), c, a)
		}
	}
	return policy.New(p)
}

// defaultDomain returns the domain that <postmaster> is in.
func (cfg *Config) defaultDomain(f *faults) string {
	domain := cfg.DefaultDomain
	if domain == "" {
		domain = firstDomain(cfg)
	} else if _, err := domains.ParseDomain(domain); err != nil {
		f.addf("DefaultDomain", "%q is not a domain, such as example.com", domain)
		return domain
	}
	if canonical, err := domains.ParseDomain(domain); err == nil {
		return canonical
	}
	return domain
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

// postmaster returns the address that reports come from.
func (cfg *Config) postmaster(domain string, f *faults) domains.Address {
	name := cfg.Postmaster
	if name == "" {
		name = "postmaster@" + domain
	}
	a, err := domains.Parse(name)
	if err != nil {
		if cfg.Postmaster != "" {
			f.addf("Postmaster", "%q is not a mailbox, such as postmaster@example.com", name)
		}
		return a
	}
	// Reports have to reach hosts without SMTPUTF8.
	text, ascii := a.ASCII()
	if !ascii {
		f.addf("Postmaster", "%q has a local part that is not ASCII", name)
	} else if a, err = domains.Parse(text); err != nil {
		f.addf("Postmaster", "%q is not a mailbox, such as postmaster@example.com", name)
	}
	return a
}
