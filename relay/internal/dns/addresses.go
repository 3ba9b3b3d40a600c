package dns

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/postern-mail/postern/relay/delivery"
)

// LookupNetIP returns the addresses of a host, those in the hosts file before
// those in the DNS; network is ip, ip4 or ip6.
func (r *Resolver) LookupNetIP(
	ctx context.Context, network, host string,
) (delivery.Answer[netip.Addr], error) {
	if list := r.known(host); len(list) > 0 {
		return local(network, host, list)
	}
	switch network {
	case "ip4":
		return r.family(ctx, host, dns.TypeA)
	case "ip6":
		return r.family(ctx, host, dns.TypeAAAA)
	}
	return r.both(ctx, host)
}

// LookupHost returns the addresses of a host of the configuration, to which the
// search list of resolv.conf applies.
func (r *Resolver) LookupHost(
	ctx context.Context, host string,
) (a delivery.Answer[netip.Addr], err error) {
	if list := r.known(host); len(list) > 0 { // before the search list comes in
		return local("ip", host, list)
	}
	for _, name := range r.client.settings.current().candidates(host) {
		a, err = r.LookupNetIP(ctx, "ip", name)
		if err == nil || !delivery.IsNotFound(err) {
			break
		}
	}
	return a, err
}

// known returns the addresses that need no question.
func (r *Resolver) known(host string) []netip.Addr {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if list := r.hosts.addresses(name); len(list) > 0 {
		return list
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") { // RFC 6761 section 6.3
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return nil
}

func local(
	network, host string, list []netip.Addr,
) (delivery.Answer[netip.Addr], error) {
	a := delivery.Answer[netip.Addr]{Name: host}
	for _, addr := range list {
		if network == "ip" || addr.Is4() == (network == "ip4") {
			a.Records = append(a.Records, addr)
		}
	}
	if len(a.Records) == 0 {
		return a, notFound(host, delivery.ErrNoRecords)
	}
	return a, nil
}

func (r *Resolver) family(
	ctx context.Context, host string, kind uint16,
) (delivery.Answer[netip.Addr], error) {
	p := r.lookUp(ctx, host, kind)
	return answer(host, p, slices.Clone(p.addresses))
}

// otherFamily is how long IPv6 addresses are waited for where there are IPv4
// ones: some servers never answer about those that do not exist.
const otherFamily = 2 * time.Second

// both asks for the addresses of both families at once. One family is enough;
// without any, a failure of one weighs more than the "not found" of the other.
func (r *Resolver) both(
	ctx context.Context, host string,
) (delivery.Answer[netip.Addr], error) {
	if name, ok := canonicalName(host); ok {
		r.begin(question{name, dns.TypeAAAA}) // does not wait for A
	}
	p4 := r.lookUp(ctx, host, dns.TypeA)
	if len(p4.addresses) > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, otherFamily)
		defer cancel()
	}
	p6 := r.lookUp(ctx, host, dns.TypeAAAA)
	a := delivery.Answer[netip.Addr]{
		Records: slices.Concat(p4.addresses, p6.addresses),
		Name:    cmp.Or(p4.name, p6.name, host),
	}
	// A failure says nothing about the addresses that are known: whoever makes
	// the one fail does not make the others doubtful.
	known := len(a.Records) > 0
	a.Authentic = (p4.authentic || known && p4.failed()) && (p6.authentic || known && p6.failed())
	switch {
	case known:
		return a, nil
	case p4.failed():
		return a, p4.err
	}
	return a, p6.err
}
