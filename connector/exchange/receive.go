package exchange

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
)

// receive is a receive connector in the making.
type receive struct {
	*connector.Connector
	o         *object
	server    string
	identity  string // EX01\Relay
	custom    bool   // has permissions beyond its groups
	elsewhere bool   // of a server that is not wanted
}

func (r *reader) receiveConnectors(objects []*object, server string) []*receive {
	var all, others []*receive
	var servers []string
	for _, o := range objects {
		c := &receive{
			o: o, identity: o.text("Identity", "DistinguishedName", "Name"),
			server: o.text("Server", "Name"),
		}
		c.server = cmp.Or(c.server, serverOf(c.identity))
		if server != "" && !strings.EqualFold(c.server, server) {
			c.elsewhere = true // but permissions may be about it
			others = append(others, c)
			continue
		}
		if !slices.ContainsFunc(servers, func(s string) bool {
			return strings.EqualFold(s, c.server)
		}) {
			servers = append(servers, c.server)
		}
		name := o.text("Name")
		if name == "" {
			o.fault("Name", "missing; do not select parameters when making the dump")
		}
		o.label = receiveLabel(name)
		c.Connector = &connector.Connector{Name: name}
		if slices.ContainsFunc(all, func(x *receive) bool {
			return strings.EqualFold(x.Name, name)
		}) {
			c.Name = c.server + `\` + name
			o.label = receiveLabel(c.Name)
			o.note("Name", "also the name of a connector of another server; renamed")
		}
		r.receiveConnector(c)
		all = append(all, c)
		r.result.Connectors = append(r.result.Connectors, c.Connector)
	}
	r.result.Hostname = hostname(all)
	if server != "" && len(all) == 0 && len(objects) > 0 {
		r.fault("Server", "no receive connector is of server %q", server)
	}
	if len(servers) > 1 {
		r.note(
			"receive connectors", "Server", strings.Join(servers, ", "),
			"of several servers, which compete for the same bindings; choose one server",
		)
	}
	return append(all, others...)
}

// serverOf returns the server in an identity such as EX01\Relay, or nothing for
// one of another form: a distinguished name, which may hold a backslash as
// well, or a path in the directory.
func serverOf(identity string) string {
	server, _, ok := strings.Cut(identity, `\`)
	if !ok || strings.ContainsAny(server, "=/") {
		return ""
	}
	return server
}

func (r *reader) receiveConnector(c *receive) {
	o := c.o
	c.bindings()
	c.ranges()
	c.mechanisms()
	c.groups()
	c.switches()
	c.greeting()
	c.keywords()
	c.limits()
	c.role()
	o.rest(receiveRules(), []string{
		"BareLinefeedRejectionEnabled",
		"MaxAcknowledgementDelay", // the reply waits for the queue's disk, not for the next hop
		"SuppressXAnonymousTls",   // never offered
	})
}

func receiveRules() []rule {
	return []rule{
		{"AcceptConsumerMail", "no counterpart", nil},
		{"AdvertiseClientSettings", "there is no webmail to show it in", nil},
		{"DefaultDomain", "one default domain is for the whole relay", nil},
		{"DomainSecureEnabled", "a partner proves its domain by a client certificate, which " +
			"PartnerNames may map; a grant to partner:DOMAIN says what it may do", nil},
		{"EnableAuthGSSAPI", "Kerberos is not offered", nil},
		{
			"ExtendedProtectionPolicy", "concerns Integrated authentication, which is not offered",
			nil,
		},
		{"LiveCredentialEnabled", "no counterpart", nil},
		{"LongAddressesEnabled", "addresses longer than RFC 5321 allows are not accepted", nil},
		{"OrarEnabled", "XORAR is not spoken", nil},
		{"ProxyEnabled", "no counterpart", nil},
		{
			"RejectReservedTopLevelRecipientDomains",
			"no counterpart; an application refuses such recipients in its own policy", nil,
		},
		{
			"RejectReservedSecondLevelRecipientDomains",
			"no counterpart; an application refuses such recipients in its own policy", nil,
		},
		{
			"RejectSingleLabelRecipientDomains",
			"no counterpart; an application refuses such recipients in its own policy", nil,
		},
		{"RequireEHLODomain", "no counterpart", nil},
		{"ServiceDiscoveryFqdn", "no counterpart", nil},
		{"TlsCertificateName", "the relay's TLS configuration holds the certificates", nil},
		{
			"TlsDomainCapabilities",
			"no counterpart; nobody is given rights by the name in a certificate unless a " +
				"grant to partner:DOMAIN says so",
			nil,
		},
	}
}

// switches reads what decides whether anything is let in. A dump of selected
// parameters does not tell, and is read the closed way.
func (c *receive) switches() {
	enabled, ok := c.o.flag("Enabled")
	if c.Disabled = !enabled; !ok {
		c.o.note("Enabled", "not in the dump; taken for disabled")
	}
	c.RequireTLS, ok = c.o.flag("RequireTLS")
	if !ok && c.AuthMechanisms.Has(connector.TLS) {
		c.RequireTLS = true
		c.o.note("RequireTLS", "not in the dump; taken for required")
	}
}

func (c *receive) bindings() {
	for _, v := range c.o.list("Bindings") {
		if b, ok := bindingOf(v); ok {
			c.Bindings = append(c.Bindings, b)
		} else {
			c.o.wrong("Bindings", v, "an address and a port such as 0.0.0.0:25")
		}
	}
	if slices.ContainsFunc(c.Bindings, func(b netip.AddrPort) bool { return b.Port() == 465 }) {
		c.o.r.note(
			c.o.label, "Bindings", "465",
			"Exchange begins without TLS on this port, and mail programs expect TLS at once; "+
				"set ImplicitTLS for them",
		)
	}
}

func (c *receive) ranges() {
	for _, v := range c.o.list("RemoteIPRanges") {
		s, ok := rangeText(v)
		if !ok {
			c.o.wrong("RemoteIPRanges", v, "an address, a block or a range")
			continue
		}
		if strings.Contains(s, "%") {
			// Left out, its hosts would go by another connector's wider range.
			c.o.fault("RemoteIPRanges", "%q is of one interface, which has no counterpart; take "+
				"away the "+
				"%% and what follows", oneLine(s))
			continue
		}
		if g, err := parseRange(s); err != nil {
			c.o.wrong("RemoteIPRanges", s, "an address, a block or a range")
		} else {
			c.RemoteIPRanges = append(c.RemoteIPRanges, g)
		}
	}
	six := func(a netip.Addr) bool { return a.Is6() && !a.Is4In6() }
	if slices.ContainsFunc(c.Bindings, func(b netip.AddrPort) bool { return six(b.Addr()) }) &&
		len(c.RemoteIPRanges) > 0 &&
		!slices.ContainsFunc(c.RemoteIPRanges, func(g connector.Range) bool {
			return six(g.From)
		}) {
		c.o.r.note(
			c.o.label, "RemoteIPRanges", "",
			"holds no IPv6 address, so that nobody reaches the connector on its IPv6 bindings",
		)
	}
}

func (c *receive) mechanisms() {
	words, ok := c.o.words(
		"AuthMechanism", "Tls", "Integrated", "BasicAuth", "BasicAuthRequireTLS", "ExchangeServer",
		"ExternalAuthoritative",
	)
	if !ok {
		c.o.require("AuthMechanism")
		return
	}
	for _, w := range words {
		m, err := connector.ParseAuthMechanism(w)
		if err != nil {
			c.o.fault("AuthMechanism", "%w", err)
		}
		c.AuthMechanisms |= m
	}
	if c.AuthMechanisms == 0 {
		c.AuthMechanisms = connector.NoAuth
	}
	about := func(m connector.AuthMechanism, reason string) {
		if c.AuthMechanisms.Has(m) {
			c.o.r.note(c.o.label, "AuthMechanism", m.String(), reason)
		}
	}
	about(
		connector.Integrated, "NTLM and Kerberos are not offered; users need BasicAuth inside TLS",
	)
	about(connector.ExchangeServer, "neither X-EXPS nor X-ANONYMOUSTLS is spoken; your relays "+
		"prove who they are by a certificate "+
		"listed in ServerNames or by a shared secret")
	about(connector.ExternalAuthoritative, "every host in RemoteIPRanges is trusted without "+
		"proof: it may relay to anybody, "+
		"as any sender, past content checks and the size limit")
	about(
		connector.ExternalAuthoritative,
		"X-MS-Exchange-Organization and -Forest headers are removed all the same; these hosts "+
			"do not have the rights to them",
	)
}

// require adds a fault for a parameter that decides who may do what and is not
// in the dump.
func (o *object) require(name string) {
	if v, _ := o.get(name); v == nil {
		o.fault(name, "missing; do not select parameters when making the dump")
	}
}

func (c *receive) groups() {
	words, ok := c.o.words(
		"PermissionGroups", "AnonymousUsers", "ExchangeUsers", "ExchangeServers",
		"ExchangeLegacyServers", "Partners", "Custom",
	)
	if !ok {
		c.o.require("PermissionGroups")
		return
	}
	for _, w := range words {
		if strings.EqualFold(w, "Custom") {
			c.custom = true
			continue
		}
		g, err := connector.ParsePermissionGroup(w)
		if err != nil {
			c.o.fault("PermissionGroups", "%w", err)
		}
		c.PermissionGroups |= g
	}
	if c.PermissionGroups.Has(connector.Partners) {
		// Here it would make a partner of everybody with a good certificate.
		c.PermissionGroups &^= connector.Partners
		c.o.r.note(c.o.label, "PermissionGroups", "Partners", "left out: Exchange takes for "+
			"partners "+
			"the domains of its transport configuration, "+
			"which no dump has; grant their rights to partner:DOMAIN")
	}
}

// greeting reads what names the server.
func (c *receive) greeting() {
	c.FQDN = strings.TrimSuffix(c.o.text("Fqdn", "Domain"), ".")
	if invalid(c.Validate(), "FQDN") && !c.AuthMechanisms.Has(connector.ExchangeServer) {
		c.FQDN = ""
		c.o.note("Fqdn", "left out: not a domain name; the connector goes by the relay's own")
	}
	c.Banner = c.o.text("Banner")
	if invalid(c.Validate(), "Banner") {
		c.Banner = ""
		c.o.note("Banner", "left out: a banner is 220, a space and one line of ASCII")
	}
}

// invalid reports whether a connector's own check complains about a field.
func invalid(err error, field string) bool {
	list, ok := err.(interface{ Unwrap() []error })
	return ok && slices.ContainsFunc(list.Unwrap(), func(err error) bool {
		e, ok := errors.AsType[*postern.FieldError](err)
		return ok && e.Field == field
	})
}

// hostname returns the name of the server: with ExchangeServer a connector can
// go by no other. It takes the name from those connectors, which go by the
// relay's own.
func hostname(connectors []*receive) string {
	var own, any string
	for _, c := range connectors {
		switch {
		case c.Disabled || !strings.Contains(c.FQDN, "."):
		case c.AuthMechanisms.Has(connector.ExchangeServer):
			own = cmp.Or(own, c.FQDN)
		default:
			any = cmp.Or(any, c.FQDN)
		}
	}
	name := cmp.Or(own, any)
	for _, c := range connectors {
		if !c.AuthMechanisms.Has(connector.ExchangeServer) {
			continue
		}
		if c.FQDN != "" && !strings.EqualFold(c.FQDN, name) {
			c.o.note(
				"Fqdn", "left out: with ExchangeServer the connector goes by the relay's own name",
			)
		}
		c.FQDN = ""
	}
	return name
}

func (c *receive) keywords() {
	suppress := func(k string) { c.SuppressedKeywords = append(c.SuppressedKeywords, k) }
	for _, k := range []struct{ parameter, keyword string }{
		{"PipeliningEnabled", "PIPELINING"},
		{"EightBitMimeEnabled", "8BITMIME"},
		{"DeliveryStatusNotificationEnabled", "DSN"},
		{"EnhancedStatusCodesEnabled", "ENHANCEDSTATUSCODES"},
		{"SmtpUtf8Enabled", "SMTPUTF8"},
		{"ChunkingEnabled", "CHUNKING"},
	} {
		if on, ok := c.o.flag(k.parameter); ok && !on {
			suppress(k.keyword)
		}
	}
	// RFC 3030 section 3: BINARYMIME cannot be used without CHUNKING.
	if on, ok := c.o.flag("BinaryMimeEnabled"); ok && !on ||
		slices.Contains(c.SuppressedKeywords, "CHUNKING") {
		suppress("BINARYMIME")
	}
	switch size := c.o.choice(
		"SizeEnabled",
		map[string]string{"0": "Enabled", "1": "Disabled", "2": "EnabledWithoutValue"},
	); {
	case strings.EqualFold(size, "Disabled"):
		suppress("SIZE")
	case strings.EqualFold(size, "EnabledWithoutValue"):
		c.o.r.note(
			c.o.label, "SizeEnabled", size,
			"SIZE is offered with its value, and only ms-Exch-Bypass-Message-Size-Limit lifts "+
				"the limit",
		)
	}
}

func (c *receive) limits() {
	l := &c.Limits
	c.size("MaxMessageSize", &l.MaxMessageBytes)
	c.size("MaxHeaderSize", &l.MaxHeaderBytes)
	c.count("MaxRecipientsPerMessage", &l.MaxRecipients, 512000, 0)
	c.count("MaxHopCount", &l.MaxHops, 500, 0)
	c.count("MaxLocalHopCount", &l.MaxLocalHops, -1, -1)
	c.count("MaxInboundConnection", &l.MaxConnections, -1, 0)
	c.count("MaxInboundConnectionPerSource", &l.MaxConnectionsPerSource, -1, 0)
	c.count("MaxInboundConnectionPercentagePerSource", &l.MaxConnectionsPercentPerSource, -1, 0)
	c.count("MessageRateLimit", &l.MessageRate, -1, 0)
	c.count("MaxProtocolErrors", &l.MaxProtocolErrors, -1, 1)
	c.count("MaxLogonFailures", &l.MaxLogonFailures, -1, -1)
	c.timeout("ConnectionTimeout", &l.ConnectionTimeout, 0)
	c.timeout("ConnectionInactivityTimeout", &l.InactivityTimeout, 0)
	c.timeout("TarpitInterval", &l.Tarpit, -1)
	c.timeout("AuthTarpitInterval", &l.AuthTarpit, -1)
	if w := c.o.choice(
		"MessageRateSource",
		map[string]string{"0": "None", "1": "IPAddress", "2": "User", "3": "All"},
	); w != "" {
		var err error
		if l.MessageRateBy, err = connector.ParseRateSource(w); err != nil {
			c.o.fault("MessageRateSource", "%w", err)
		}
	}
}

// size reads a limit in octets that cannot be switched off.
func (c *receive) size(name string, dst *int64) {
	a, ok := c.o.amount(name)
	switch {
	case !ok:
	case a.unlimited:
		*dst = math.MaxInt32
		c.o.note(name, "there is always a limit; set to the highest")
	default:
		if *dst = a.n; a.n == 0 {
			c.o.note(name, "0 stands for the default here")
		}
	}
}

// count reads a limit. unlimited is what stands for no limit, zero what
// Exchange means by 0; a zero of 0 is a value that Exchange does not have.
func (c *receive) count(name string, dst *int, unlimited, zero int) {
	a, ok := c.o.amount(name)
	switch {
	case !ok:
	case a.unlimited:
		if *dst = unlimited; unlimited > 0 {
			c.o.note(name, "there is always a limit; set to the highest")
		}
	case a.n > math.MaxInt32:
		c.o.fault(name, "%d is out of range", a.n)
	case a.n == 0:
		if *dst = zero; zero == 0 {
			c.o.note(name, "0 stands for the default here")
		} else if zero > 0 {
			c.o.note(name, "set to 1, the strictest there is")
		}
	default:
		*dst = int(a.n)
	}
}

func (c *receive) timeout(name string, dst *time.Duration, zero time.Duration) {
	d, ok := c.o.span(name)
	if !ok {
		return
	}
	if *dst = d; d == 0 {
		if *dst = zero; zero == 0 {
			c.o.note(name, "0 stands for the default here")
		}
	}
}

// role notes what only makes sense between a front end and the servers behind
// it.
func (c *receive) role() {
	const hub, number = "HubTransport", "32"
	v, _ := c.o.get("TransportRole")
	if role, _ := scalar(v); !strings.EqualFold(role, hub) && role != number {
		return
	}
	if slices.ContainsFunc(c.Bindings, func(b netip.AddrPort) bool { return b.Port() == 25 }) {
		c.o.r.note(
			c.o.label, "TransportRole", hub,
			"a connector on port 25 belongs to FrontendTransport; in Exchange two services "+
				"compete for the port",
		)
		return
	}
	c.o.r.note(
		c.o.label, "TransportRole", hub,
		"made for sessions that a front end passes on, which do not exist here; leave it out "+
			"unless clients connect to it",
	)
}

// finishReceive notes what an administrator may take for something that it is
// not, once the rights are known.
func (r *reader) finishReceive(c *receive) {
	rights := c.Rights(connector.Subject{})
	if !c.PermissionGroups.Has(connector.AnonymousUsers) ||
		c.AuthMechanisms.Has(connector.ExternalAuthoritative) {
		return
	}
	everybody := isBroad(c.RemoteIPRanges)
	if !everybody && rights.Has(connector.Submit) && !rights.Has(connector.AcceptAnyRecipient) {
		r.note(c.o.label, "PermissionGroups", "AnonymousUsers", "these hosts reach the accepted "+
			"domains only; to relay they need "+
			connector.AcceptAnyRecipient.String()+" granted to anonymous")
	}
	if everybody && rights.Has(connector.AcceptAuthoritativeDomainSender) {
		r.note(c.o.label, "PermissionGroups", "AnonymousUsers", "anybody may send as an address "+
			"of your authoritative domains; to stop it, deny "+
			connector.AcceptAuthoritativeDomainSender.String()+" to anonymous")
	}
}

// isBroad reports whether the ranges hold half of all IPv4 or IPv6 addresses,
// which is to say the Internet.
func isBroad(ranges []connector.Range) bool {
	var four, six uint64
	for _, g := range ranges {
		if from, to := g.From.Unmap(), g.To.Unmap(); from.Is4() {
			a, b := from.As4(), to.As4()
			four += uint64(
				binary.BigEndian.Uint32(b[:]),
			) - uint64(binary.BigEndian.Uint32(a[:])) + 1
		} else {
			a, b := from.As16(), to.As16()
			six += uint64(binary.BigEndian.Uint32(b[:])) - uint64(binary.BigEndian.Uint32(a[:]))
		}
	}
	return four >= 1<<31 || six >= 1<<31-1
}
