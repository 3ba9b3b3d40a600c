package connector

import (
	"encoding/binary"
	"net/netip"
)

// uint128 is an address as a number; an IPv4 address has hi 0.
type uint128 struct{ hi, lo uint64 }

func number(a netip.Addr) uint128 {
	if a.Is4() {
		b := a.As4()
		return uint128{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return uint128{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (a uint128) less(b uint128) bool { return a.hi < b.hi || a.hi == b.hi && a.lo < b.lo }

func (a uint128) compare(b uint128) int {
	switch {
	case a.less(b):
		return -1
	case b.less(a):
		return 1
	}
	return 0
}

// next returns a+1; the largest number becomes zero.
func (a uint128) next() uint128 {
	a.lo++
	if a.lo == 0 {
		a.hi++
	}
	return a
}
