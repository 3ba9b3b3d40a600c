package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/postern-mail/postern/relay/delivery"
)

var (
	errNoDomain = errors.New("domain has neither MX nor address records")
	errNoHost   = errors.New("host has no address")
	errLiteral  = errors.New("malformed address literal")
	errHost     = errors.New("malformed host")
	errPrivate  = errors.New("host has no address but private ones, which it may not have")
	errNoAnswer = errors.New("neither an answer nor an error from the resolver")
)

// endpoint is an address to connect to.
type endpoint struct {
	name    string // host as looked up, for TLS
	network string
	addr    string // for Dial
	shown   string // for results
	plain   bool   // without TLS, which broke
	line    *line  // to it, if it was dialled already
	login   *login // nil: nobody logs on
	// host is as listed, names are those to be taken for slow if it lets this
	// connection wait: none where there is no other to go to.
	host  string
	names []string
	// behind is how many addresses may still follow.
	behind int
}

// endpoints gives the addresses of one host.
func (c *Client) endpoints(
	ctx context.Context, h *hop, host string,
) ([]endpoint, *delivery.Error) {
	if path, ok := strings.CutPrefix(host, "unix:"); ok && h.smart() {
		return []endpoint{{name: "localhost", network: "unix", addr: path, shown: host}}, nil
	}
	name, port, ok := splitHost(host, h.Port, h.smart())
	switch {
	case !ok && h.smart():
		return nil, at(host, temporary(delivery.OpDNS, "4.4.4", errHost))
	case !ok:
		return nil, at(host, permanent(delivery.OpDNS, "5.1.3", errLiteral))
	}
	var addrs []netip.Addr
	if a, err := netip.ParseAddr(name); err == nil {
		addrs = []netip.Addr{a}
	} else {
		answer, err := c.lookUp(ctx, name, h.smart())
		if addrs = answer.Records; len(addrs) == 0 {
			return nil, noAddress(h, name, answer.Name, err)
		}
		if !h.smart() && name != h.domain && sameName(answer.Name, c.cfg.Hostname) {
			return nil, permanent(delivery.OpDNS, "5.4.6", errLoop) // an alias of this host
		}
	}
	addresses, failed := c.allowed(h, host, addrs, port)
	if failed != nil {
		return nil, failed
	}
	addresses = interleaved(addresses)
	c.deadLast(addresses)
	list := make([]endpoint, len(addresses))
	for i, a := range addresses {
		ip := strings.Trim(a[:strings.LastIndexByte(a, ':')], "[]")
		shown := name + " [" + ip + "]:" + strconv.Itoa(int(port))
		list[i] = endpoint{name: name, network: "tcp", addr: a, shown: shown}
	}
	return list, nil
}

// allowed gives the addresses of a host that may be spoken to. What an address
// literal says does not change; the addresses of a name may be mended.
func (c *Client) allowed(
	h *hop, host string, addrs []netip.Addr, port uint16,
) (list []string, failed *delivery.Error) {
	err, own, sure := errNoHost, false, false
	for _, a := range addrs {
		to := netip.AddrPortFrom(a.Unmap(), port)
		switch {
		case to.Addr().IsUnspecified() || to.Addr().IsMulticast():
		case h.SourceAddress.IsValid() && h.SourceAddress.Is4() != to.Addr().Is4():
			err = errFamily
		case !h.smart() && c.cfg.Own(to):
			own = true
			sure = sure || h.AllowPrivateAddresses || public(to.Addr())
		case !h.smart() && !h.AllowPrivateAddresses && !public(to.Addr()):
			err = errPrivate
		default:
			list = append(list, to.String())
		}
	}
	switch {
	case own && (sure || len(list) == 0): // a private address may be that of many
		return nil, permanent(delivery.OpDNS, "5.4.6", errLoop)
	case len(list) > 0:
		return list, nil
	case strings.HasPrefix(host, "[") && !h.smart():
		return nil, at(host, permanent(delivery.OpDNS, "5.1.2", err))
	}
	return nil, at(host, temporary(delivery.OpDNS, "4.4.4", err))
}

// lookUp asks for the addresses of a host.
func (c *Client) lookUp(
	ctx context.Context, host string, smart bool,
) (answer delivery.Answer[netip.Addr], err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	r, searches := c.cfg.Resolver.(interface {
		LookupHost(ctx context.Context, host string) (delivery.Answer[netip.Addr], error)
	})
	if smart && searches {
		answer, err = r.LookupHost(ctx, host)
	} else {
		answer, err = c.cfg.Resolver.LookupNetIP(ctx, "ip", host)
	}
	if len(answer.Records) == 0 && err == nil {
		err = errNoAnswer
	}
	return answer, err
}

// noAddress gives the result of a host that cannot be looked up. That a domain
// does not exist is final; a smart host or an exchanger that does not exist is
// somebody's mistake and may be mended, and so is an alias that leads nowhere.
func noAddress(h *hop, name, canonical string, err error) *delivery.Error {
	switch domain := !h.smart() && name == h.domain; {
	case !delivery.IsNotFound(err):
		return at(name, temporary(delivery.OpDNS, "4.4.3", err))
	case domain && canonical != "" && !sameName(canonical, name):
		err = fmt.Errorf("alias of %s, which has no address", canonical)
		return at(name, temporary(delivery.OpDNS, "4.4.3", err))
	case domain:
		return permanent(delivery.OpDNS, "5.1.2", errNoDomain)
	}
	return at(name, temporary(delivery.OpDNS, "4.4.4", errNoHost))
}

// splitHost reads host, host:port, an IP address, [address]:port, and of a
// recipient's domain the literals of RFC 5321 section 4.1.3.
func splitHost(host string, port int, smart bool) (name string, p uint16, ok bool) {
	if !smart {
		lit, bracket := strings.CutPrefix(host, "[")
		if bracket {
			lit, ok = strings.CutSuffix(lit, "]")
			if !ok {
				return "", 0, false
			}
			if len(lit) > 5 && strings.EqualFold(lit[:5], "IPv6:") {
				lit = lit[5:]
			}
			a, err := netip.ParseAddr(lit)
			if err != nil || a.Zone() != "" {
				return "", 0, false
			}
			host = a.String()
		}
	} else if h, text, err := net.SplitHostPort(host); err == nil {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return "", 0, false
		}
		host, port = h, int(n)
	} else if lit, bracket := strings.CutPrefix(host, "["); bracket {
		host, _ = strings.CutSuffix(lit, "]")
	}
	if host == "" || port <= 0 || port > 65535 || !fitWord(host) {
		return "", 0, false
	}
	return strings.TrimSuffix(host, "."), uint16(port), true
}

// interleaved puts addresses of both families in turn, that of the first ahead
// (RFC 8305 section 4).
func interleaved(list []string) []string {
	if len(list) < 3 {
		return list
	}
	is6 := func(addr string) bool { return addr[0] == '[' }
	first := is6(list[0])
	same, other := make([]string, 0, len(list)), []string(nil)
	for _, addr := range list {
		if is6(addr) == first {
			same = append(same, addr)
		} else {
			other = append(other, addr)
		}
	}
	for n, addr := range other {
		same = slices.Insert(same, min(2*n+1, len(same)), addr)
	}
	return same
}
