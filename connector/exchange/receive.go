package exchange

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

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
