package sched

import (
	"math"
	"time"
)

// Limit bounds what goes somewhere. A zero field sets no bound.
type Limit struct {
	// Connections are the deliveries under way at once.
	Connections int
	// Every is the time from one delivery to the next. Burst of them may be
	// begun at once after a pause; 0 is 1.
	Every time.Duration
	Burst int
}

// Limits are those of a site: for all that goes to it, for all sites of its
// provider together, and for what leaves for it from one source.
type Limits struct{ Site, Provider, Source Limit }

// gate keeps to a limit. The zero gate is open.
type gate struct {
	Limit
	group
	used  int       // sites that have it
	next  time.Time // when the next would come if they came evenly
	every time.Duration
}

// room is how many may be begun now. part is what a throttle leaves of the
// limit.
func (g *gate) room(part float64, now time.Time) int {
	n := math.MaxInt32
	if g.Connections > 0 {
		n = max(1, int(part*float64(g.Connections))) - g.active
	}
	if g.Every > 0 {
		g.every = time.Duration(float64(g.Every) / part)
		n = min(n, max(1, g.Burst)-int((max(g.next.Sub(now), 0)+g.every-1)/g.every))
	}
	return n
}

// opens is how long the rate keeps the gate closed; 0 if it does not.
func (g *gate) opens(now time.Time) time.Duration {
	if g.Every == 0 {
		return 0
	}
	return max(g.next.Sub(now)-time.Duration(max(1, g.Burst)-1)*max(g.every, g.Every), 0)
}

// pass lets one through.
func (g *gate) pass(now time.Time) {
	g.begin(now)
	if g.Every > 0 {
		if g.next.Before(now) {
			g.next = now
		}
		g.next = g.next.Add(max(g.every, g.Every))
	}
}

// quiet reports whether nothing would be lost with the gate, nor anything that
// it has kept back comes again.
func (g *gate) quiet(now time.Time) bool {
	return g.active == 0 && !g.next.After(now) && !g.group.next.After(now)
}

// gateKey names what a limit is for.
type gateKey struct {
	of           byte // 's'ite, 'p'rovider, 'a'ddress at a site
	name, source string
}

// gates are those with a limit.
type gates map[gateKey]*gate

// of returns the gates on the way to a site, for it to release.
func (t gates) of(s Site, l Limits) (list []*gate) {
	add := func(k gateKey, l Limit) {
		if l == (Limit{}) {
			return
		}
		g := t[k]
		if g == nil {
			g = new(gate)
			t[k] = g
		}
		g.Limit = l
		g.used++
		list = append(list, g)
	}
	add(gateKey{'s', s.Name, ""}, l.Site)
	if s.Provider != "" {
		add(gateKey{'p', s.Provider, ""}, l.Provider)
	}
	add(gateKey{'a', s.Name, s.Source}, l.Source)
	return list
}

func release(list []*gate) {
	for _, g := range list {
		g.used--
	}
}

// forget drops the gates that no site has any more.
func (t gates) forget(now time.Time) {
	for k, g := range t {
		if g.used == 0 && g.quiet(now) {
			delete(t, k)
		}
	}
}
