package delivery

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
)

var (
	errNoSender = errors.New("delivery: SMTP works only in an Attempt made by a relay")
	errNoHosts  = errors.New("at least one host is required; " +
		"mail exchangers are for a send connector")
)

// SMTP returns a Transport to fixed hosts by SMTP or LMTP: it lets the Sender
// of the Attempt do the work. So it works wherever a relay's Attempt comes by:
// in a Config, behind middleware, and inside a Transport of the application's
// that gives it some of the recipients. U-labels in names of hosts are put in
// their A-labels. A hop without Hosts, or with faults, fails for now;
// relay.New reports them where the Transport stands in its Config unwrapped.
func SMTP(hop connector.NextHop) Transport {
	hop.Hosts = slices.Clone(hop.Hosts)
	for i, h := range hop.Hosts {
		hop.Hosts[i] = hostName(h)
	}
	hop.TLSDomain, hop.FQDN = wireName(hop.TLSDomain), wireName(hop.FQDN)
	s := &smtp{hop: hop}
	s.fault = s.check()
	return s
}

type smtp struct {
	hop   connector.NextHop
	fault error
}

// Deliver implements [Transport].
func (s *smtp) Deliver(ctx context.Context, a *Attempt) []Result {
	switch {
	case a == nil:
		return nil
	case s.fault != nil:
		return a.All(Failed(&Error{Op: OpRoute, Err: s.fault}))
	case a.Sender == nil:
		return a.All(Failed(&Error{Op: OpRoute, Err: errNoSender}))
	}
	return a.Sender.Send(ctx, &s.hop, a)
}

// Validate returns the faults of the next hop.
func (s *smtp) Validate() error { return s.fault }

func (s *smtp) check() error {
	err := s.hop.Validate()
	if len(s.hop.Hosts) == 0 {
		err = errors.Join(&postern.FieldError{Field: "Hosts", Err: errNoHosts}, err)
	}
	return err
}

// hostName puts host or host:port in A-labels.
func hostName(s string) string {
	if host, port, err := net.SplitHostPort(s); err == nil && wireName(host) != host {
		return net.JoinHostPort(wireName(host), port)
	}
	return wireName(s)
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
