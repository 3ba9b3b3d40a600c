package outbound

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// Bounds of what is tried for a domain, whatever its DNS says.
const (
	maxMXHosts     = 5
	maxMXAddresses = 10
)

// leastTurn is what an address leaves each of those behind it of the time for
// all, unless they are too many.
const leastTurn = 10 * time.Second

var (
	errNullMX   = errors.New("domain does not accept mail (null MX)")
	errNoDomain = errors.New("domain has neither MX nor address records")
	errNoHost   = errors.New("host has no address")
	errLoop     = errors.New("mail loops back to this host")
	errLiteral  = errors.New("malformed address literal")
	errHost     = errors.New("malformed host")
	errPrivate  = errors.New("host has no address but private ones, which it may not have")
	errNoAnswer = errors.New("neither an answer nor an error from the resolver")
)

// target is an address to connect to.
type target struct {
	name    string // host as looked up, for TLS
	network string
	addr    string // for Dial
	shown   string // for results
	plain   bool   // without TLS, which broke
	// host is as listed, names are those to be taken for slow if it lets this
	// connection wait: none where there is no other to go to.
	host  string
	names []string
	// behind is how many addresses may still follow.
	behind int
}

// patience is how long a connection may be on its way until its host counts as
// slow.
func (h *NextHop) patience() time.Duration {
	if len(h.Hosts) > 0 {
		return slowSmartHost
	}
	return slowExchanger
}

// route gives the addresses of a next hop in the order of trying them, or, in
// place of an address, why there is none. It looks a host up only when its turn
// has come. Whoever asks for another address has failed with the one before:
// such addresses, and hosts that have no other, come last for a while.
func (c *Client) route(ctx context.Context, h *NextHop, key hopKey) iter.Seq2[target, *Result] {
	return func(yield func(target, *Result) bool) {
		hosts, failed := c.hosts(ctx, h, key)
		if failed != nil {
			yield(target{}, failed)
			return
		}
		left := -1
		if len(h.Hosts) == 0 {
			left = maxMXAddresses
		}
		for i, host := range hosts {
			others := len(hosts) - 1 - i // each may have an address
			look, cancel := turn(ctx, others)
			targets, failed := c.find(look, h, host, len(hosts) > 1)
			cancel()
			if failed != nil {
				c.dead.add(host)
				if !yield(target{}, failed) || ctx.Err() != nil {
					return
				}
				continue
			}
			for n, t := range targets {
				if left == 0 {
					return
				}
				left--
				if t.behind = len(targets) - 1 - n + others; left >= 0 {
					t.behind = min(t.behind, left)
				}
				if !yield(t, nil) {
					c.dead.remove(host)
					c.dead.remove(t.addr)
					return
				}
				c.dead.add(t.addr)
				if ctx.Err() != nil {
					return
				}
			}
			c.dead.add(host)
		}
	}
}

// turn bounds what one address, or the look-up of one host, may take of the
// time that ctx leaves for all: as many as are behind it get their turn in any
// case.
func turn(ctx context.Context, behind int) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok || behind == 0 {
		return context.WithCancel(ctx)
	}
	left := time.Until(end)
	mine := max(left-time.Duration(behind)*leastTurn, left/time.Duration(behind+1))
	return context.WithTimeoutCause(ctx, mine, errNotReady)
}

// find gives the addresses of one of a next hop's hosts. Where others are to
// be tried as well, they know which of them is slow.
func (c *Client) find(
	ctx context.Context, h *NextHop, host string, others bool,
) ([]target, *Result) {
	end := func(bool) {}
	if others {
		end = c.slow.watch(h.patience(), host, host)
	}
	targets, failed := c.addresses(ctx, h, host)
	end(failed == nil)
	for i := range targets {
		t := &targets[i]
		t.host = host
		switch {
		case len(targets) > 1:
			t.names = []string{t.addr}
		case others:
			t.names = []string{t.addr, host}
		}
	}
	return targets, failed
}

