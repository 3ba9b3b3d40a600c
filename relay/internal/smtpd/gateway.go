package smtpd

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/maphash"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/connector"
)

const (
	// crowdNames different names in HELO within crowdWindow, from one address,
	// are a crowd.
	crowdNames  = 5
	crowdWindow = time.Hour
	// maxCrowds bounds the addresses that are watched.
	maxCrowds = 256
	// gatewayAge is how long the default gateways are taken to stay the same.
	gatewayAge = time.Minute
	maxRoutes  = 1 << 20 // octets read of a table of routes
)

// gateways watches addresses behind which others may hide: the default gateways
// of this host, and proxies that do not say for whom they speak. A router or a
// container bridge that rewrites source addresses makes every client look like
// itself, and a connector that lets it relay lets everybody relay. One host
// says one name in HELO; a crowd says many.
type gateways struct {
	read func() []netip.Addr // nil: not known now

	mu     sync.Mutex
	list   []netip.Addr
	until  time.Time // list is good until then
	seed   maphash.Seed
	crowds map[netip.Addr]*crowd
}

type crowd struct {
	names  [crowdNames]crowdName
	warned time.Time
}

type crowdName struct {
	hash uint64
	at   time.Time
}

// isGateway reports whether a is a default gateway.
func (w *gateways) isGateway(a netip.Addr, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now.After(w.until) {
		if list := w.read(); list != nil {
			w.list, w.until = list, now.Add(gatewayAge)
		}
	}
	a = a.WithZone("")
	for _, g := range w.list {
		if g == a {
			return true
		}
	}
	return false
}

// crowded reports whether a crowd has come from a.
func (w *gateways) crowded(a netip.Addr, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.crowds[a]
	return c != nil && c.full(now)
}

func (c *crowd) full(now time.Time) bool {
	for _, n := range c.names {
		if n.at.IsZero() || now.Sub(n.at) >= crowdWindow {
			return false
		}
	}
	return true
}

// add notes a name said from a. It reports whether there is a crowd, and
// whether to warn of it.
func (w *gateways) add(a netip.Addr, name string, now time.Time) (crowded, warn bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := w.crowds[a]
	if c == nil {
		if c = w.room(now); c == nil {
			return false, false
		}
		w.crowds[a] = c
	}
	hash := maphash.String(w.seed, strings.ToLower(name))
	place := 0
	for i, n := range c.names {
		if n.hash == hash && !n.at.IsZero() {
			place = i
			break
		}
		if n.at.Before(c.names[place].at) {
			place = i
		}
	}
	c.names[place] = crowdName{hash, now}
	if !c.full(now) {
		return false, false
	}
	if warn = c.warned.IsZero() || now.Sub(c.warned) >= crowdWindow; warn {
		c.warned = now
	}
	return true, warn
}

// room returns a new crowd, or nil if too many are watched and none of them is
// old.
func (w *gateways) room(now time.Time) *crowd {
	if w.crowds == nil {
		w.seed, w.crowds = maphash.MakeSeed(), make(map[netip.Addr]*crowd)
	}
	if len(w.crowds) >= maxCrowds {
		for a, c := range w.crowds {
			last := c.names[0].at
			for _, n := range c.names {
				if n.at.After(last) {
					last = n.at
				}
			}
			if now.Sub(last) >= crowdWindow {
				delete(w.crowds, a)
			}
		}
		if len(w.crowds) >= maxCrowds {
			return nil
		}
	}
	return new(crowd)
}

// watched reports whether the session may relay for what its address is, and
// others may hide behind that.
func (g *guard) watched(now time.Time) bool {
	if !g.pol.WatchGateways || g.sess.Identity != nil ||
		!g.sess.Rights.Has(connector.AcceptAnyRecipient) || g.names() != nil {
		return false
	}
	a := g.sess.Remote.Addr()
	return g.srv.gateways.isGateway(a, now) || contains(g.pol.Proxies, a) ||
		contains(g.pol.XClient, a)
}

// crowded refuses a connection from where a crowd has come.
func (g *guard) crowded() *Reply {
	if now := time.Now(); !g.pol.RefuseGateways || !g.watched(now) ||
		!g.srv.gateways.crowded(g.sess.Remote.Addr(), now) {
		return nil
	}
	return crowdRefusal()
}

func crowdRefusal() *Reply {
	return refusal(
		421, "4.7.1", "Too many different clients behind one address, closing transmission channel",
	)
}

// watch notes the name that a client says in HELO.
func (g *guard) watch(name string) *Reply {
	now := time.Now()
	if !g.watched(now) {
		return nil
	}
	crowded, warn := g.srv.gateways.add(g.sess.Remote.Addr(), name, now)
	if warn {
		g.log.Warn("many different clients may relay because they come from the address of a "+
			"gateway or a proxy; "+
			"let it keep or tell their addresses, or take its address out of the connector's "+
			"ranges",
			"session", g.sess.ID, "connector", g.sess.Connector.Name, "remote", g.sess.Remote.Addr(), "refused", g.pol.RefuseGateways)
	}
	if crowded && g.pol.RefuseGateways {
		return crowdRefusal()
	}
	return nil
}

// defaultGateways asks Linux. Other systems have no such files, and no gateways
// are known there. It returns nil if a file that is there cannot be read now.
func defaultGateways() []netip.Addr {
	list := []netip.Addr{}
	for path, parse := range map[string]func(string) (netip.Addr, bool){
		"/proc/net/route": routeIPv4, "/proc/net/ipv6_route": routeIPv6,
	} {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil
		}
		list = append(list, parseRoutes(f, parse)...)
		f.Close()
	}
	return list
}

func parseRoutes(r io.Reader, parse func(string) (netip.Addr, bool)) []netip.Addr {
	var list []netip.Addr
	for s := bufio.NewScanner(io.LimitReader(r, maxRoutes)); s.Scan(); {
		if a, ok := parse(s.Text()); ok {
			list = append(list, a)
		}
	}
	return list
}

// rtfGateway marks a route through a gateway (linux/route.h).
const rtfGateway = 2

// routeIPv4 reads a line of /proc/net/route: interface, destination, gateway,
// flags, …, mask at 7.
func routeIPv4(line string) (netip.Addr, bool) {
	f := strings.Fields(line)
	if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
		return netip.Addr{}, false
	}
	n, err := strconv.ParseUint(f[2], 16, 32)
	flags, err2 := strconv.ParseUint(f[3], 16, 32)
	if err != nil || err2 != nil || flags&rtfGateway == 0 {
		return netip.Addr{}, false
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(n)) // written as this machine reads the address
	a := netip.AddrFrom4(b)
	return a, isHost(a)
}

// routeIPv6 reads a line of /proc/net/ipv6_route: destination, its bits,
// source, its bits, next hop, …, flags at 8.
func routeIPv6(line string) (netip.Addr, bool) {
	f := strings.Fields(line)
	if len(f) < 9 || strings.Trim(f[0], "0") != "" || f[1] != "00" {
		return netip.Addr{}, false
	}
	b, err := hex.DecodeString(f[4])
	flags, err2 := strconv.ParseUint(f[8], 16, 32)
	if err != nil || err2 != nil || flags&rtfGateway == 0 {
		return netip.Addr{}, false
	}
	a, ok := netip.AddrFromSlice(b)
	return a, ok && a.Is6() && isHost(a)
}
