package exchange

import (
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
)

func (r *reader) sendConnector(o *object) {
	c := &connector.SendConnector{Name: o.text("Name")}
	if c.Name == "" {
		o.fault("Name", "missing; do not select parameters when making the dump")
	}
	o.label = sendLabel(c.Name)
	if enabled, ok := o.flag("Enabled"); ok {
		c.Disabled = !enabled
	}
	s := &send{SendConnector: c, o: o}
	s.spaces()
	s.smartHosts()
	s.tls()
	s.credentials()
	s.rest()
	o.rest(sendRules(), []string{
		"ConnectorType", "ConnectedDomains", "HomeMTA", "HomeMtaServerId", "IsSmtpConnector",
		"Region", "SmartHostsString",
		"SourceRoutingGroup", "SourceTransportServers", "Usage",
	})
	if len(c.AddressSpaces) == 0 {
		r.note(
			o.label, "AddressSpaces", "",
			"the connector is left out: it has no SMTP address space of its own",
		)
		return
	}
	r.result.SendConnectors = append(r.result.SendConnectors, c)
}

func sendRules() []rule {
	return []rule{
		{"CertificateSubject", "the relay shows a certificate of its own to the next hop only if " +
			"it is " +
			"set as Certificates", nil},
		{
			"CloudServicesMailEnabled",
			"headers between an organization and its cloud are not converted", nil,
		},
		{
			"DomainSecureEnabled",
			"mutual TLS with a list of domains has no counterpart; give the partner's domain a " +
				"send connector with DomainValidation",
			nil,
		},
		{
			"ErrorPolicies", "errors of the next hop and of the DNS are taken as they come",
			[]string{"Default"},
		},
		{"ForceHELO", "EHLO is always tried", nil},
		{"FrontendProxyEnabled", "there is no front end to send through", nil},
		{"IsScopedConnector", "there is one site; the connector is for all mail", nil},
		{"LinkedReceiveConnector", "no counterpart; a route depends on the recipient alone", nil},
		{"RequireOorg", "no counterpart", nil},
		{"TlsCertificateName", "the relay shows a certificate of its own to the next hop only if " +
			"it is " +
			"set as Certificates", nil},
		{"UseExternalDNSServersEnabled", "the relay has one DNS resolver", nil},
	}
}

// send is a send connector in the making.
type send struct {
	*connector.SendConnector
	o *object
}

func (c *send) spaces() {
	list := c.o.list("AddressSpaces")
	// An X.400 space may hold spaces itself.
	if v, _ := c.o.get("AddressSpaces"); len(list) > 1 {
		if s, ok := v.(string); ok && strings.Contains(s, ":") &&
			!strings.HasPrefix(strings.ToUpper(s), "SMTP:") {
			list = []any{s}
		}
	}
	for _, v := range list {
		text, ok := spaceText(v)
		if !ok {
			c.o.wrong("AddressSpaces", v, "an address space such as SMTP:*;1")
			continue
		}
		kind, space, typed := strings.Cut(text, ":")
		if !typed {
			space = text
		}
		domain, _, _ := strings.Cut(space, ";")
		switch {
		case typed && !strings.EqualFold(kind, "SMTP"):
			c.o.r.note(c.o.label, "AddressSpaces", text, "left out: only SMTP addresses are routed")
		case domain == "--":
			c.o.r.note(
				c.o.label, "AddressSpaces", text,
				"left out: list the accepted domains that this stands for",
			)
		default:
			a, err := connector.ParseAddressSpace(inALabels(text, domain))
			if err != nil {
				c.o.fault("AddressSpaces", "%w", err)
				continue
			}
			c.AddressSpaces = append(c.AddressSpaces, a)
		}
	}
}

// inALabels replaces an international domain in a text by its A-labels.
func inALabels(text, domain string) string {
	name := strings.TrimPrefix(domain, "*.")
	if a, err := domains.ParseDomain(name); err == nil && !strings.EqualFold(a, name) {
		return strings.Replace(text, name, a, 1)
	}
	return text
}

