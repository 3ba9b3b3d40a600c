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

// xclient begins a new session on the connection, for the client that a listed
// host speaks for.
func (g *guard) xclient(arg string) {
	switch {
	case g.named():
		// Who is named may be behind a proxy that passes on what it says.
		g.refuse(Rejection{Stage: g.stage(), Reply: refusal(421, "4.7.0",
			"XCLIENT from a client that has been named, closing transmission channel")})
		return
	case !g.offersXClient():
		g.protocolError(refusal(550, "5.7.1", "Not authorized to use XCLIENT"))
		return
	case g.transaction != nil:
		g.protocolError(refusal(503, "5.5.1", "Mail transaction in progress"))
		return
	case !g.uselessCommand():
		return
	}
	c, ok := parseClaim(arg)
	if !ok {
		// Whoever speaks for others must not go on in its own name by mistake.
		g.protocolError(badParam())
		g.hangup, g.linger = true, true
		return
	}
	g.leave()
	was := g.sess
	g.sess = Session{
		ID: was.ID, Local: was.Local, Remote: was.Remote, Proxy: was.Remote,
		TLS: was.TLS, Connector: was.Connector,
	}
	c.apply(&g.sess)
	if was.TLS != nil {
		// A host does not lend its certificate to those it speaks for.
		state := *was.TLS
		state.PeerCertificates, state.VerifiedChains = nil, nil
		g.sess.TLS = &state
	}
	g.spoken = true
	g.exchange = nil
	g.reset()
	local := g.sess.Local
	if !g.pol.Connectors.HasBinding(local) {
		local = addrPort(g.raw.LocalAddr())
	}
	con, ok := g.pol.find(local, g.sess.Remote, g.sess.TLS == nil)
	r := refusal(421, "4.3.2", "Service not available for this client")
	if ok && isHost(g.sess.Remote.Addr()) {
		r = g.admit(con)
	}
	g.log.Debug("XCLIENT", "session", g.sess.ID, "proxy", was.Remote,
		"remote", g.sess.Remote.Addr(), "connector", g.sess.Connector.Name)
	if r != nil {
		g.refuse(Rejection{Stage: "connect", Reply: r})
		g.hangup = true
		return
	}
	if g.greet(); g.hangup {
		return
	}
	if c.helo != "" {
		// The client may introduce itself once more if it is refused that name.
		if r := g.introduce(c.helo, c.esmtp); r != nil && r.Code == 421 {
			g.refuse(Rejection{Stage: "helo", Reply: r})
			return
		}
	}
	g.handover = true
}

// named reports whether a listed host has told, by a PROXY header or XCLIENT,
// whom it speaks for. From then on what arrives may be that client's own words.
func (g *guard) named() bool { return g.sess.Proxy.IsValid() }

// offersXClient reports whether the other end may name a client.
func (g *guard) offersXClient() bool {
	return g.ext&extXClient != 0 && !g.named() && contains(g.pol.XClient, g.sess.Remote.Addr())
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
