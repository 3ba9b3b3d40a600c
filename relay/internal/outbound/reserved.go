package outbound

import "net/netip"

// public tells whether an address is one that the DNS of strangers may send
// this host to: neither loopback, link-local, private (RFC 1918, RFC 4193),
// shared (RFC 6598), multicast nor unspecified, nor one of those in another
// form.
func public(a netip.Addr) bool {
	if a = embedded(a.Unmap()); a.Is4() {
		return publicIPv4(a.As4())
	}
	b := a.As16()
	siteLocal := b[0] == 0xfe && b[1]&0xc0 == 0xc0                              // RFC 3879
	localNAT64 := [6]byte(b[:6]) == [6]byte{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01} // RFC 8215
	return !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() &&
		!a.IsLinkLocalUnicast() && !a.IsPrivate() && !siteLocal && !localNAT64
}

func publicIPv4(b [4]byte) bool {
	switch b[0] {
	case 0, 10, 127:
		return false
	case 100:
		return b[1]&0xc0 != 64
	case 169:
		return b[1] != 254
	case 172:
		return b[1]&0xf0 != 16
	case 192:
		return b[1] != 168 && (b[1] != 0 || b[2] != 0) // RFC 6890
	case 198:
		return b[1]&0xfe != 18 // RFC 2544
	}
	return b[0] < 224
}

// embedded gives the IPv4 address that an IPv6 address leads to, through a
// translator (64:ff9b::/96, RFC 6052), 6to4 (RFC 3056) or as IPv4-compatible
// address (RFC 4291 section 2.5.5.1), and any other address as it is.
func embedded(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	b := a.As16()
	switch {
	case [12]byte(b[:12]) == [12]byte{0x00, 0x64, 0xff, 0x9b}:
		return netip.AddrFrom4([4]byte(b[12:]))
	case [12]byte(b[:12]) == [12]byte{} && !a.IsUnspecified() && !a.IsLoopback():
		return netip.AddrFrom4([4]byte(b[12:]))
	case b[0] == 0x20 && b[1] == 0x02:
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return a
}
