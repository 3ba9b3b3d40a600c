package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/go-multierror"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// snapshot is a checked configuration, ready to decide. It does not change: a
// session keeps the one it began with, a reload makes another.
type snapshot struct {
	cfg           Config
	client        *outbound.Client
	calls         callbacks
	number        string
	set           *connector.Set
	table         *domains.Table
	send          *connector.SendSet
	hops          map[string]*hop // by name of the send connector
	mailboxes     Transport
	transport     Transport
	dkim          *dkim
	postmaster    domains.Address
	defaultDomain string
	retry         Retry
	log           *slog.Logger
	auth          *auth.Server // nil if nobody can log on
	// Made once, and not to be changed: who guesses recipients is refused
	// without an allocation.
	unableToRelay, unknownUser *smtpd.Reply
}

// hop is a send connector made ready for the client.
type hop struct {
	next  outbound.NextHop
	route string // of smart hosts; empty for MX delivery
}

const (
	defaultConnections = 20
	defaultExpires     = 48 * time.Hour
	defaultDelay       = 4 * time.Hour
)

// Exchange's default timeline: glitches, then transient failures, then long
// waits.
func defaultSchedule() []time.Duration {
	const m = time.Minute
	return []time.Duration{m, m, m, m, 5 * m, 5 * m, 5 * m, 5 * m, 5 * m, 5 * m, 10 * m}
}

// faults collects what is wrong with a Config.
type faults struct{ all *multierror.Error }

func (f *faults) add(field string, err error) {
	f.all = multierror.Append(f.all, &FieldError{Field: field, Err: err})
}

func (f *faults) addf(field, format string, args ...any) {
	f.add(field, fmt.Errorf(format, args...))
}

// join adds what a package found in one field. Its own paths are kept behind
// the field's.
func (f *faults) join(field string, err error) {
	if err == nil {
		return
	}
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range list.Unwrap() {
			f.join(field, e)
		}
		return
	}
	if e, ok := errors.AsType[*connector.FieldError](err); ok {
		f.add(field+pathOf(e.Field), e.Err)
	} else if e, ok := errors.AsType[*domains.FieldError](err); ok {
		f.add(field+pathOf(e.Field), e.Err)
	} else if e, ok := errors.AsType[*msgauth.FieldError](err); ok {
		f.add(field+pathOf(e.Field), e.Err)
	} else {
		f.add(field, err)
	}
}

func pathOf(sub string) string {
	if strings.HasPrefix(sub, "[") || sub == "" {
		return sub
	}
	return "." + sub
}

func (f *faults) err() error {
	if f.all == nil {
		return nil
	}
	f.all.ErrorFormat = func(errs []error) string {
		var b strings.Builder
		b.WriteString("relay: the configuration has faults:")
		for _, e := range errs {
			b.WriteString("\n  " + e.Error())
		}
		return b.String()
	}
	return f.all.ErrorOrNil()
}

// newSnapshot checks a configuration and reports every fault at once.
//
// The number tells the configurations of one relay apart, so that the client
// does not use a connection made by the settings of an earlier one.
func (r *Relay) newSnapshot(cfg Config) (*snapshot, error) {
	var f faults
	p := &snapshot{
		cfg: cfg, client: r.client, calls: r.calls, log: logger(cfg),
		number: strconv.FormatUint(r.configs.Add(1), 10), hops: make(map[string]*hop),
		unableToRelay: replyUnableToRelay(), unknownUser: replyUnknownUser(),
		dkim: &dkim{log: logger(cfg)},
	}
	switch old := r.snap.Load(); {
	case cfg.Auth != nil && old != nil && old.cfg.Auth == cfg.Auth:
		// the salts of unknown users stay as well; changes in the Server do not
		// count
		p.auth = old.auth
	case cfg.Auth != nil:
		p.auth = r.calls.verifier.Bound(cfg.Auth)
	case cfg.Verifier != nil:
		p.auth = r.calls.verifier.Bound(
			&auth.Server{Passwords: cfg.Verifier, Throttle: r.throttle()},
		)
	}
	p.checkNames(&f)
	p.checkNil(&f)
	var err error
	p.set, err = connector.NewSet(cfg.Connectors...)
	f.join("Connectors", err)
	p.table, err = domains.NewTable(cfg.AcceptedDomains...)
	f.join("AcceptedDomains", err)
	p.send, err = connector.NewSendSet(cfg.SendConnectors...)
	f.join("SendConnectors", err)
	p.checkConnectors(&f)
	p.checkDelivery(&f)
	if len(cfg.DKIM) > 0 {
		p.dkim.signer, err = msgauth.NewSigner(cfg.DKIM...)
		f.join("DKIM", err)
	}
	p.checkRetry(&f)
	return p, f.err()
}

