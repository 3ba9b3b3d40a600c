package connector_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
)

func ExampleAnonymousRelay() {
	c := connector.AnonymousRelay("apps", connector.MustParseRange("10.1.2.0/24"))

	set, err := connector.NewSet(c)
	if err != nil {
		fmt.Println(err)
		return
	}
	local := netip.MustParseAddrPort("10.1.1.1:25")
	for _, remote := range []string{"10.1.2.7", "203.0.113.9"} {
		c, ok := set.Match(local, netip.MustParseAddr(remote))
		if !ok {
			fmt.Println(remote, "is not let in")
			continue
		}
		fmt.Println(
			remote, "may relay:", c.Rights(connector.Subject{}).Has(connector.AcceptAnyRecipient),
		)
	}
	// Output:
	// 10.1.2.7 may relay: true
	// 203.0.113.9 is not let in
}

func ExampleSubmission() {
	c := connector.Submission("users")

	fmt.Println(c.Bindings, c.AuthMechanisms)
	fmt.Println("before logon:", c.Rights(connector.Subject{TLS: true}))
	fmt.Println(
		"after logon: ",
		c.Rights(connector.Subject{TLS: true, Authenticated: true, User: "alice"}),
	)
	// Output:
	// [0.0.0.0:587 [::]:587] Tls, BasicAuth, BasicAuthRequireTLS, Integrated
	// before logon: None
	// after logon:  ms-Exch-SMTP-Submit, ms-Exch-SMTP-Accept-Any-Recipient, ms-Exch-Accept-Headers-Routing, ms-Exch-Bypass-Anti-Spam
}

// Submission with TLS from the first byte.
func ExampleSubmission_implicitTLS() {
	c := connector.Submission("users")
	c.ImplicitTLS = true
	c.Bindings = []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:465")}

	fmt.Println(c.Validate())
	// Output: <nil>
}

func ExampleNew() {
	c := connector.New("mx", connector.Internet)
	c.Bindings = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.25:25")}
	c.RemoteIPRanges = connector.Everyone() // the usage fills in IPv4 only
	// Nobody from outside sends in our own name.
	c.Grants = []connector.Grant{
		{
			Principal: connector.Anonymous, Rights: connector.AcceptAuthoritativeDomainSender,
			Deny: true,
		},
	}

	fmt.Println(c.Rights(connector.Subject{}))
	// Output: ms-Exch-SMTP-Submit, ms-Exch-SMTP-Accept-Any-Sender, ms-Exch-Accept-Headers-Routing
}

func ExampleConnector_Rights() {
	c := connector.Submission("users")
	c.Grants = []connector.Grant{
		{Principal: connector.Group("ops"), Rights: connector.AcceptAnySender},
		{Principal: connector.User("mallory"), Rights: connector.Submit, Deny: true},
	}

	alice := connector.Subject{
		Authenticated: true, User: "alice", Groups: []string{"ops"}, TLS: true,
	}
	fmt.Println("alice sends as anybody:", c.Rights(alice).Has(connector.AcceptAnySender))
	mallory := connector.Subject{Authenticated: true, User: "mallory", TLS: true}
	fmt.Println("mallory sends:", c.Rights(mallory).Has(connector.Submit))
	// Output:
	// alice sends as anybody: true
	// mallory sends: false
}

// A second relay of the same operator proves itself with a certificate, or with
// a password of its own.
func ExampleConnector_Rights_servers() {
	c := connector.New("peers", connector.Internal)
	c.RemoteIPRanges = []connector.Range{connector.MustParseRange("10.0.0.0/8")}
	c.ServerNames = []string{"relay2.example.com"}

	stranger := connector.Subject{TLS: true}
	byName := connector.Subject{TLS: true, Names: []string{"relay2.example.com"}}
	bySecret := connector.Subject{TLS: true, Authenticated: true, User: "relay2", Server: true}
	fmt.Println(c.Validate(), c.Rights(stranger), c.Rights(byName) == c.Rights(bySecret))
	who, _ := c.Explain(byName)
	fmt.Println(
		who, c.Rights(byName).Has(connector.AcceptAnyRecipient|connector.AcceptHeadersOrganization),
	)
	// Output:
	// <nil> None true
	// servers true
}

// A partner's servers go by other names than its domain.
func ExampleConnector_Rights_partners() {
	c := connector.New("contoso", connector.Partner)
	c.PartnerNames = map[string]string{
		"mail1.contoso.com": "contoso.com", "mail2.contoso.com": "contoso.com",
	}
	c.Grants = []connector.Grant{
		{Principal: connector.PartnerName("contoso.com"), Rights: connector.AcceptAnySender},
	}

	who, _ := c.Explain(
		connector.Subject{TLS: true, Names: []string{"www.contoso.com", "mail2.contoso.com"}},
	)
	fmt.Println(who)
	fmt.Println(c.Rights(connector.Subject{TLS: true, Names: []string{"www.contoso.com"}}))
	// Output:
	// partner:contoso.com
	// None
}

