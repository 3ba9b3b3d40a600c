package connector

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"strings"
)

// Range is an inclusive range of addresses of one family. The zero Range holds
// nothing.
type Range struct{ From, To netip.Addr }

// AllIPv4 returns the range of every IPv4 address.
func AllIPv4() Range {
	return Range{netip.IPv4Unspecified(), netip.AddrFrom4([4]byte{255, 255, 255, 255})}
}

// AllIPv6 returns the range of every IPv6 address.
func AllIPv6() Range {
	var last [16]byte
	for i := range last {
		last[i] = 255
	}
	return Range{netip.IPv6Unspecified(), netip.AddrFrom16(last)}
}

// Everyone returns the ranges of every address, [AllIPv4] and [AllIPv6].
func Everyone() []Range { return []Range{AllIPv4(), AllIPv6()} }

// Loopback returns the ranges of this host: 127.0.0.0/8 and ::1.
func Loopback() []Range {
	return []Range{
		{netip.AddrFrom4([4]byte{127, 0, 0, 0}), netip.AddrFrom4([4]byte{127, 255, 255, 255})},
		{netip.IPv6Loopback(), netip.IPv6Loopback()},
	}
}

// ParseRange reads a single address ("192.0.2.1"), a block in CIDR notation,
// where bits outside the mask are ignored ("192.0.2.1/24"), or the first and
// last address ("192.0.2.1-192.0.2.9"). IPv6 is written likewise; an
// IPv4-mapped IPv6 address means the IPv4 address. Zones ("fe80::1%eth0") are
// refused, since a range is about the address a connection comes from and not
// about the interface.
func ParseRange(s string) (Range, error) {
	r, err := parseRange(strings.TrimSpace(s))
	if err != nil {
		return Range{}, fmt.Errorf("connector: invalid range %q: %w", s, err)
	}
	return r, nil
}

// MustParseRange is ParseRange for literals. It panics on error.
func MustParseRange(s string) Range {
	r, err := ParseRange(s)
	if err != nil {
		panic(err)
	}
	return r
}

func parseRange(s string) (Range, error) {
	if strings.Contains(s, "%") {
		return Range{}, errors.New("zones are not allowed; leave out the % and what follows it")
	}
	if strings.Contains(s, "/") {
		return parseBlock(s)
	}
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		to = from
	}
	var r Range
	var err error
	if r.From, err = parseAddr(from); err != nil {
		return Range{}, err
	}
	if r.To, err = parseAddr(to); err != nil {
		return Range{}, err
	}
	return r, r.check()
}

func parseAddr(s string) (netip.Addr, error) {
	s = strings.TrimSpace(s)
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is not an IP address", s)
	}
	return a.Unmap(), nil
}

func parseBlock(s string) (Range, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return Range{}, errors.New("not an address, a slash and the number of bits")
	}
	a, n := p.Addr(), p.Bits()
	if a.Is4In6() {
		if n < 96 {
			return Range{}, errors.New("an IPv4-mapped block needs at least 96 bits")
		}
		a, n = a.Unmap(), n-96
	}
	from := netip.PrefixFrom(a, n).Masked().Addr()
	to := lastOf(from, n)
	if to.Is4In6() {
		return Range{}, errors.New(
			"the block ends with the IPv4-mapped addresses, which count as IPv4; leave them out",
		)
	}
	return Range{from, to}, nil
}

// lastOf returns the last address of the block that starts at a.
func lastOf(a netip.Addr, n int) netip.Addr {
	b := a.As16()
	if a.Is4() {
		n += 96
	}
	for i := n; i < 128; {
		if i%8 == 0 {
			b[i/8] = 0xff
			i += 8
			continue
		}
		b[i/8] |= 0x80 >> (i % 8)
		i++
	}
	last := netip.AddrFrom16(b)
	if a.Is4() {
		return last.Unmap()
	}
	return last
}

// check says what is wrong with a range.
func (r Range) check() error {
	from, to := r.From.Unmap(), r.To.Unmap()
	switch {
	case !from.IsValid() || !to.IsValid():
		return errors.New("no address")
	case from.Zone() != "" || to.Zone() != "":
		return errors.New("zones are not allowed")
	case from.Is4() != to.Is4():
		return fmt.Errorf("%s and %s are of different families", from, to)
	case to.Less(from):
		return fmt.Errorf("the last address %s is below the first %s; swap them", to, from)
	}
	return nil
}

// IsValid reports whether r holds at least one address: both ends are set, of
// one family, in order and without a zone.
func (r Range) IsValid() bool { return r.check() == nil }

// Contains reports whether a is in the range. An IPv4-mapped IPv6 address
// counts as the IPv4 address, and a zone is ignored.
func (r Range) Contains(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	from, to := r.From.Unmap(), r.To.Unmap()
	return a.IsValid() && r.IsValid() && a.Is4() == from.Is4() && !a.Less(from) && !to.Less(a)
}

// String prints a single address, a block in CIDR notation where r is one,
// and otherwise the first and last address.
func (r Range) String() string {
	if !r.IsValid() {
		return "invalid range"
	}
	from, to := r.From.Unmap(), r.To.Unmap()
	if from == to {
		return from.String()
	}
	if n, ok := blockBits(from, to); ok {
		return netip.PrefixFrom(from, n).String()
	}
	return from.String() + "-" + to.String()
}

// blockBits returns the prefix length of the block from-to, if it is one.
func blockBits(from, to netip.Addr) (int, bool) {
	n := commonBits(number(from), number(to))
	if from.Is4() {
		n -= 96
	}
	p := netip.PrefixFrom(from, n)
	return n, p.Masked().Addr() == from && lastOf(from, n) == to
}

func commonBits(a, b uint128) int {
	if x := a.hi ^ b.hi; x != 0 {
		return bits.LeadingZeros64(x)
	}
	return 64 + bits.LeadingZeros64(a.lo^b.lo)
}

// MarshalText prints r as [Range.String] does. It fails for an invalid range.
func (r Range) MarshalText() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("connector: invalid range: %w", err)
	}
	return []byte(r.String()), nil
}

// UnmarshalText reads what [ParseRange] reads.
func (r *Range) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRange(string(text))
	return err
}
