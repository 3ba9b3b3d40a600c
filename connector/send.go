package connector

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
)

// TLSLevel is what a send connector asks of the next hop's TLS.
type TLSLevel uint8

const (
	// STARTTLS when offered, no certificate check; plain otherwise
	TLSOpportunistic         TLSLevel = iota
	TLSNone                           // ignore STARTTLS
	TLSEncryptionOnly                 // TLS or no delivery; any certificate
	TLSCertificateValidation          // the chain must verify
	TLSDomainValidation               // and the name must match TLSDomain
)

func tlsLevelWords() []word[TLSLevel] {
	return []word[TLSLevel]{
		{"None", TLSNone},
		{"Opportunistic", TLSOpportunistic},
		{"EncryptionOnly", TLSEncryptionOnly},
		{"CertificateValidation", TLSCertificateValidation},
		{"DomainValidation", TLSDomainValidation},
	}
}

// ParseTLSLevel reads a TLS level.
func ParseTLSLevel(s string) (TLSLevel, error) { return parseOne("TLS level", s, tlsLevelWords()) }

// String returns the name of the level.
func (l TLSLevel) String() string { return formatOne("TLSLevel", l, tlsLevelWords()) }

// MarshalText returns the name of the level. It fails for a value that is none.
func (l TLSLevel) MarshalText() ([]byte, error) {
	return marshalOne("TLS level", l, tlsLevelWords())
}

// UnmarshalText reads what [ParseTLSLevel] reads.
func (l *TLSLevel) UnmarshalText(text []byte) (err error) {
	*l, err = ParseTLSLevel(string(text))
	return err
}

// AddressSpace is a set of recipient domains with a cost.
type AddressSpace struct {
	// Domain is "example.com" for that domain alone, "*.example.com" for it and
	// every subdomain, or "*" for all. Names are written in A-labels.
	Domain string
	// Cost decides between connectors with the same address space: the lowest
	// wins, 1 to 100. Defaults to 1.
	Cost int
}

const maxCost = 100

// ParseAddressSpace reads "domain" or "domain;cost", with "SMTP:" before it or
// not.
func ParseAddressSpace(s string) (AddressSpace, error) {
	a, err := parseAddressSpace(s)
	if err == nil {
		err = a.check()
	}
	if err != nil {
		return AddressSpace{}, fmt.Errorf("connector: invalid address space %q: %w", s, err)
	}
	a.Domain = canonicalDomain(a.Domain)
	return a, nil
}

func parseAddressSpace(s string) (AddressSpace, error) {
	s = strings.TrimSpace(s)
	if kind, rest, ok := strings.Cut(s, ":"); ok {
		if !strings.EqualFold(strings.TrimSpace(kind), "SMTP") {
			return AddressSpace{}, fmt.Errorf("type %q; only SMTP is known", kind)
		}
		s = strings.TrimSpace(rest)
	}
	domain, cost, ok := strings.Cut(s, ";")
	a := AddressSpace{Domain: strings.TrimSpace(domain), Cost: 1}
	if ok {
		n, err := strconv.Atoi(strings.TrimSpace(cost))
		if err != nil || n == 0 {
			return AddressSpace{}, fmt.Errorf("cost %q is not a number from 1 to %d", cost, maxCost)
		}
		a.Cost = n
	}
	return a, nil
}

