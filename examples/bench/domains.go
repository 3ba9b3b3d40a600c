package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/miekg/dns"

	"github.com/postern-mail/postern/examples/internal/nameserver"
)

const (
	domainEnd    = ".example.net"
	exchangerTTL = 300
	hosts        = 16 // addresses that all mail exchangers share
	deadPart     = 100
)

// domainOf is a domain whose mail exchanger is at one of exchangersAt.
func domainOf(i int) string { return "d" + strconv.Itoa(i) + domainEnd }

// deadOf is a domain whose mail exchanger refuses connections.
func deadOf(i int) string { return "dead" + strconv.Itoa(i) + domainEnd }

// exchangersAt are the addresses of all mail exchangers, with the port of addr.
func exchangersAt(addr string) (all []string) {
	_, port, _ := net.SplitHostPort(addr)
	for i := range hosts {
		all = append(all, net.JoinHostPort(exchangerHost(i), port))
	}
	return all
}

func exchangerHost(i int) string { return "127.54.0." + strconv.Itoa(1+i%hosts) }

// places tells the address of a mail exchanger by the first label of its
// domain.
type places func(label string) string

// usual are the places of domainOf and deadOf.
func usual(label string) string {
	if strings.HasPrefix(label, "dead") {
		return "127.54.255.1"
	}
	i, err := strconv.Atoi(strings.TrimPrefix(label, "d"))
	if err != nil {
		return ""
	}
	return exchangerHost(i)
}

// hostOf is the mail exchanger of a domain with a label. Those of a kind have
// the end of their names in common.
func hostOf(label string) string {
	return label + "." + exchangersOf(strings.TrimRight(label, "0123456789"))
}

// exchangersOf is the end of the names of mail exchangers of a kind.
func exchangersOf(kind string) string { return "mx-" + kind + domainEnd }

// records gives each domain a mail exchanger of its own.
func (p places) records(name string, kind uint16) []dns.RR {
	head := dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: exchangerTTL}
	label, rest, _ := strings.Cut(strings.TrimSuffix(name, "."), ".")
	at := p(label)
	switch {
	case at == "":
	case kind == dns.TypeMX && "."+rest == domainEnd:
		return []dns.RR{&dns.MX{Hdr: head, Preference: 10, Mx: hostOf(label) + "."}}
	case kind == dns.TypeA && label+"."+rest == hostOf(label):
		return []dns.RR{&dns.A{Hdr: head, A: net.ParseIP(at)}}
	}
	return nil
}

// dns starts the DNS that those ask who pass mail on to h.
func (h *hop) dns(dir string, p places) error {
	s, err := nameserver.Start(p.records)
	if err != nil {
		return fmt.Errorf("the DNS server, which takes root: %w", err)
	}
	h.closes = append(h.closes, func() { _ = s.Stop() })
	h.resolv = filepath.Join(dir, "resolv.conf")
	return s.WriteConf(h.resolv)
}
