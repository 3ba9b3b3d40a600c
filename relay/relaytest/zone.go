package relaytest

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/postern-mail/postern/relay/delivery"
)

// maxAliases bounds the aliases on the way to a name.
const maxAliases = 8

// Zone is a DNS in memory. It knows what it was told, and answers "no such
// name" about the rest. It fits relay.Config.Resolver. Its methods may be
// called from many goroutines. Make one with [NewZone].
type Zone struct {
	mu     sync.Mutex
	names  map[string]*records
	faults map[string]error
	signed []string
}

// records are what a Zone has of a name.
type records struct {
	exchanges []*net.MX
	addresses []netip.Addr
	texts     []string
	tlsa      []delivery.TLSA
	pointers  []string
	alias     string
}

// NewZone returns an empty Zone.
func NewZone() *Zone {
	return &Zone{names: make(map[string]*records), faults: make(map[string]error)}
}

// MX adds a mail exchanger to a domain. The name "." alone is a null MX
// (RFC 7505).
func (z *Zone) MX(domain string, preference uint16, host string) *Zone {
	return z.add(domain, func(r *records) {
		r.exchanges = append(r.exchanges, &net.MX{Host: host, Pref: preference})
	})
}

// Host adds IP addresses to a host name. It panics if one is none.
func (z *Zone) Host(name string, addresses ...string) *Zone {
	parsed := make([]netip.Addr, len(addresses))
	for i, a := range addresses {
		parsed[i] = netip.MustParseAddr(a)
	}
	return z.add(name, func(r *records) { r.addresses = append(r.addresses, parsed...) })
}

// TXT adds a text to a name.
func (z *Zone) TXT(name, text string) *Zone {
	return z.add(name, func(r *records) { r.texts = append(r.texts, text) })
}

// TLSA adds what a host's certificate must be to a name such as
// _25._tcp.mx.example.com.
func (z *Zone) TLSA(name string, record delivery.TLSA) *Zone {
	return z.add(name, func(r *records) { r.tlsa = append(r.tlsa, record) })
}

// PTR adds a name to an IP address. It panics if it is none.
func (z *Zone) PTR(address, name string) *Zone {
	key := netip.MustParseAddr(address).Unmap().String()
	return z.add(key, func(r *records) { r.pointers = append(r.pointers, name) })
}

// Alias makes a name an alias of another (CNAME).
func (z *Zone) Alias(name, target string) *Zone {
	return z.add(name, func(r *records) { r.alias = target })
}

// Sign makes the answers about a domain and all names below it authentic, as
// DNSSEC does. An alias is authentic if both names are.
func (z *Zone) Sign(domain string) *Zone {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.signed = append(z.signed, fold(domain))
	return z
}

// Fail makes every question about a name fail for now, as a server that does
// not answer does (SERVFAIL). An empty cause mends it.
func (z *Zone) Fail(name, cause string) *Zone {
	z.mu.Lock()
	defer z.mu.Unlock()
	if cause == "" {
		delete(z.faults, fold(name))
		return z
	}
	z.faults[fold(name)] = &net.DNSError{Err: cause, Name: name, IsTemporary: true}
	return z
}

func (z *Zone) add(name string, to func(*records)) *Zone {
	z.mu.Lock()
	defer z.mu.Unlock()
	key := fold(name)
	if z.names[key] == nil {
		z.names[key] = new(records)
	}
	to(z.names[key])
	return z
}

// LookupMX answers with the mail exchangers of a domain.
func (z *Zone) LookupMX(
	_ context.Context, domain string,
) (delivery.Answer[*net.MX], error) {
	return lookUp(z, domain, func(r *records) []*net.MX {
		list := make([]*net.MX, len(r.exchanges))
		for i, m := range r.exchanges {
			copied := *m
			list[i] = &copied
		}
		return list
	})
}

// LookupNetIP answers with the addresses of a host: those of the family that
// network names, "ip4" or "ip6", or with "ip" all.
func (z *Zone) LookupNetIP(
	_ context.Context, network, host string,
) (delivery.Answer[netip.Addr], error) {
	return lookUp(z, host, func(r *records) (list []netip.Addr) {
		for _, a := range r.addresses {
			if network == "ip" || a.Is4() == (network == "ip4") {
				list = append(list, a)
			}
		}
		return list
	})
}

// LookupTXT answers with the texts of a name.
func (z *Zone) LookupTXT(_ context.Context, name string) (delivery.Answer[string], error) {
	return lookUp(z, name, func(r *records) []string { return slices.Clone(r.texts) })
}

// LookupTLSA answers with the TLSA records of a name.
func (z *Zone) LookupTLSA(
	_ context.Context, name string,
) (delivery.Answer[delivery.TLSA], error) {
	return lookUp(z, name, func(r *records) []delivery.TLSA { return slices.Clone(r.tlsa) })
}

// LookupPTR answers with the names of an address.
func (z *Zone) LookupPTR(
	_ context.Context, addr netip.Addr,
) (delivery.Answer[string], error) {
	return lookUp(z, addr.Unmap().String(), func(r *records) []string {
		return slices.Clone(r.pointers)
	})
}

// lookUp answers with what of returns of a name's records, behind its aliases.
func lookUp[T any](
	z *Zone, name string, of func(*records) []T,
) (answer delivery.Answer[T], err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	answer.Name, answer.Authentic = strings.TrimSuffix(name, "."), true
	for range maxAliases {
		key := fold(answer.Name)
		if err := z.faults[key]; err != nil {
			return delivery.Answer[T]{Name: answer.Name}, err
		}
		answer.Authentic = answer.Authentic && z.isSigned(key)
		r := z.names[key]
		switch {
		case r == nil:
			return answer, notFound(name, delivery.ErrNoName)
		case r.alias != "":
			answer.Name = strings.TrimSuffix(r.alias, ".")
			continue
		}
		if answer.Records = of(r); len(answer.Records) == 0 {
			return answer, notFound(name, delivery.ErrNoRecords)
		}
		return answer, nil
	}
	return answer, &net.DNSError{Err: "too many aliases", Name: name, IsTemporary: true}
}

func (z *Zone) isSigned(name string) bool {
	return slices.ContainsFunc(z.signed, func(domain string) bool {
		return name == domain || strings.HasSuffix(name, "."+domain)
	})
}

func notFound(name string, why error) error {
	return &net.DNSError{Err: why.Error(), Name: name, IsNotFound: true, UnwrapErr: why}
}

func fold(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
