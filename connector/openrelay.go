package connector

import (
	"cmp"
	"net/netip"
	"slices"
)

// A connector may let anonymous sessions relay for at most this many public
// addresses: the size of the largest blocks that a single organization
// holds. IPv6 is counted in networks of 64 bits.
const (
	maxRelayIPv4 = 1 << (32 - 8)  // a /8
	maxRelayIPv6 = 1 << (64 - 16) // a /16
)

// validateRelay refuses to relay for everyone. It looks at what a session
// may do that has shown nothing, wherever that right came from.
func (c *Connector) validateRelay(fault report) {
	if c.OpenRelay || !c.Rights(Subject{}).Has(AcceptAnyRecipient) {
		return
	}
	v4, v6 := publicAddresses(c.RemoteIPRanges)
	var what string
	switch {
	case v4 > maxRelayIPv4:
		what = "more public IPv4 addresses than a /8 block holds"
	case v6 > maxRelayIPv6:
		what = "more public IPv6 addresses than a /16 block holds"
	default:
		return
	}
	who := Anonymous
	if c.AuthMechanisms.Has(ExternalAuthoritative) {
		who = ExternallySecured
	}
	fault("RemoteIPRanges", "open relay: without logging on (principal %q), hosts in these "+
		"ranges may send to any recipient, "+
		"and the ranges hold %s; list only your own hosts, take away %s, or set OpenRelay",
		who, what, AcceptAnyRecipient)
}

// CheckTrusted checks ranges whose hosts are to be believed when they say for
// whom they speak, as proxies are. The error holds every fault, joined with
// [errors.Join], each a *[postern.FieldError] with a path such as "[0]": ranges
// that hold no address, and ranges that together hold more public addresses
// than a connector may relay for without being an open relay.
func CheckTrusted(ranges []Range) error {
	var f faults
	fault := f.in("")
	for i, r := range ranges {
		if err := r.check(); err != nil {
			fault(itemField(i), "%w", err)
		}
	}
	if v4, v6 := publicAddresses(ranges); v4 > maxRelayIPv4 || v6 > maxRelayIPv6 {
		fault("", "these ranges hold more than a /8 block of public IPv4 or a /16 block of "+
			"public IPv6 addresses, "+
			"and any host in them could claim to be any other; list only your own")
	}
	return f.join()
}

// block is an inclusive range of numbers.
type block struct{ from, to uint64 }

// publicAddresses returns how many public IPv4 addresses and how many public
// IPv6 networks of 64 bits the ranges hold, counting each once.
func publicAddresses(ranges []Range) (v4, v6 uint64) {
	var four, six []block
	for _, r := range ranges {
		if !r.IsValid() {
			continue
		}
		from, to := r.From.Unmap(), r.To.Unmap()
		if from.Is4() {
			four = append(four, block{number(from).lo, number(to).lo})
		} else {
			six = append(six, block{number(from).hi, number(to).hi})
		}
	}
	return countPublic(four, notPublicIPv4()), countPublic(six, notPublicIPv6())
}

// notPublicIPv4 returns the blocks that are not routed on the Internet (RFC
// 6890).
func notPublicIPv4() []block {
	var list []block
	for _, p := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
		"172.16.0.0/12", "192.168.0.0/16", "224.0.0.0/3",
	} {
		r := netip.MustParsePrefix(p)
		list = append(list, block{number(r.Addr()).lo, number(lastOf(r.Addr(), r.Bits())).lo})
	}
	return list
}

// notPublicIPv6 returns everything outside 2000::/3, the only block that is
// handed out for global unicast (RFC 4291 section 2.4).
func notPublicIPv6() []block {
	return []block{{0, 1<<61 - 1}, {1 << 62, 1<<64 - 1}}
}

// countPublic returns how many numbers the blocks hold together, leaving out
// those in the second list.
func countPublic(blocks, notPublic []block) uint64 {
	slices.SortFunc(blocks, func(a, b block) int { return cmp.Compare(a.from, b.from) })
	var total uint64
	covered := false
	var end uint64 // last number counted so far, when covered
	for _, b := range blocks {
		if covered {
			if b.to <= end {
				continue
			}
			b.from = max(b.from, end+1)
		}
		covered, end = true, b.to
		for _, n := range notPublic {
			if from, to := max(b.from, n.from), min(b.to, n.to); from <= to {
				total -= to - from + 1
			}
		}
		total += b.to - b.from + 1
	}
	return total
}
