package autoconfig

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
)

// Options say what a [Handler] publishes. The zero Options publish the relay's
// own host name for all accepted domains, to Outlook and in the DNS; other
// programs need Incoming.
type Options struct {
	// Hostname is the name that mail programs connect to, which must stand in
	// the relay's certificate. Defaults to the FQDN of each connector, then to
	// the relay's host name.
	Hostname string

	// WebHost is the name of the web server that this handler is mounted on, on
	// port 443. Defaults to Hostname, then to the relay's host name.
	WebHost string

	// DisplayName is what mail programs call the service. At most 128
	// characters. Defaults to the domain.
	DisplayName string

	// Domains are the domains to answer for; "*.example.com" is that domain and
	// all below it. Defaults to the relay's accepted domains.
	Domains []string

	// Connectors are the names of the connectors to publish. Each must let
	// users log on inside TLS. Defaults to all on which any user who has logged
	// on may send, without bindings to loopback addresses and to port 25.
	Connectors []string

	// Ports are the ports that clients see in the place of those that
	// connectors bind, where a router or a container lies between. Defaults to
	// the same ports.
	Ports map[uint16]uint16

	// Incoming are the servers to read mail from, the best first. Defaults to
	// none, without which there are no settings for Thunderbird and those that
	// read its format, and for Apple's mail.
	Incoming []Incoming

	// LocalPart tells that users log on with the part of their address before
	// the @. Defaults to the whole address.
	LocalPart bool

	// Organization is who gives out Apple's profile. At most 128 characters.
	// Defaults to DisplayName.
	Organization string

	// Identifier begins the identifier of Apple's profile, as in
	// com.example.mail. A profile takes the place of one with the same
	// identifier, so it should not change. Defaults to Hostname, backwards.
	Identifier string

	// STS is the MTA-STS policy of all domains. Defaults to none.
	STS *STS

	// Secure reports whether a request came over TLS. Set it where TLS ends at
	// a proxy on another host. Defaults to requests over TLS and those from a
	// loopback address, where such a proxy may stand, unless X-Forwarded-Proto
	// says otherwise. A proxy there must not pass on plain HTTP without saying
	// so.
	Secure func(*http.Request) bool
}

// Protocol is a way to read mail.
type Protocol string

// The protocols to read mail with.
const (
	IMAP Protocol = "imap"
	POP3 Protocol = "pop3"
)

// Incoming is a server to read mail from.
type Incoming struct {
	// Protocol is IMAP or POP3. Defaults to IMAP.
	Protocol Protocol
	// Hostname is the name to connect to. Required.
	Hostname string
	// Port defaults to that of the protocol: 993 for IMAP and 995 for POP3,
	// with StartTLS 143 and 110.
	Port uint16
	// StartTLS upgrades to TLS after connecting. Defaults to TLS from the first
	// byte.
	StartTLS bool
	// Mechanisms are those by which users log on there. Defaults to
	// [auth.Plain]: a password.
	Mechanisms []auth.Mechanism
}