func canonicalDomain(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

func (a AddressSpace) check() error {
	if a.Cost < 0 || a.Cost > maxCost {
		return fmt.Errorf("cost %d is out of range; use 1 to %d", a.Cost, maxCost)
	}
	if a.Domain == "*" {
		return nil
	}
	domain := strings.TrimPrefix(canonicalDomain(a.Domain), "*.")
	if strings.Contains(domain, "*") {
		return errors.New("a * stands alone or before the first dot, as in *.example.com")
	}
	return checkDomain(domain)
}

func (a AddressSpace) cost() int { return max(a.Cost, 1) }

// String returns the space as "domain;cost".
func (a AddressSpace) String() string { return a.Domain + ";" + strconv.Itoa(a.cost()) }

// MarshalText returns the space as "domain;cost". It fails for an invalid
// space.
func (a AddressSpace) MarshalText() ([]byte, error) {
	if err := a.check(); err != nil {
		return nil, fmt.Errorf("connector: invalid address space %q: %w", a.Domain, err)
	}
	return []byte(a.String()), nil
}

// UnmarshalText reads what [ParseAddressSpace] reads.
func (a *AddressSpace) UnmarshalText(text []byte) (err error) {
	*a, err = ParseAddressSpace(string(text))
	return err
}

// SendConnector says how mail leaves for its address spaces. Printed or
// logged it shows its name only, never the password.
type SendConnector struct {
	// Name identifies the connector in logs and events: unique without regard
	// to case, at most 64 characters. Required.
	Name string
	// AddressSpaces are the recipient domains the connector is for. Required.
	AddressSpaces []AddressSpace
	// SmartHosts are host or host:port, IP addresses allowed, IPv6 in brackets.
	// Defaults to MX lookup.
	SmartHosts []string
	// Port is used where a smart host names none, and for MX delivery. Defaults
	// to 25, and to 465 with ImplicitTLS.
	Port int
	// AllowPrivateAddresses lets mail exchangers and address literals be at
	// loopback, link-local, private and shared addresses too: for networks with
	// a DNS of their own. Smart hosts may be anywhere. Defaults to false.
	AllowPrivateAddresses bool
	// TLS is what is asked of the next hop. Defaults to TLSOpportunistic.
	TLS TLSLevel
	// TLSDomain is the name that the certificate must have with
	// TLSDomainValidation. Required there with smart hosts. Defaults to the
	// recipient domain for MX delivery.
	TLSDomain string
	// ImplicitTLS speaks TLS from the first byte (port 465 smart hosts).
	// Defaults to false.
	ImplicitTLS bool
	// RootCAs are the authorities that may vouch for the next hop, with
	// TLSCertificateValidation and TLSDomainValidation. Defaults to the
	// system's.
	RootCAs *x509.CertPool
	// Certificates are what the relay shows a next hop that asks who it is,
	// with their private keys. Defaults to none.
	Certificates []tls.Certificate
	// Username and Password log on to the smart host. TLSDomainValidation alone
	// makes sure that it is the smart host who gets them: it is required,
	// unless AllowUnverifiedAuth or AllowPlaintextAuth is set.
	Username, Password string
	// AllowUnverifiedAuth sends the password to a host that has not proved its
	// name, inside TLS. Defaults to false.
	AllowUnverifiedAuth bool
	// AllowPlaintextAuth sends the password without TLS, and to whoever
	// answers. Defaults to false.
	AllowPlaintextAuth bool
	// FQDN is the name in EHLO. Defaults to the relay's host name.
	FQDN string
	// MaxMessageBytes bounds a message, in octets; a larger one is for another
	// connector. Defaults to no limit.
	MaxMessageBytes int64
	// MaxConnections bounds the connections to this connector's next hop.
	// Defaults to 20.
	MaxConnections int
	// MessagesPerConnection ends a connection after that many messages.
	// Negative: no limit. Defaults to 20.
	MessagesPerConnection int
	// Disabled takes the connector out of use. It is still checked. Defaults to
	// false.
	Disabled bool
}

// WithDefaults returns c with the default of Port, MaxConnections and
// MessagesPerConnection filled in. No limit is returned as -1.
func (c SendConnector) WithDefaults() SendConnector {
	port := 25
	if c.ImplicitTLS {
		port = 465 // RFC 8314 section 7.3
	}
	c.Port = bounded(c.Port, port)
	c.MaxConnections = bounded(c.MaxConnections, 20)
	c.MessagesPerConnection = orOff(c.MessagesPerConnection, 20)
	return c
}

// String returns the name.
func (c SendConnector) String() string { return c.Name }

// GoString returns the name. It keeps the password out of %#v.
func (c SendConnector) GoString() string {
	return fmt.Sprintf("connector.SendConnector{Name:%q}", c.Name)
}

// LogValue returns the name.
func (c SendConnector) LogValue() slog.Value { return slog.StringValue(c.Name) }

// checkSmartHost checks "host", "host:port", "[IPv6]" or "[IPv6]:port", where
// host may be an IPv4 address.
func checkSmartHost(s string) error {
	if a, err := netip.ParseAddr(s); err == nil && a.Is6() {
		return fmt.Errorf("write IPv6 in brackets: [%s]", s)
	}
	host, port, hasPort := strings.Cut(s, ":")
	if inner, ok := strings.CutPrefix(s, "["); ok {
		var rest string
		if host, rest, ok = strings.Cut(inner, "]"); !ok {
			return errors.New("] is missing")
		}
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("%q is not an IP address", host)
		}
		if port, hasPort = strings.CutPrefix(rest, ":"); !hasPort && rest != "" {
			return errors.New("only :port may follow the ]")
		}
	} else if _, err := netip.ParseAddr(host); err != nil {
		if err := checkDomain(strings.TrimSuffix(host, ".")); err != nil {
			return err
		}
	}
	if hasPort {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("port %q is not a number from 1 to 65535", port)
		}
	}
	return nil
}

