package smtpd

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/relay/internal/policy"
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
	r := params(arg, func(key, value string) *policy.Reply {
		seen++
		if !c.set(key, value) {
			return badParam()
		}
		return nil
	})
	return c, r == nil && seen > 0
}

// set takes an attribute. One that the other end does not know says nothing.
func (c *claim) set(key, value string) (ok bool) {
	value, err := xtext(value)
	known := !strings.EqualFold(value, "[UNAVAILABLE]") &&
		!strings.EqualFold(value, "[TEMPUNAVAIL]")
	switch {
	case key == "NAME": // of no use here: it proves nothing
		return err == nil && printable(value)
	case key == "ADDR" && !known:
		// Without an address the session belongs nowhere.
		c.addr = netip.IPv4Unspecified()
	case key == "ADDR":
		c.addr, ok = parseAddr(value)
		return ok
	case key == "PROTO":
		c.esmtp = strings.EqualFold(value, "ESMTP")
		return !known || c.esmtp || strings.EqualFold(value, "SMTP")
	case key == "DESTADDR" && known:
		c.destAddr, ok = parseAddr(value)
		return ok
	case key == "PORT" && known:
		c.port, c.hasPort = parsePort(value)
		return c.hasPort
	case key == "DESTPORT" && known:
		c.destPort, c.hasDestPort = parsePort(value)
		return c.hasDestPort
	case key == "HELO" && known:
		c.helo = value
		return validHelo(value)
	}
	return !known && slices.Contains(strings.Fields(xclientAttributes), key)
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