func (p *snapshot) checkNames(f *faults) {
	cfg := &p.cfg
	host, err := domains.ParseDomain(cfg.Hostname)
	switch {
	case cfg.Hostname == "":
		f.addf("Hostname", "a host name is required, such as relay.example.com")
	case err != nil || strings.HasPrefix(host, "["):
		f.addf("Hostname", "%q is not a host name", cfg.Hostname)
	}
	if cfg.Spool == nil {
		f.addf("Spool", "a store for the queue is required, such as filespool.Open or memspool.New")
	}
	p.defaultDomain = cfg.DefaultDomain
	if p.defaultDomain == "" {
		p.defaultDomain = cfg.Hostname
		for _, d := range cfg.AcceptedDomains {
			if !strings.HasPrefix(d.Domain, "*") && !strings.HasPrefix(d.Domain, "[") {
				p.defaultDomain = d.Domain
				break
			}
		}
	} else if _, err := domains.ParseDomain(p.defaultDomain); err != nil {
		f.addf("DefaultDomain", "%q is not a domain", p.defaultDomain)
		return
	}
	if canonical, err := domains.ParseDomain(p.defaultDomain); err == nil {
		p.defaultDomain = canonical
	}
	postmaster := cfg.Postmaster
	if postmaster == "" {
		postmaster = "postmaster@" + p.defaultDomain
	}
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

// checkNil reports what is there but nil within, such as the *Store of a call
// that failed: it would panic when it is used.
func (p *snapshot) checkNil(f *faults) {
	type part struct {
		field string
		value any
	}
	parts := []part{
		{"Spool", p.cfg.Spool}, {"Mailboxes", p.cfg.Mailboxes}, {"Transport", p.cfg.Transport},
		{"Verifier", p.cfg.Verifier}, {"Quota", p.cfg.Quota},
	}
	if a := p.cfg.Auth; a != nil {
		parts = append(parts, part{"Auth.Passwords", a.Passwords}, part{"Auth.SCRAM", a.SCRAM},
			part{"Auth.Tokens", a.Tokens}, part{"Auth.Certificates", a.Certificates})
	}
	for _, part := range parts {
		switch v := reflect.ValueOf(part.value); v.Kind() {
		case reflect.Pointer, reflect.Func:
			if v.IsNil() {
				f.addf(part.field, "%T that is nil", part.value)
			}
		}
	}
}

// wireName returns a host name as it goes on the wire: U-labels become A-labels
// (RFC 5890 section 2.3.2.1). What is not the name of a host stays as it is,
// for a check to refuse.
func wireName(s string) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return s
	}
	if name, err := domains.ParseDomain(strings.ToLower(s)); err == nil {
		return name
	}
	return s
}