// spaceText returns the text of an address space: the text itself, or what it
// is as an object.
func spaceText(v any) (string, bool) {
	m, ok := v.(map[string]any)
	if !ok {
		return textOf(v)
	}
	domain, ok := textOf(member(m, "Address"))
	if !ok {
		if domain, ok = textOf(member(m, "Domain"), "Domain", "Address"); !ok {
			return textOf(v, "Expression")
		}
		if sub, _ := scalar(member(m, "IncludeSubDomains")); strings.EqualFold(sub, "true") &&
			!strings.HasPrefix(domain, "*") {
			domain = "*." + domain
		}
	}
	if kind, ok := textOf(member(m, "Type"), "Name"); ok && kind != "" {
		domain = kind + ":" + domain
	}
	if cost, ok := scalar(member(m, "Cost")); ok && cost != "" {
		domain += ";" + cost
	}
	return domain, true
}

func (c *send) smartHosts() {
	for _, v := range c.o.list("SmartHosts") {
		s, ok := v.(string)
		if m, isMap := v.(map[string]any); isMap {
			if s, ok = textOf(member(m, "Domain"), "HostnameString", "Domain"); !ok || s == "" {
				s, ok = addrOf(v)
			}
		}
		if !ok || s == "" {
			c.o.wrong("SmartHosts", v, "a host name or an address")
			continue
		}
		c.Hosts = append(c.Hosts, hostOf(s))
	}
	dns, ok := c.o.flag("DNSRoutingEnabled")
	switch {
	case ok && dns && len(c.Hosts) > 0:
		c.o.note("DNSRoutingEnabled", "contradicts SmartHosts, which are used")
	case ok && !dns && len(c.Hosts) == 0:
		c.o.note(
			"DNSRoutingEnabled",
			"there are no smart hosts either; mail goes to the recipient's mail exchangers",
		)
	}
	c.inside()
	if a, ok := c.o.amount("Port"); ok {
		switch {
		case len(c.Hosts) == 0 && a.n != 25:
			c.o.note("Port", "left out: it is for smart hosts, and there are none")
		case a.n < 1 || a.n > math.MaxUint16:
			c.o.fault("Port", "%d is out of range", a.n)
		default:
			c.Port = int(a.n)
		}
	}
}

// inside tells of mail exchangers in the own network, which only some address
// spaces have: not those for the whole world.
func (c *send) inside() {
	world := func(a connector.AddressSpace) bool { return a.Domain == "*" }
	if len(c.Hosts) > 0 || len(c.AddressSpaces) == 0 ||
		slices.ContainsFunc(c.AddressSpaces, world) {
		return
	}
	c.o.note("DNSRoutingEnabled", "mail exchangers at private addresses are not spoken to; "+
		"AllowPrivateAddresses lifts that")
}

// hostOf writes an address as our types do: brackets are for IPv6 alone.
func hostOf(s string) string {
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	switch {
	case err != nil:
		return s
	case a.Is4():
		return a.String()
	}
	return "[" + a.String() + "]"
}