// Validate checks the connector by itself. The error holds every fault, joined
// with [errors.Join], each a *[FieldError] with a path such as "SmartHosts[0]".
func (c *SendConnector) Validate() error {
	var f faults
	if c == nil {
		f.in("")("", "nil send connector")
		return f.join()
	}
	c.validate(f.in(""))
	return f.join()
}

func (c *SendConnector) validate(fault report) {
	checkName(fault, c.Name)
	c.validateSpaces(fault)
	for i, h := range c.SmartHosts {
		if err := checkSmartHost(h); err != nil {
			fault(fmt.Sprintf("SmartHosts[%d]", i), "%q: %w", h, err)
		}
	}
	if c.Port < 0 || c.Port > 65535 {
		fault("Port", "%d is out of range; use 1 to 65535", c.Port)
	}
	c.validateTLS(fault)
	c.validateCredentials(fault)
	if c.FQDN != "" {
		if err := checkDomain(c.FQDN); err != nil {
			fault("FQDN", "%q: %w", c.FQDN, err)
		}
	}
	if c.MaxMessageBytes < 0 {
		fault("MaxMessageBytes", "%d is negative; use 0 for no limit", c.MaxMessageBytes)
	}
	if c.MaxConnections < 0 {
		fault(
			"MaxConnections", "%d is negative; there is always a limit, 20 by default",
			c.MaxConnections,
		)
	}
}

func (c *SendConnector) validateSpaces(fault report) {
	if len(c.AddressSpaces) == 0 {
		fault("AddressSpaces", "missing; use * for all domains")
	}
	seen := make(map[string]bool, len(c.AddressSpaces))
	for i, a := range c.AddressSpaces {
		field := fmt.Sprintf("AddressSpaces[%d]", i)
		domain := canonicalDomain(a.Domain)
		if err := a.check(); err != nil {
			fault(field, "%q: %w", a.Domain, err)
		} else if seen[domain] {
			fault(field, "%q is listed twice; remove one", a.Domain)
		}
		seen[domain] = true
	}
}

func (c *SendConnector) validateTLS(fault report) {
	if _, ok := nameOf(c.TLS, tlsLevelWords()); !ok {
		fault(
			"TLS",
			"%d is no TLS level; valid are None, Opportunistic, EncryptionOnly, "+
				"CertificateValidation, DomainValidation",
			c.TLS,
		)
	}
	switch {
	case c.TLS != TLSDomainValidation:
		if c.TLSDomain != "" {
			fault(
				"TLSDomain",
				"has no effect with %s; set TLS to DomainValidation or leave TLSDomain empty",
				c.TLS,
			)
		}
	case c.TLSDomain != "":
		if err := checkDomain(c.TLSDomain); err != nil {
			fault("TLSDomain", "%q: %w", c.TLSDomain, err)
		}
	case len(c.SmartHosts) > 0:
		fault(
			"TLSDomain",
			"missing; DomainValidation with smart hosts needs the name in their certificates",
		)
	}
	if c.RootCAs != nil && c.TLS != TLSCertificateValidation && c.TLS != TLSDomainValidation {
		fault("RootCAs", "has no effect with %s; set TLS to DomainValidation", c.TLS)
	}
	for i, cert := range c.Certificates {
		if len(cert.Certificate) == 0 || cert.PrivateKey == nil {
			field := fmt.Sprintf("Certificates[%d]", i)
			fault(field, "the certificate or its private key is missing")
		}
	}
	if len(c.Certificates) > 0 && c.TLS == TLSNone {
		fault("Certificates", "has no effect with None; choose another TLS level")
	}
	if c.ImplicitTLS && c.TLS == TLSNone {
		fault("ImplicitTLS", "contradicts TLS None; choose another TLS level")
	}
	if c.ImplicitTLS && len(c.SmartHosts) == 0 {
		fault("ImplicitTLS", "needs smart hosts; mail exchangers do not speak it")
	}
}

func (c *SendConnector) validateCredentials(fault report) {
	if c.Username == "" {
		if c.Password != "" {
			fault("Username", "missing; there is a Password")
		}
		return
	}
	if c.Password == "" {
		fault("Password", "missing; there is a Username")
	}
	if len(c.SmartHosts) == 0 {
		fault("Username", "needs smart hosts; credentials are not for any mail exchanger")
	}
	switch {
	case c.AllowPlaintextAuth || len(c.SmartHosts) == 0:
	case c.TLS == TLSNone:
		fault(
			"Username",
			"needs TLS to be sent; choose another TLS level, or set AllowPlaintextAuth on a "+
				"network that nobody else can read",
		)
	case c.TLS != TLSDomainValidation && !c.AllowUnverifiedAuth:
		fault("Username", "the password would go to whoever answers; set TLS to DomainValidation "+
			"and TLSDomain to the name in the smart host's certificate, or set AllowUnverifiedAuth")
	}
}
