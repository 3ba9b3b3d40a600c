package connector

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// NextHop says where mail goes and how: to fixed hosts or to the mail
// exchangers of a domain, by SMTP or LMTP. Printed or logged it shows its hosts
// only, never the password or a token.
type NextHop struct {
	// Hosts are smart hosts: host or host:port, IP addresses allowed, IPv6 in
	// brackets. They are used in turn, with fail-over to the next. Defaults to
	// the mail exchangers of the recipient's domain.
	Hosts []string
	// Port is used where a host names none, and for mail exchangers. Defaults
	// to 25, to 465 with ImplicitTLS and to 24 with LMTP.
	Port int
	// LMTP speaks RFC 2033 instead of SMTP. It needs Hosts. Defaults to false.
	LMTP bool
	// AllowPrivateAddresses lets mail exchangers and address literals be at
	// loopback, link-local, private and shared addresses too: for networks with
	// a DNS of their own. Hosts may be anywhere. Defaults to false.
	AllowPrivateAddresses bool
	// TLS is what is asked of the host. Defaults to TLSOpportunistic.
	TLS TLSLevel
	// TLSDomain is the name that the certificate must have with
	// TLSDomainValidation. Required there with Hosts. Defaults to the
	// recipient's domain for mail exchangers.
	TLSDomain string
	// ImplicitTLS speaks TLS from the first byte, as hosts do at port 465. It
	// needs Hosts. Defaults to false.
	ImplicitTLS bool
	// RootCAs are the authorities that may vouch for the host, with
	// TLSCertificateValidation and TLSDomainValidation. Defaults to the
	// system's.
	RootCAs *x509.CertPool
	// Certificates are what the relay shows a host that asks who it is, with
	// their private keys. Without Password and Tokens they log on to Hosts that
	// offer AUTH EXTERNAL: to all, and as Username, if there is one. Defaults
	// to none.
	Certificates []tls.Certificate
	// Username and Password log on to Hosts. TLSDomainValidation alone makes
	// sure that it is the host who gets them: it is required, unless
	// AllowUnverifiedAuth or AllowPlaintextAuth is set. Defaults to no logon.
	Username, Password string
	// Tokens log on to Hosts as Username by OAuth 2.0, in the place of a
	// Password and under the same conditions. Next hops share connections only
	// if they have the same source, which must be comparable, such as a
	// pointer. Defaults to none.
	Tokens TokenSource
	// AllowUnverifiedAuth sends the password or token to a host that has not
	// proved its name, inside TLS. Defaults to false.
	AllowUnverifiedAuth bool
	// AllowPlaintextAuth sends the password or token without TLS, and to
	// whoever answers. Defaults to false.
	AllowPlaintextAuth bool
	// FQDN is the name in EHLO. Defaults to the relay's host name.
	FQDN string
	// SourceAddress is the local address that connections are made from, and
	// says which of a host's addresses are of use: those of its family.
	// Defaults to the choice of the system.
	SourceAddress netip.Addr
	// MaxConnections bounds the connections to Hosts, or to the mail exchangers
	// of each domain; domains that have the same ones share them. They are as
	// many only while the host answers quickly. Defaults to 20.
	MaxConnections int
	// MessagesPerConnection ends a connection after that many messages.
	// Negative: no limit. Defaults to 100.
	MessagesPerConnection int
	// ConnectionAge ends a connection after the message during which it becomes
	// that old, at most 24 hours. Defaults to 5 minutes.
	ConnectionAge time.Duration
	// IdleTimeout ends a connection that is not used for that long, at most 24
	// hours. Defaults to 5 seconds.
	IdleTimeout time.Duration
}

// WithDefaults returns h with the default of Port, of MaxConnections and of
// what ends a connection filled in. No limit is returned as -1.
func (h NextHop) WithDefaults() NextHop {
	port := 25
	switch {
	case h.ImplicitTLS:
		port = 465 // RFC 8314 section 7.3
	case h.LMTP:
		port = 24
	}
	h.Port = bounded(h.Port, port)
	h.MaxConnections = bounded(h.MaxConnections, 20)
	h.MessagesPerConnection = orOff(h.MessagesPerConnection, 100)
	h.ConnectionAge = bounded(h.ConnectionAge, 5*time.Minute)
	h.IdleTimeout = bounded(h.IdleTimeout, 5*time.Second)
	return h
}

// String returns the hosts, or "MX".
func (h NextHop) String() string {
	if len(h.Hosts) == 0 {
		return "MX"
	}
	return strings.Join(h.Hosts, ", ")
}

// GoString returns the hosts. It keeps the password out of %#v.
func (h NextHop) GoString() string { return fmt.Sprintf("connector.NextHop{Hosts:%q}", h.Hosts) }

// LogValue returns what String does.
func (h NextHop) LogValue() slog.Value { return slog.StringValue(h.String()) }

