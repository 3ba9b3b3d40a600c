package relay

import (
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/policy"
	"github.com/postern-mail/postern/relay/spool"
)

// checkClients reports faults of what concerns the clients of every connector.
func (cfg *Config) checkClients(f *faults) {
	if cfg.Auth != nil && cfg.Verifier != nil {
		f.addf("Verifier", "Auth is set too: make it Auth.Passwords")
	}
	f.join("Proxies", connector.CheckTrusted(cfg.Proxies))
	f.join("XClient", connector.CheckTrusted(cfg.XClient))
	if _, err := cfg.NATGuard.MarshalText(); err != nil {
		f.add("NATGuard", err)
	}
}

// checkConnector reports what the configuration lacks for a connector.
func (cfg *Config) checkConnector(
	f *faults, field string, c *connector.Connector, a *policy.Verifiers,
) {
	if cfg.TLS == nil {
		checkWithoutTLS(f, field, c)
	}
	if cfg.RequireEncryption && !c.ImplicitTLS && !c.RequireTLS && !onLoopback(c) {
		f.addf(
			field+".RequireTLS",
			"RequireEncryption is set: set RequireTLS or ImplicitTLS, or bind to loopback "+
				"addresses only",
		)
	}
	if c.AsksForCertificate() && !cfg.vouches() {
		f.addf(
			"TLS.ClientCAs",
			"required, because connector %q knows policy.Clients by their certificate: name who "+
				"vouches for it",
			c.Name,
		)
	}
	if c.AuthMechanisms&connector.BasicAuth != 0 {
		cfg.checkAuth(f, c, a)
	}
}

// vouches reports whether somebody vouches for the certificates of clients.
func (cfg *Config) vouches() bool { return cfg.TLS != nil && cfg.TLS.ClientCAs != nil }

func checkWithoutTLS(f *faults, field string, c *connector.Connector) {
	switch {
	case c.ImplicitTLS:
		f.addf(field+".ImplicitTLS", "needs a certificate: set TLS")
	case c.RequireTLS:
		f.addf(field+".RequireTLS", "needs a certificate: set TLS, or no client can send")
	case c.AuthMechanisms&connector.BasicAuthRequireTLS != 0:
		f.addf(
			field+".AuthMechanisms",
			"BasicAuthRequireTLS needs a certificate: set TLS, or no client can log on",
		)
	}
}

func (cfg *Config) checkAuth(f *faults, c *connector.Connector, a *policy.Verifiers) {
	switch {
	case a == nil:
		f.addf("Verifier", "required, or Auth, because connector %q offers BasicAuth", c.Name)
	case a.Passwords == nil && a.SCRAM == nil && a.Tokens == nil && a.Certificates == nil:
		f.addf(
			"Auth",
			"it has no mechanism, but connector %q offers BasicAuth: set Passwords, SCRAM, "+
				"Tokens or Certificates",
			c.Name,
		)
	case a.Certificates != nil && !cfg.vouches():
		f.addf(
			"TLS.ClientCAs",
			"required, because clients of connector %q may log on by certificate: name who "+
				"vouches for it",
			c.Name,
		)
	}
}

func (e *EventLog) check(f *faults, store spool.Store) {
	switch r := e.Retention; {
	case r < 0:
		f.addf("EventLog.Retention", "%v is negative", r)
	case 0 < r && r < time.Second:
		f.addf("EventLog.Retention", "%v is shorter than a second; 0 is off", r)
	}
	if _, ok := store.(spool.Log); e.Retention > 0 && store != nil && !ok {
		f.addf("EventLog.Retention", "%T keeps no log of events: it has no spool.Log", store)
	}
}