// deadLast moves the names that failed of late, or are slow, behind the others.
func (c *Client) deadLast(names []string) {
	if len(names) > 1 {
		slices.SortStableFunc(names, func(a, b string) int { return c.rank(a) - c.rank(b) })
	}
}

func (c *Client) rank(name string) int { return boolInt(c.dead.has(name) || c.slow.has(name)) }

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// hosts gives the hosts of a next hop in the order of this connection.
func (c *Client) hosts(ctx context.Context, h *NextHop, key hopKey) ([]string, *Result) {
	if n := len(h.Hosts); n > 0 {
		turn := c.pool.rotate(key) % n
		hosts := slices.Concat(h.Hosts[turn:], h.Hosts[:turn])
		// Those that answer take connections faster than those that do not.
		slices.SortStableFunc(hosts, func(a, b string) int {
			return c.slow.waits(a) - c.slow.waits(b)
		})
		c.deadLast(hosts)
		return hosts, nil
	}
	if strings.HasPrefix(h.Domain, "[") {
		return []string{h.Domain}, nil
	}
	hosts, failed := c.mx(ctx, h.Domain)
	if failed == nil {
		c.deadLast(hosts)
	}
	return hosts, failed
}

// mx looks the mail exchangers of a domain up (RFC 5321 section 5.1). A
// resolver may leave out records that it cannot read and tell so by an error
// beside the list: those it has are tried, but such a list proves nothing.
func (c *Client) mx(ctx context.Context, domain string) ([]string, *Result) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	answer, err := c.resolver.LookupMX(ctx, domain)
	list := answer.Records
	if len(list) == 0 {
		if err != nil && !delivery.IsNotFound(err) {
			return nil, &Result{Op: "dns", Enhanced: "4.4.3", Err: err}
		}
		return []string{domain}, nil // implicit MX
	}
	final := Permanent
	if err != nil {
		final = Temporary
	}
	slices.SortFunc(list, func(a, b *net.MX) int { return cmp.Compare(a.Pref, b.Pref) })
	hosts := make([]string, 0, len(list))
	for i := 0; i < len(list); {
		j := i
		for j < len(list) && list[j].Pref == list[i].Pref {
			j++
		}
		// Section 5.1: hosts as good as or worse than this one would send the
		// mail back.
		if slices.ContainsFunc(list[i:j], func(m *net.MX) bool {
			return sameName(m.Host, c.cfg.Hostname)
		}) {
			if len(hosts) == 0 {
				return nil, negative(final, "5.4.6", errLoop)
			}
			break
		}
		rand.Shuffle(j-i, func(a, b int) { list[i+a], list[i+b] = list[i+b], list[i+a] })
		for ; i < j; i++ {
			name := strings.TrimSuffix(list[i].Host, ".")
			if name == "" {
				if len(list) == 1 {
					return nil, negative(final, "5.1.10", errNullMX) // RFC 7505
				}
				continue
			}
			hosts = append(hosts, name)
		}
	}
	if len(hosts) == 0 {
		return nil, negative(final, "5.1.10", errNullMX)
	}
	return hosts[:min(len(hosts), maxMXHosts)], nil
}

// negative is the result of a look-up that says no, which counts for now only
// unless it is final.
func negative(final Outcome, enhanced string, err error) *Result {
	if final != Permanent {
		enhanced = "4.4.3"
	}
	return &Result{Outcome: final, Op: "dns", Enhanced: enhanced, Err: err}
}