// tls sums up the parameters that a level stands for. Where they contradict
// each other, which Exchange refuses, the strict one counts.
func (c *send) tls() {
	require, ignore := c.o.isTrue("RequireTLS"), c.o.isTrue("IgnoreSTARTTLS")
	word := c.o.choice(
		"TlsAuthLevel",
		map[string]string{
			"0": "", "1": "EncryptionOnly", "2": "CertificateValidation", "3": "DomainValidation",
		},
	)
	switch {
	case strings.EqualFold(word, "None"):
		word = ""
	case word != "":
		level, err := connector.ParseTLSLevel(word)
		if err != nil {
			c.o.fault("TlsAuthLevel", "%w", err)
		}
		c.TLS = level
		if !require {
			c.o.r.note(
				c.o.label, "TlsAuthLevel", level.String(),
				"Exchange takes it with RequireTLS only; here TLS is required now",
			)
		}
	}
	switch {
	case require || c.TLS != connector.TLSOpportunistic:
		if ignore {
			c.o.note("IgnoreSTARTTLS", "contradicts RequireTLS; TLS is required")
		}
		if c.TLS == connector.TLSOpportunistic {
			c.TLS = connector.TLSEncryptionOnly
		}
	case ignore:
		c.TLS = connector.TLSNone
	}
	domain := strings.TrimSuffix(c.o.text("TlsDomain", "Domain", "Address"), ".")
	switch {
	case domain == "":
		if c.TLS == connector.TLSDomainValidation && len(c.Hosts) > 0 {
			c.o.note(
				"TlsDomain",
				"missing; DomainValidation with smart hosts needs the name in their certificates",
			)
		}
	case c.TLS != connector.TLSDomainValidation:
		c.o.note("TlsDomain", "left out: it counts with DomainValidation only")
	default:
		c.TLSDomain = domain
	}
}

func (c *send) credentials() {
	const auth, credential = "SmartHostAuthMechanism", "AuthenticationCredential"
	word := c.o.choice(auth, map[string]string{
		"0": "None", "2": "BasicAuth", "4": "BasicAuthRequireTLS", "8": "ExchangeServer",
		"16": "ExternalAuthoritative",
	})
	// The password may be in there; nothing of it is shown.
	v, _ := c.o.get(credential)
	m, _ := v.(map[string]any)
	user, _ := textOf(member(m, "UserName"))
	switch strings.ToLower(word) {
	case "", "none":
		return
	case "externalauthoritative":
		c.o.note(auth, "the way to the smart host is trusted; nothing is done here to protect it")
		return
	case "exchangeserver":
		c.o.note(auth, "not spoken; the relay does not log on to the smart host")
		return
	case "basicauth":
		if c.TLS == connector.TLSOpportunistic || c.TLS == connector.TLSNone {
			c.o.note(
				auth, "the password is not sent without TLS here; AllowPlaintextAuth lifts that",
			)
		}
		c.unverified(auth)
	case "basicauthrequiretls":
		c.authTLS(auth)
	default:
		c.o.fault(auth, "unknown mechanism %q", oneLine(word))
		return
	}
	c.Username = user
	c.o.r.note(c.o.label, credential, user, "no dump has the password; set Username and Password")
}

// unverified keeps the password going to a host that need not prove its name,
// as Exchange lets it.
func (c *send) unverified(parameter string) {
	if c.TLS != connector.TLSDomainValidation {
		c.AllowUnverifiedAuth = true
		c.o.note(parameter, "whoever answers gets the password; set TLS to DomainValidation "+
			"and take AllowUnverifiedAuth away")
	}
}

// authTLS does what Exchange does before it shows a password: the certificate
// must have the name of the smart host.
func (c *send) authTLS(parameter string) {
	switch {
	case c.TLS == connector.TLSDomainValidation:
	case len(c.Hosts) == 1 && !isAddress(c.Hosts[0]):
		c.TLS, c.TLSDomain = connector.TLSDomainValidation, c.Hosts[0]
	default:
		c.TLS = connector.TLSCertificateValidation
		c.o.note(parameter, "the relay refuses this: Exchange wants each smart host's own name "+
			"in its "+
			"certificate; set TLS to DomainValidation with a name that all of them have, or "+
			"give each a "+
			"connector of its own")
	}
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || strings.HasPrefix(s, "[")
}

func (c *send) rest() {
	c.FQDN = strings.TrimSuffix(c.o.text("Fqdn", "Domain"), ".")
	if invalid(c.Validate(), "FQDN") {
		c.FQDN = ""
		c.o.note("Fqdn", "left out: not a domain name; EHLO has the relay's own")
	}
	if a, ok := c.o.amount("MaxMessageSize"); ok && !a.unlimited {
		if c.MaxMessageBytes = a.n; a.n == 0 {
			c.o.note("MaxMessageSize", "0 stands for no limit here")
		}
	}
	c.connections()
}
