package sched

import (
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// bounds says how many places there are and for whom.
type bounds struct {
	all         int // attempts
	open        int // of them, those for routes that are not local
	message     int // of the open ones, those of one message
	report      int // of the reports that one origin has caused
	reports     int // of all reports
	trouble     int // of the sites that nobody answered on
	conclusions int

	taken     group // the open ones that are
	troubled  group // of them, those of sites that nobody answered on
	reporting group // of them, those of reports
}

func boundsOf(places int) bounds {
	tenth := places / 10
	open := places - tenth - min(max(1, tenth), places-1)
	return bounds{
		all: places - tenth, open: open,
		message: max(2, open/8), report: max(1, open/8), reports: max(1, open/4),
		trouble: max(1, open/4), conclusions: max(1, tenth),
	}
}

// one is a bound that leaves at least one of the open places to others, if
// there are two.
func (b *bounds) one(bound int) int { return max(1, min(bound, b.open-1)) }

// key tells groups apart.
type key struct {
	kind byte // 'c'onnector, 'o'rigin, 'r'eports of an origin
	name string
}

// owners are the groups a delivery belongs to; nil where there is none.
type owners struct {
	message, connector, origin *group
	keys                       [2]key
	id                         spool.ID
	report                     bool
}

// run is an attempt under way.
type run struct {
	site     *site
	key      spool.Key
	stream   *stream
	gates    []*gate
	owners   owners
	troubled bool
}

// places are those that attempts hold, and for whom.
type places struct {
	bounds bounds
	active int // attempts under way
	groups map[key]*group
	parts  map[spool.ID]*group // messages

	spareGroups spares[group]
	spareRuns   spares[run]
}

func placesOf(b bounds) places {
	return places{bounds: b, groups: make(map[key]*group), parts: make(map[spool.ID]*group)}
}

// ownersOf finds the groups of a delivery, made if missing: begin or release
// follows.
func (p *places) ownersOf(l *spool.Lease, o Owner) owners {
	w := owners{id: l.Message.ID, report: o.Report}
	w.keys[1] = key{'o', o.Origin}
	if o.Report {
		w.keys[1].kind = 'r'
	}
	w.origin = p.group(w.keys[1])
	if o.Connector != "" {
		w.keys[0] = key{'c', o.Connector}
		w.connector = p.group(w.keys[0])
	}
	if w.message = p.parts[w.id]; w.message == nil {
		w.message = p.spareGroups.get()
		p.parts[w.id] = w.message
	}
	return w
}

func (p *places) group(k key) *group {
	g := p.groups[k]
	if g == nil {
		g = p.spareGroups.get()
		p.groups[k] = g
	}
	return g
}

// release forgets the groups that nobody is in.
func (p *places) release(w owners) {
	idle := func(g *group) bool { return g != nil && g.active == 0 }
	if idle(w.message) {
		delete(p.parts, w.id)
		p.spareGroups.put(w.message)
	}
	if idle(w.connector) {
		delete(p.groups, w.keys[0])
		p.spareGroups.put(w.connector)
	}
	if idle(w.origin) {
		delete(p.groups, w.keys[1])
		p.spareGroups.put(w.origin)
	}
}

// spares are values to be used again, at most as many as were in use at once.
type spares[T any] []*T

func (s *spares[T]) get() *T {
	n := len(*s)
	if n == 0 {
		return new(T)
	}
	v := (*s)[n-1]
	*s = (*s)[:n-1]
	return v
}

func (s *spares[T]) put(v *T) {
	var none T
	*v = none
	*s = append(*s, v)
}

// free is the number of places that a site which is not local may take.
func (p *places) free() int {
	return min(p.bounds.open-p.bounds.taken.active, p.bounds.all-p.active)
}

// spare is how many more places a site may take, whose connector has some left:
// at most four times as many as it leaves of them, and while nothing ends on it
// no more than that. So sites that stall leave places for others.
func (p *places) spare(r *site, now time.Time) int {
	if r.local {
		return p.bounds.all
	}
	left := p.free()
	if c := p.groups[key{'c', r.by}]; c != nil {
		left = min(left, (2*left-c.active)/3)
	}
	times := 1
	if r.goesOn(now) {
		times = 4
	}
	return max(1-r.active, (times*left-r.active)/(times+1))
}

// full returns the group that has no place left for what a connector is to send
// to a site, or nil.
func (p *places) full(r *site, connector string) *group {
	if r.local {
		if p.active >= p.bounds.all {
			return &r.group
		}
		return nil
	}
	free := p.free()
	c := p.groups[key{'c', connector}]
	switch {
	case free <= 0:
		return &p.bounds.taken
	case c != nil && c.active >= p.bounds.one(2*free):
		return c
	}
	return nil
}

// goOn reports whether places of a connector have come free of late.
func (p *places) goOn(connector string, now time.Time) bool {
	c := p.groups[key{'c', connector}]
	return c != nil && now.Sub(c.done) < aheadFor
}

// keptBy returns the group whose bound keeps a delivery of a site that has room
// from being begun, or nil.
func (p *places) keptBy(r *site, w owners) *group {
	b := &p.bounds
	if r.local {
		if p.active >= b.all {
			return &r.group
		}
		return nil
	}
	free := p.free()
	switch {
	case free <= 0:
		return &b.taken
	case w.message.active >= b.one(b.message):
		return w.message
	case w.report && b.reporting.active >= b.reports:
		return &b.reporting
	case w.report && w.origin.active >= b.report, w.origin.active >= b.one(4*free):
		return w.origin
	case w.connector != nil && w.connector.active >= b.one(2*free):
		return w.connector
	}
	return nil
}

// groupsOf calls f for each group that a run counts in until it leaves.
func (p *places) groupsOf(u *run, f func(*group)) {
	if u.site.local {
		return
	}
	for _, g := range []*group{u.owners.message, u.owners.connector, u.owners.origin} {
		if g != nil {
			f(g)
		}
	}
	if u.owners.report {
		f(&p.bounds.reporting)
	}
	if u.troubled {
		f(&p.bounds.troubled)
	}
}

// begin takes a place for a delivery.
func (p *places) begin(r *site, v *stream, k spool.Key, w owners, now time.Time) *run {
	u := p.spareRuns.get()
	*u = run{
		site: r, key: k, stream: v, gates: r.gates, owners: w, troubled: r.failures > 0,
	}
	p.active++
	r.by = w.keys[0].name
	r.begin(now)
	v.pass(now)
	for _, g := range u.gates {
		g.pass(now)
	}
	if !r.local {
		p.bounds.taken.begin(now)
	}
	p.groupsOf(u, func(g *group) { g.begin(now) })
	return u
}

// leave ends what a run counts in, but for the place itself.
func (p *places) leave(u *run, now time.Time) {
	u.site.end(now)
	u.stream.end(now)
	u.site.left(u.stream, now)
	for _, g := range u.gates {
		g.end(now)
	}
	p.groupsOf(u, func(g *group) { g.end(now) })
	p.release(u.owners)
}

// end gives the place back, of a run that has left.
func (p *places) end(u *run, now time.Time) {
	p.active--
	if !u.site.local {
		p.bounds.taken.end(now)
	}
	p.spareRuns.put(u)
}