// addresses gives the addresses of one host.
func (c *Client) addresses(ctx context.Context, h *NextHop, host string) ([]target, *Result) {
	if path, ok := strings.CutPrefix(host, "unix:"); ok && len(h.Hosts) > 0 {
		return []target{{name: "localhost", network: "unix", addr: path, shown: host}}, nil
	}
	smart := len(h.Hosts) > 0
	name, port, ok := splitHost(host, cmp.Or(h.Port, 25), smart)
	if !ok {
		if smart {
			return nil, &Result{Op: "dns", Enhanced: "4.4.4", Host: host, Err: errHost}
		}
		return nil, &Result{
			Outcome: Permanent, Op: "dns", Enhanced: "5.1.3", Host: host, Err: errLiteral,
		}
	}
	var addrs []netip.Addr
	if a, err := netip.ParseAddr(name); err == nil {
		addrs = []netip.Addr{a}
	} else {
		answer, err := c.lookUp(ctx, name, smart)
		if addrs = answer.Records; len(addrs) == 0 {
			return nil, noAddress(h, name, answer.Name, err)
		}
	}
	addresses, failed := c.allowed(h, host, addrs, port)
	if failed != nil {
		return nil, failed
	}
	c.deadLast(addresses)
	targets := make([]target, len(addresses))
	for i, a := range addresses {
		ip := strings.Trim(a[:strings.LastIndexByte(a, ':')], "[]")
		shown := name + " [" + ip + "]:" + strconv.Itoa(int(port))
		targets[i] = target{name: name, network: "tcp", addr: a, shown: shown}
	}
	return targets, nil
}

// allowed gives the addresses of a host that may be spoken to. What an address
// literal says does not change; the addresses of a name may be mended.
func (c *Client) allowed(
	h *NextHop, host string, addrs []netip.Addr, port uint16,
) (list []string, failed *Result) {
	smart, literal := len(h.Hosts) > 0, strings.HasPrefix(host, "[")
	err, own := errNoHost, false
	for _, a := range addrs {
		at := netip.AddrPortFrom(a.Unmap(), port)
		switch {
		case at.Addr().IsUnspecified() || at.Addr().IsMulticast():
		case !smart && c.cfg.Own(at):
			own = true
		case !smart && !h.AllowPrivate && !public(at.Addr()):
			err = errPrivate
		default:
			list = append(list, at.String())
		}
	}
	switch {
	case len(list) > 0:
		return list, nil
	case own:
		return nil, negative(Permanent, "5.4.6", errLoop)
	case literal && !smart:
		return nil, &Result{Outcome: Permanent, Op: "dns", Enhanced: "5.1.2", Host: host, Err: err}
	}
	return nil, &Result{Op: "dns", Enhanced: "4.4.4", Host: host, Err: err}
}

// lookUp asks for the addresses of a host.
func (c *Client) lookUp(
	ctx context.Context, host string, smart bool,
) (answer delivery.Answer[netip.Addr], err error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	r, searches := c.resolver.(interface {
		LookupHost(ctx context.Context, host string) (delivery.Answer[netip.Addr], error)
	})
	if smart && searches {
		answer, err = r.LookupHost(ctx, host)
	} else {
		answer, err = c.resolver.LookupNetIP(ctx, "ip", host)
	}
	if len(answer.Records) == 0 && err == nil {
		err = errNoAnswer
	}
	return answer, err
}

// noAddress gives the result of a host that cannot be looked up. That a domain
// does not exist is final; a smart host or an exchanger that does not exist is
// somebody's mistake and may be mended, and so is an alias that leads nowhere.
func noAddress(h *NextHop, name, canonical string, err error) *Result {
	switch domain := len(h.Hosts) == 0 && name == h.Domain; {
	case !delivery.IsNotFound(err):
		return &Result{Op: "dns", Enhanced: "4.4.3", Host: name, Err: err}
	case domain && canonical != "" && !sameName(canonical, name):
		err = fmt.Errorf("alias of %s, which has no address", canonical)
		return &Result{Op: "dns", Enhanced: "4.4.3", Host: name, Err: err}
	case domain:
		return &Result{Outcome: Permanent, Op: "dns", Enhanced: "5.1.2", Err: errNoDomain}
	}
	return &Result{Op: "dns", Enhanced: "4.4.4", Host: name, Err: errNoHost}
}

func sameName(a, b string) bool {
	return b != "" && strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
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
