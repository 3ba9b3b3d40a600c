package smtpd

import (
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
	"time"
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
)

// natWatch watches addresses behind which others may hide: the default gateways
// of this host, and proxies that do not say for whom they speak. A router or a
// container bridge that rewrites source addresses makes every client look like
// itself, and a connector that lets it relay lets everybody relay. One host
// says one name in HELO; a crowd says many.
type natWatch struct {
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
func (w *natWatch) isGateway(a netip.Addr, now time.Time) bool {
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
func (w *natWatch) crowded(a netip.Addr, now time.Time) bool {
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
func (w *natWatch) add(a netip.Addr, name string, now time.Time) (crowded, warn bool) {
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
func (w *natWatch) room(now time.Time) *crowd {
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
