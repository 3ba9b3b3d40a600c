package relaytest

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
)

// Zone is a DNS in memory. It knows what it was told, and answers "no such
// host" about the rest. It fits relay.Config.Resolver. Its methods may be
// called from many goroutines. Make one with [NewZone].
type Zone struct {
	mu        sync.Mutex
	exchanges map[string][]*net.MX
	addresses map[string][]netip.Addr
	faults    map[string]error
}

// NewZone returns an empty Zone.
func NewZone() *Zone {
	return &Zone{
		exchanges: make(map[string][]*net.MX),
		addresses: make(map[string][]netip.Addr),
		faults:    make(map[string]error),
	}
}

// MX adds a mail exchanger to a domain. The name "." alone is a null MX
// (RFC 7505).
func (z *Zone) MX(domain string, preference uint16, host string) *Zone {
	z.mu.Lock()
	defer z.mu.Unlock()
	name := fold(domain)
	z.exchanges[name] = append(z.exchanges[name], &net.MX{Host: host, Pref: preference})
	return z
}

// Host adds addresses to a host name.
func (z *Zone) Host(name string, addresses ...string) *Zone {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, a := range addresses {
		key := fold(name)
		z.addresses[key] = append(z.addresses[key], netip.MustParseAddr(a))
	}
	return z
}

// Fail makes every question about a name fail for now, as a server that does
// not answer does. An empty cause mends it.
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

// LookupMX answers with the mail exchangers of a domain.
func (z *Zone) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if err := z.faults[fold(name)]; err != nil {
		return nil, err
	}
	known := z.exchanges[fold(name)]
	if len(known) == 0 {
		return nil, notFound(name)
	}
	list := make([]*net.MX, len(known))
	for i, m := range known {
		copied := *m
		list[i] = &copied
	}
	return list, nil
}

// LookupNetIP answers with the addresses of a host: those of the family that
// network names, "ip4" or "ip6", or with "ip" all.
func (z *Zone) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if err := z.faults[fold(host)]; err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, a := range z.addresses[fold(host)] {
		if network == "ip" || a.Is4() == (network == "ip4") {
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return nil, notFound(host)
	}
	return list, nil
}

func notFound(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func fold(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