func ExampleCheckTrusted() {
	fmt.Println(connector.CheckTrusted([]connector.Range{connector.MustParseRange("10.0.0.2")}))
	fmt.Println(connector.CheckTrusted(connector.Everyone()) != nil)
	// Output:
	// <nil>
	// true
}

// A network that is secured by other means: every session is trusted like a
// server of the organization.
func ExampleAuthMechanism() {
	c := connector.New("vpn", connector.Custom)
	c.Bindings = []netip.AddrPort{netip.MustParseAddrPort("10.9.0.1:25")}
	c.RemoteIPRanges = []connector.Range{connector.MustParseRange("10.9.0.0/16")}
	c.AuthMechanisms = connector.TLS | connector.ExternalAuthoritative

	fmt.Println(c.Validate())
	c.PermissionGroups = connector.ExchangeServers
	fmt.Println(c.Validate())
	// Output:
	// PermissionGroups: ExternalAuthoritative needs ExchangeServers and nothing else; these are None
	// <nil>
}

func ExamplePermissionGroup_Rights() {
	fmt.Println(connector.Partners.Rights())
	// Output: ms-Exch-SMTP-Submit, ms-Exch-Accept-Headers-Routing
}

func ExampleParseRight() {
	r, err := connector.ParseRight("ms-Exch-SMTP-Submit, AcceptAnyRecipient")
	fmt.Println(r, err)
	// Output: ms-Exch-SMTP-Submit, ms-Exch-SMTP-Accept-Any-Recipient <nil>
}

func ExampleParsePrincipal() {
	for _, s := range []string{"anonymous", "user:alice", "partner:Example.com"} {
		p, err := connector.ParsePrincipal(s)
		fmt.Println(p, err)
	}
	// Output:
	// anonymous <nil>
	// user:alice <nil>
	// partner:example.com <nil>
}

func ExampleParseRange() {
	for _, s := range []string{
		"192.0.2.1", "192.168.1.1/24", "127.0.2.1-127.0.2.9", "2001:db8::/32", "::ffff:192.0.2.1",
	} {
		r, err := connector.ParseRange(s)
		fmt.Println(r, err)
	}
	// Output:
	// 192.0.2.1 <nil>
	// 192.168.1.0/24 <nil>
	// 127.0.2.1-127.0.2.9 <nil>
	// 2001:db8::/32 <nil>
	// 192.0.2.1 <nil>
}

// The text forms make a configuration file out of a plain struct.
func ExampleRange_UnmarshalText() {
	var config struct {
		Usage  connector.Usage
		Ranges []connector.Range
		Groups connector.PermissionGroup
		Grants []connector.Grant
	}
	err := json.Unmarshal([]byte(`{
		"usage": "Custom",
		"ranges": ["127.0.0.1", "127.0.1.0/24"],
		"groups": "AnonymousUsers",
		"grants": [{"principal": "anonymous", "rights": "ms-Exch-SMTP-Accept-Any-Recipient"}]
	}`), &config)
	fmt.Println(config, err)
	// Output: {Custom [127.0.0.1 127.0.1.0/24] AnonymousUsers [{anonymous ms-Exch-SMTP-Accept-Any-Recipient false}]} <nil>
}

func ExampleLimits_WithDefaults() {
	l := connector.Limits{
		MaxRecipients: 1000, MaxConnectionsPerSource: -1,
	}.WithDefaults(connector.Custom)
	fmt.Println(l.MaxRecipients, l.MaxConnectionsPerSource, l.MaxMessageBytes, l.InactivityTimeout)
	// Output: 1000 -1 37748736 5m0s
}

// The narrowest range that holds the remote address wins.
func ExampleSet_Match() {
	port25 := []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:25")}
	internet := connector.New("internet", connector.Internet)
	internet.Bindings = port25
	apps := connector.AnonymousRelay("apps", connector.MustParseRange("192.168.1.0/24"))
	apps.Bindings = port25

	set, err := connector.NewSet(internet, apps)
	if err != nil {
		fmt.Println(err)
		return
	}
	local := netip.MustParseAddrPort("192.168.1.1:25")
	for _, remote := range []string{"192.168.1.100", "192.168.2.1", "2001:db8::1"} {
		if c, ok := set.Match(local, netip.MustParseAddr(remote)); ok {
			fmt.Println(remote, c.Name)
		} else {
			fmt.Println(remote, "none")
		}
	}
	// Output:
	// 192.168.1.100 apps
	// 192.168.2.1 internet
	// 2001:db8::1 none
}

