package smtpd

import (
	"net/netip"
	"strconv"
	"strings"
)

// XCLIENT is Postfix's: https://www.postfix.org/XCLIENT_README.html. LOGIN is
// not among the attributes: a user is whoever has logged on here.
const xclientAttributes = " NAME ADDR PORT PROTO HELO DESTADDR DESTPORT"

// claim is what XCLIENT tells of a client. What is not told stays as it was.
type claim struct {
	addr, destAddr netip.Addr
	port, destPort uint16
	hasPort        bool
	hasDestPort    bool
	helo           string
	esmtp          bool
}

func (c *claim) apply(s *Session) {
	if c.addr.IsValid() {
		s.Remote = netip.AddrPortFrom(c.addr, 0)
	}
	if c.hasPort {
		s.Remote = netip.AddrPortFrom(s.Remote.Addr(), c.port)
	}
	if c.destAddr.IsValid() {
		s.Local = netip.AddrPortFrom(c.destAddr, s.Local.Port())
	}
	if c.hasDestPort {
		s.Local = netip.AddrPortFrom(s.Local.Addr(), c.destPort)
	}
}

// parseClaim reads the argument of XCLIENT.
func parseClaim(arg string) (c claim, ok bool) {
	seen := 0
	r := params(arg, func(key, value string) *Reply {
		value, err := xtext(value)
		seen++
		unknown := strings.EqualFold(value, "[UNAVAILABLE]") ||
			strings.EqualFold(value, "[TEMPUNAVAIL]")
		ok := err == nil && printable(value)
		switch key {
		case "NAME": // of no use here: it proves nothing
		case "ADDR":
			// Without an address the session belongs nowhere.
			c.addr = netip.IPv4Unspecified()
			if !unknown {
				c.addr, ok = parseAddr(value)
			}
		case "DESTADDR":
			if !unknown {
				c.destAddr, ok = parseAddr(value)
			}
		case "PORT":
			if !unknown {
				c.port, ok = parsePort(value)
				c.hasPort = ok
			}
		case "DESTPORT":
			if !unknown {
				c.destPort, ok = parsePort(value)
				c.hasDestPort = ok
			}
		case "PROTO":
			c.esmtp = strings.EqualFold(value, "ESMTP")
			ok = unknown || c.esmtp || strings.EqualFold(value, "SMTP")
		case "HELO":
			if !unknown {
				c.helo, ok = value, validHelo(value)
			}
		default:
			ok = false
		}
		if !ok {
			return badParam()
		}
		return nil
	})
	return c, r == nil && seen > 0
}

// parseAddr reads an IPv4 address, or an IPv6 one with or without the prefix
// IPV6:.
func parseAddr(s string) (netip.Addr, bool) {
	if len(s) > 5 && strings.EqualFold(s[:5], "IPV6:") {
		s = s[5:]
	}
	a, err := netip.ParseAddr(s)
	a = a.Unmap()
	return a, err == nil && a.Zone() == "" && isHost(a)
}

func parsePort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil
}
