package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay/internal/outbound"
)

// NextHop is a Transport to fixed hosts by SMTP or LMTP, for
// [Config].Mailboxes and [Config].Transport.
type NextHop struct {
	// Hosts are host or host:port, used in turn, with fail-over to the next.
	// Required.
	Hosts []string
	// LMTP speaks RFC 2033 instead of SMTP. Defaults to false.
	LMTP bool
	// Port is used where a host names none. Defaults to 25, with LMTP to 24.
	Port int
	// TLS is what is asked of the host. Defaults to TLSOpportunistic.
	TLS connector.TLSLevel
	// TLSDomain is the certificate name for TLSDomainValidation.
	TLSDomain string
	// RootCAs are the authorities that may vouch for the host, with
	// TLSCertificateValidation and TLSDomainValidation. Defaults to the
	// system's.
	RootCAs *x509.CertPool
	// Certificates are what the relay shows a host that asks who it is, with
	// their private keys. Defaults to none.
	Certificates []tls.Certificate
	// MaxConnections bounds the connections. Defaults to 20.
	MaxConnections int
}

var errNotBound = errors.New("relay: a NextHop works only inside a relay")

// Deliver answers an error: a NextHop works only as a part of a [Config], whose
// relay lends it its client and its connections.
func (n *NextHop) Deliver(_ context.Context, a *Attempt) []Result {
	return failed(a, errNotBound)
}

func (n *NextHop) hop(key, hostname string) (*outbound.NextHop, error) {
	var faults []error
	if len(n.Hosts) == 0 {
		faults = append(
			faults,
			&connector.FieldError{Field: "Hosts", Err: errors.New("at least one host is required")},
		)
	}
	hosts := make([]string, len(n.Hosts))
	for i, h := range n.Hosts {
		host, port, err := net.SplitHostPort(h)
		if err != nil {
			hosts[i] = wireName(h)
		} else if hosts[i] = h; wireName(host) != host {
			hosts[i] = net.JoinHostPort(wireName(host), port)
		}
		if h == "" || err == nil && !isPort(port) || !isText(hosts[i]) {
			faults = append(faults, &connector.FieldError{
				Field: "Hosts[" + strconv.Itoa(i) + "]", Err: errors.New("not host or host:port"),
			})
		}
	}
	if n.TLS == connector.TLSDomainValidation && n.TLSDomain == "" {
		faults = append(
			faults,
			&connector.FieldError{
				Field: "TLSDomain", Err: errors.New("required with TLSDomainValidation"),
			},
		)
	}
	validates := n.TLS == connector.TLSCertificateValidation
	validates = validates || n.TLS == connector.TLSDomainValidation
	if n.RootCAs != nil && !validates {
		err := fmt.Errorf("has no effect with %s; set TLS to DomainValidation", n.TLS)
		faults = append(faults, &connector.FieldError{Field: "RootCAs", Err: err})
	}
	domain := wireName(n.TLSDomain)
	if name, err := domains.ParseDomain(domain); domain != "" && (err != nil || name[0] == '[') {
		faults = append(faults, &connector.FieldError{
			Field: "TLSDomain", Err: errors.New("not the name of a host"),
		})
	}
	port := 25
	if n.LMTP {
		port = 24
	}
	return &outbound.NextHop{
		Key:            key,
		Hosts:          hosts,
		Port:           orDefault(n.Port, port),
		LMTP:           n.LMTP,
		TLS:            n.TLS,
		TLSDomain:      domain,
		RootCAs:        n.RootCAs,
		Certificates:   n.Certificates,
		Helo:           hostname,
		MaxConnections: orDefault(n.MaxConnections, defaultConnections),
	}, errors.Join(faults...)
}

// isText reports whether a name is ASCII without white space and control
// characters.
func isText(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// smtpTransport delivers by the relay's client.
type smtpTransport struct {
	client *outbound.Client
	hop    *outbound.NextHop
	signer *signer
}

// Deliver makes one transaction.
func (t *smtpTransport) Deliver(ctx context.Context, a *Attempt) []Result {
	rcpts := make([]outbound.Recipient, len(a.Recipients))
	for i, r := range a.Recipients {
		rcpts[i] = outbound.Recipient{
			Address: r.Address, ASCII: inASCII(r.Address), ORCPT: r.Original,
		}
		if r.Notify != 0 {
			rcpts[i].Notify = r.Notify.String()
		}
	}
	m := &a.Message
	var own outbound.Signatures
	if m.Signatures > 0 {
		own = &ownSignatures{signer: t.signer, id: a.QueueID, n: m.Signatures}
	}
	got := t.client.Deliver(ctx, &outbound.Request{
		ID:         a.QueueID,
		Hop:        t.hop,
		From:       m.From,
		FromASCII:  inASCII(m.From),
		Recipients: rcpts,
		EnvelopeID: m.EnvelopeID,
		Return:     m.Return,
		Body:       m.Body,
		UTF8:       m.UTF8,
		Size:       m.Size,
		Open:       a.Open,
		Signatures: own,
	})
	results := make([]Result, len(got))
	for i := range got {
		results[i] = resultOf(&got[i])
	}
	return results
}

// inASCII gives another spelling of an address, for a host without SMTPUTF8. It
// is empty where there is none, or none is needed.
func inASCII(address string) string {
	if !strings.ContainsFunc(address, func(r rune) bool { return r >= utf8.RuneSelf }) {
		return ""
	}
	a, err := domains.Parse(address)
	if err != nil {
		return ""
	}
	s, ok := a.ASCII()
	if !ok {
		return ""
	}
	return s
}

func resultOf(r *outbound.Result) Result {
	if r.Outcome == outbound.Delivered {
		return Result{
			Host: r.Host, Reply: strconv.Itoa(r.Code) + " " + r.Enhanced + " " + r.Text, DSN: r.DSN,
		}
	}
	return Result{Host: r.Host, Err: &DeliveryError{
		Op: r.Op, Host: r.Host, Code: r.Code, Enhanced: r.Enhanced, Text: r.Text, Err: r.Err,
		Permanent: r.Outcome == outbound.Permanent,
	}}
}