// check fills in the defaults that do not depend on the connectors. It returns
// the table of the domains and every fault.
func (o *Options) check(r *relay.Relay) (*domains.Table, error) {
	var faults []error
	fault := func(field, format string, args ...any) {
		faults = append(faults, &postern.FieldError{Field: field, Err: fmt.Errorf(format, args...)})
	}
	host := func(field string, name *string) {
		d, err := hostname(*name)
		if err != nil {
			fault(field, "%q is not a host name", *name)
		}
		*name = d
	}
	if o.Hostname != "" {
		host("Hostname", &o.Hostname)
	}
	switch {
	case o.WebHost != "":
		host("WebHost", &o.WebHost)
	case o.Hostname != "":
		o.WebHost = o.Hostname
	default:
		o.WebHost, _ = hostname(r.Hostname()) // the relay has checked it
	}
	checkText(fault, "DisplayName", o.DisplayName)
	checkText(fault, "Organization", o.Organization)
	o.checkIdentifier(fault, r)
	o.checkConnectors(fault, r)
	for _, from := range slices.Sorted(maps.Keys(o.Ports)) {
		if from == 0 || o.Ports[from] == 0 {
			fault(fmt.Sprintf("Ports[%d]", from), "0 is no port")
		}
	}
	o.Incoming = slices.Clone(o.Incoming)
	for i := range o.Incoming {
		in, field := &o.Incoming[i], fmt.Sprintf("Incoming[%d].", i)
		host(field+"Hostname", &in.Hostname)
		if in.Protocol == "" {
			in.Protocol = IMAP
		}
		if in.Protocol != IMAP && in.Protocol != POP3 {
			fault(field+"Protocol", "%q is unknown; it is imap or pop3", in.Protocol)
		}
		if in.Port == 0 {
			in.Port = in.standardPort()
		}
		if len(in.Mechanisms) == 0 {
			in.Mechanisms = []auth.Mechanism{auth.Plain}
		}
		in.Mechanisms = slices.Clone(in.Mechanisms)
		for j, m := range in.Mechanisms {
			if _, err := m.MarshalText(); m == "" || err != nil {
				fault(fmt.Sprintf("%sMechanisms[%d]", field, j), "%q is unknown", m)
			}
		}
	}
	if o.STS != nil {
		sts := *o.STS
		sts.MX = slices.Clone(sts.MX)
		sts.check(fault)
		o.STS = &sts
	}
	if o.Secure == nil {
		o.Secure = secure
	}
	table := o.table(fault)
	return table, errors.Join(faults...)
}

func (o *Options) checkIdentifier(fault func(field, format string, args ...any), r *relay.Relay) {
	if o.Identifier == "" {
		name := o.Hostname
		if name == "" {
			name = r.Hostname()
		}
		labels := strings.Split(strings.ToLower(name), ".")
		slices.Reverse(labels)
		o.Identifier = strings.Join(labels, ".")
		return
	}
	if d, err := domains.ParseDomain(o.Identifier); err != nil || len(d) != len(o.Identifier) ||
		strings.HasPrefix(d, "[") {
		fault("Identifier", "%q is not a name such as com.example.mail", o.Identifier)
	}
}

func (o *Options) checkConnectors(fault func(field, format string, args ...any), r *relay.Relay) {
	o.Connectors = slices.Clone(o.Connectors)
	for i, name := range o.Connectors {
		field := fmt.Sprintf("Connectors[%d]", i)
		found := false
		for _, c := range r.Connectors() {
			if strings.EqualFold(c.Name, name) {
				found = true
				if !logsOn(c) {
					fault(field, "%q does not let users log on inside TLS", name)
				}
			}
		}
		if !found {
			fault(field, "the relay has no connector %q in use", name)
		}
	}
	if len(o.Connectors) > 0 && !r.OffersTLS() {
		fault("Connectors", "the relay has no certificate: settings are published for TLS only")
	}
}

// table makes the table of the domains; nil without any.
func (o *Options) table(fault func(field, format string, args ...any)) *domains.Table {
	if len(o.Domains) == 0 {
		return nil
	}
	list := make([]domains.AcceptedDomain, len(o.Domains))
	for i, d := range o.Domains {
		// a type without recipients
		list[i] = domains.AcceptedDomain{Domain: d, Type: domains.ExternalRelay}
	}
	t, err := domains.NewTable(list...)
	if err != nil {
		fault("Domains", "%w", err)
	}
	return t
}

func (in *Incoming) standardPort() uint16 {
	switch {
	case in.Protocol == POP3 && in.StartTLS:
		return 110
	case in.Protocol == POP3:
		return 995
	case in.StartTLS:
		return 143
	default:
		return 993
	}
}

// secure is the default of Options.Secure.
func secure(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	if p := r.Header.Get("X-Forwarded-Proto"); p != "" && !strings.EqualFold(p, "https") {
		return false
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
}