// Validate checks the next hop by itself. The error holds every fault, joined
// with [errors.Join], each a *[postern.FieldError] with a path such as
// "Hosts[0]".
func (h *NextHop) Validate() error {
	var f faults
	if h == nil {
		f.in("")("", "nil next hop")
		return f.join()
	}
	h.validate(f.in(""))
	return f.join()
}

func (h *NextHop) validate(fault report) {
	for i, host := range h.Hosts {
		if err := checkHost(host); err != nil {
			fault(fmt.Sprintf("Hosts[%d]", i), "%q: %w", host, err)
		}
	}
	if h.Port < 0 || h.Port > 65535 {
		fault("Port", "%d is out of range; use 1 to 65535", h.Port)
	}
	if h.LMTP && len(h.Hosts) == 0 {
		fault("LMTP", "needs smart hosts; mail exchangers do not speak it")
	}
	h.validateTLS(fault)
	h.validateCredentials(fault)
	if h.FQDN != "" {
		if err := checkDomain(h.FQDN); err != nil {
			fault("FQDN", "%q: %w", h.FQDN, err)
		}
	}
	h.validateConnections(fault)
}

func (h *NextHop) validateConnections(fault report) {
	if h.MaxConnections < 0 {
		fault(
			"MaxConnections", "%d is negative; there is always a limit, 20 by default",
			h.MaxConnections,
		)
	}
	checkSpan(fault, "ConnectionAge", h.ConnectionAge, "5 minutes")
	checkSpan(fault, "IdleTimeout", h.IdleTimeout, "5 seconds")
	h.validateSource(fault)
}

func checkSpan(fault report, field string, d time.Duration, usual string) {
	if d < 0 || d > 24*time.Hour {
		fault(field, "%v is out of range; use up to 24 hours, or 0 for %s", d, usual)
	}
}

func (h *NextHop) validateSource(fault report) {
	a := h.SourceAddress
	switch {
	case !a.IsValid():
		return
	case a.IsUnspecified():
		fault("SourceAddress", "%v is no address of a host; leave it out for any", a)
	case a.IsMulticast():
		fault("SourceAddress", "%v is a multicast address; use one of this host", a)
	case a.Is4In6():
		fault("SourceAddress", "%v is IPv4 in IPv6; write %v", a, a.Unmap())
	}
	for i, host := range h.Hosts {
		if ip, ok := addressIn(host); ok && ip.Is4() != a.Is4() {
			fault(fmt.Sprintf("Hosts[%d]", i), "%q cannot be reached from SourceAddress %v; "+
				"both must be IPv4, or both IPv6", host, a)
		}
	}
}

// addressIn returns the IP address that a host is given by, if it is one.
func addressIn(host string) (netip.Addr, bool) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return a.Unmap(), err == nil
}

// checkHost checks "host", "host:port", "[IPv6]" or "[IPv6]:port", where
// host may be an IPv4 address.
func checkHost(s string) error {
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
		// Hosts of a network of one's own may have underscores in their names.
		host = strings.ReplaceAll(strings.TrimSuffix(host, "."), "_", "x")
		if err := checkDomain(host); err != nil {
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

func (h *NextHop) validateTLS(fault report) {
	if _, ok := nameOf(h.TLS, tlsLevelWords()); !ok {
		fault(
			"TLS",
			"%d is no TLS level; valid are None, Opportunistic, EncryptionOnly, "+
				"CertificateValidation, DomainValidation",
			h.TLS,
		)
	}
	switch {
	case h.TLS != TLSDomainValidation:
		if h.TLSDomain != "" {
			fault(
				"TLSDomain",
				"has no effect with %s; set TLS to DomainValidation or leave TLSDomain empty",
				h.TLS,
			)
		}
	case h.TLSDomain != "":
		if err := checkDomain(h.TLSDomain); err != nil {
			fault("TLSDomain", "%q: %w", h.TLSDomain, err)
		}
	case len(h.Hosts) > 0:
		fault(
			"TLSDomain",
			"missing; DomainValidation with smart hosts needs the name in their certificates",
		)
	}
	if h.RootCAs != nil && h.TLS != TLSCertificateValidation && h.TLS != TLSDomainValidation {
		fault("RootCAs", "has no effect with %s; set TLS to DomainValidation", h.TLS)
	}
	for i, cert := range h.Certificates {
		if len(cert.Certificate) == 0 || cert.PrivateKey == nil {
			field := fmt.Sprintf("Certificates[%d]", i)
			fault(field, "the certificate or its private key is missing")
		}
	}
	if len(h.Certificates) > 0 && h.TLS == TLSNone {
		fault("Certificates", "has no effect with None; choose another TLS level")
	}
	if h.ImplicitTLS && h.TLS == TLSNone {
		fault("ImplicitTLS", "contradicts TLS None; choose another TLS level")
	}
	if h.ImplicitTLS && len(h.Hosts) == 0 {
		fault("ImplicitTLS", "needs smart hosts; mail exchangers do not speak it")
	}
}