// Every fault is reported at once, each with its field.
func ExampleNewSet() {
	_, err := connector.NewSet(
		connector.AnonymousRelay("apps", connector.AllIPv4()),
		&connector.Connector{Name: "apps"},
	)
	for _, fault := range err.(interface{ Unwrap() []error }).Unwrap() {
		var field *postern.FieldError
		if errors.As(fault, &field) {
			fmt.Println(field.Field)
		}
	}
	// Output:
	// [0].RemoteIPRanges
	// [1].Bindings
	// [1].RemoteIPRanges
	// [1].Name
}

func ExampleParseAddressSpace() {
	a, err := connector.ParseAddressSpace("SMTP:*.example.com;5")
	fmt.Println(a.Domain, a.Cost, err)
	_, err = connector.ParseAddressSpace("*example.com")
	fmt.Println(err)
	// Output:
	// *.example.com 5 <nil>
	// connector: invalid address space "*example.com": a * stands alone or before the first dot, as in *.example.com
}

func ExampleSendSet_Select() {
	set, err := connector.NewSendSet(
		&connector.SendConnector{
			Name: "internet", AddressSpaces: connector.AllDomains(),
		},
		&connector.SendConnector{
			Name:          "partner",
			AddressSpaces: []connector.AddressSpace{{Domain: "*.example.com"}},
			NextHop: connector.NextHop{
				Hosts:     []string{"mx1.example.com", "mx2.example.com:2525"},
				TLS:       connector.TLSDomainValidation,
				TLSDomain: "example.com",
			},
			MaxMessageBytes: 10 << 20,
		},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	small, _ := set.Select("shop.example.com", 20_000)
	large, _ := set.Select("shop.example.com", 20<<20)
	fmt.Println(small.Connector, small.Space)
	fmt.Println(large.Connector, large.Space)

	partners, _ := connector.NewSendSet(set.Connectors()[1])
	_, err = partners.Select("example.com", 20<<20)
	fmt.Println(errors.Is(err, connector.ErrTooLarge))
	_, err = partners.Select("example.org", 20<<20)
	fmt.Println(errors.Is(err, connector.ErrNoRoute))
	// Output:
	// partner *.example.com
	// internet *
	// true
	// true
}

// An application's own transport takes the mail of one domain: "api" is its
// name in the relay's configuration.
func ExampleSendConnector_transport() {
	c := connector.SendConnector{
		Name: "partner", Transport: "api",
		AddressSpaces: []connector.AddressSpace{{Domain: "partner.example"}},
	}
	fmt.Println(c.Validate())
	c.Hosts = []string{"smtp.partner.example"}
	fmt.Println(c.Validate())
	// Output:
	// <nil>
	// Transport: takes the place of a next hop, of which something is set; leave one empty
}

// A server of TLS asks for a certificate only where one counts: some clients
// fail when they are asked.
func ExampleConnector_AsksForCertificate() {
	partners := connector.New("partners", connector.Partner)
	fmt.Println(partners.AsksForCertificate(), connector.Submission("users").AsksForCertificate())
	// Output: true false
}

// Hosts on the internet may write to the accepted domains, and may not pretend
// to be one of ours.
func ExampleFromInternet() {
	in := connector.FromInternet("mx")
	rights := in.Rights(connector.Subject{TLS: true})
	fmt.Println(in.Bindings, in.RemoteIPRanges)
	fmt.Println(rights.Has(connector.Submit), rights.Has(connector.AcceptAnyRecipient))
	fmt.Println(rights.Has(connector.AcceptAuthoritativeDomainSender))
	// Output:
	// [0.0.0.0:25 [::]:25] [0.0.0.0/0 ::/0]
	// true false
	// false
}

// The words of a configuration file are those of Exchange, in any case.
func ExampleParseUsage() {
	usage, _ := connector.ParseUsage("internet")
	groups, _ := connector.ParsePermissionGroup("AnonymousUsers, partners")
	by, _ := connector.ParseRateSource("ipaddress")
	level, _ := connector.ParseTLSLevel("domainvalidation")
	fmt.Println(usage, "|", groups, "|", by, "|", level)
	_, err := connector.ParseAuthMechanism("Tls, CramMD5")
	fmt.Println(err)
	// Output:
	// Internet | AnonymousUsers, Partners | IPAddress | DomainValidation
	// connector: unknown auth mechanism "CramMD5"; valid are Tls, BasicAuth, BasicAuthRequireTLS, Integrated, ExchangeServer, ExternalAuthoritative, None
}

// A password is for the host whose certificate has the right name, and for
// nobody else.
func ExampleTLSLevel() {
	out := &connector.SendConnector{
		Name: "out", AddressSpaces: connector.AllDomains(),
		NextHop: connector.NextHop{
			Hosts: []string{"smtp.example.net:587"}, TLS: connector.TLSEncryptionOnly,
			Username: "app", Password: "secret",
		},
	}
	fmt.Println(out.Validate() == nil)
	out.TLS, out.TLSDomain = connector.TLSDomainValidation, "smtp.example.net"
	fmt.Println(out.Validate() == nil)
	// Output:
	// false
	// true
}