func (p *snapshot) checkConnectors(f *faults) {
	if p.cfg.Auth != nil && p.cfg.Verifier != nil {
		f.addf("Verifier", "Auth is set too: make it Auth.Passwords")
	}
	f.join("Proxies", connector.CheckTrusted(p.cfg.Proxies))
	f.join("XClient", connector.CheckTrusted(p.cfg.XClient))
	if _, err := p.cfg.GatewayGuard.MarshalText(); err != nil {
		f.add("GatewayGuard", err)
	}
	for i, c := range p.cfg.Connectors {
		if c == nil || c.Disabled {
			continue
		}
		field := fmt.Sprintf("Connectors[%d]", i)
		if p.cfg.TLS == nil {
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
		if p.cfg.RequireEncryption && !c.ImplicitTLS && !c.RequireTLS && !onLoopback(c) {
			f.addf(
				field+".RequireTLS",
				"RequireEncryption is set: set RequireTLS or ImplicitTLS, or bind to loopback "+
					"addresses only",
			)
		}
		if c.AsksForCertificate() && (p.cfg.TLS == nil || p.cfg.TLS.ClientCAs == nil) {
			f.addf(
				"TLS.ClientCAs",
				"required, because connector %q knows clients by their certificate: name who "+
					"vouches for it",
				c.Name,
			)
		}
		if c.AuthMechanisms&connector.BasicAuth != 0 {
			p.checkAuth(f, c)
		}
	}
}

func (p *snapshot) checkAuth(f *faults, c *connector.Connector) {
	switch a := p.auth; {
	case a == nil:
		f.addf("Verifier", "required, or Auth, because connector %q offers BasicAuth", c.Name)
	case a.Passwords == nil && a.SCRAM == nil && a.Tokens == nil && a.Certificates == nil:
		f.addf(
			"Auth",
			"it has no mechanism, but connector %q offers BasicAuth: set Passwords, SCRAM, "+
				"Tokens or Certificates",
			c.Name,
		)
	case a.Certificates != nil && (p.cfg.TLS == nil || p.cfg.TLS.ClientCAs == nil):
		f.addf(
			"TLS.ClientCAs",
			"required, because clients of connector %q may log on by certificate: name who "+
				"vouches for it",
			c.Name,
		)
	}
}

// warn tells the log of connectors that let passwords be read on the way, and
// of those whose hosts will meet limits that were not meant for them.
func (p *snapshot) warn() {
	for _, c := range p.cfg.Connectors {
		if c != nil && !c.Disabled && hasStrangersLimits(c) {
			p.log.Warn("hosts that may relay without logging on have the connection limits meant "+
				"for "+
				"strangers, and are refused when they send much; set MaxConnectionsPerSource and "+
				"MaxConnectionsPercentPerSource to -1, as connector.AnonymousRelay does", "connector", c.Name)
		}
		if c == nil || c.Disabled || c.ImplicitTLS || onLoopback(c) {
			continue
		}
		if smtpd.DecideAuth(p.auth, c, false) == nil && p.auth.Passwords != nil {
			p.log.Warn(
				"users may log on without TLS, and whoever listens on the way learns their "+
					"passwords; set BasicAuthRequireTLS",
				"connector", c.Name,
			)
		}
	}
}

// hasStrangersLimits reports whether a connector has a default limit for one
// remote address, though its hosts are named ones that may relay.
func hasStrangersLimits(c *connector.Connector) bool {
	if c.OpenRelay ||
		!c.Rights(connector.Peer{}).Has(connector.Submit|connector.AcceptAnyRecipient) {
		return false
	}
	l, d := c.Limits.WithDefaults(c.Usage), connector.Limits{}.WithDefaults(c.Usage)
	return l.MaxConnectionsPerSource == d.MaxConnectionsPerSource ||
		l.MaxConnectionsPercentPerSource == d.MaxConnectionsPercentPerSource
}

func onLoopback(c *connector.Connector) bool {
	for _, b := range c.Bindings {
		if !b.Addr().Unmap().IsLoopback() {
			return false
		}
	}
	return len(c.Bindings) > 0
}

func (p *snapshot) checkDelivery(f *faults) {
	cfg := &p.cfg
	for i, d := range cfg.AcceptedDomains {
		if d.Recipients != nil && cfg.Mailboxes == nil {
			f.addf(
				"Mailboxes", "required, because AcceptedDomains[%d] (%s) has recipients", i,
				d.Domain,
			)
			break
		}
	}
	p.checkRelayDomains(f)
	p.mailboxes = p.bind(f, "Mailboxes", cfg.Mailboxes)
	p.transport = p.bind(f, "Transport", cfg.Transport)
	for _, c := range cfg.SendConnectors {
		if c != nil {
			p.hops[c.Name] = p.hopOf(c)
		}
	}
}

// checkRelayDomains reports relay domains whose mail could go nowhere: it would
// be accepted and wait until it expires.
func (p *snapshot) checkRelayDomains(f *faults) {
	if p.send == nil || p.table == nil || p.cfg.Transport != nil {
		return
	}
	for i, d := range p.table.Domains() {
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
func (p *snapshot) bind(f *faults, field string, t Transport) Transport {
	n, ok := t.(*NextHop)
	switch {
	case !ok && t != nil:
		return boundTransport{calls: p.calls.transport, of: t}
	case n == nil: // nothing, or what checkNil has told
		return nil
	}
	next, err := n.hop(p.number+"/"+field, p.cfg.Hostname)
	f.join(field, err)
	return &smtpTransport{client: p.client, hop: next, dkim: p.dkim}
}

func (p *snapshot) hopOf(sc *connector.SendConnector) *hop {
	c := sc.WithDefaults()
	h := &hop{next: outbound.NextHop{
		Key:                   p.number + "/" + c.Name,
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
		h.next.Helo = p.cfg.Hostname
	}
	if len(c.SmartHosts) > 0 {
		h.route = routeSend + c.Name
	}
	return h
}

func orDefault[T int | time.Duration](v, def T) T {
	if v == 0 {
		return def
	}
	return v
}

func (p *snapshot) checkRetry(f *faults) {
	p.retry = p.cfg.Retry
	for i, d := range p.retry.Schedule {
		if d < time.Second {
			f.addf(fmt.Sprintf("Retry.Schedule[%d]", i), "%v is shorter than a second", d)
		}
	}
	if len(p.retry.Schedule) == 0 {
		p.retry.Schedule = defaultSchedule()
	}
	if p.retry.Expires == 0 {
		p.retry.Expires = defaultExpires
	} else if p.retry.Expires < time.Second {
		f.addf("Retry.Expires", "%v is shorter than a second", p.retry.Expires)
	}
	p.retry.DelayNotification = orDefault(p.retry.DelayNotification, defaultDelay)
	if d := p.retry.DelayNotification; 0 < d && d < time.Second {
		f.addf("Retry.DelayNotification", "%v is shorter than a second", d)
	}
	if p.cfg.MaxDeliveries < 0 {
		f.addf("MaxDeliveries", "%d is negative", p.cfg.MaxDeliveries)
	}
	if p.cfg.DrainTimeout < 0 {
		f.addf("DrainTimeout", "%v is negative", p.cfg.DrainTimeout)
	}
}

// wait returns how long to wait after the nth failed attempt, without jitter.
func (r Retry) wait(n int) time.Duration {
	return r.Schedule[min(max(n, 1), len(r.Schedule))-1]
}
