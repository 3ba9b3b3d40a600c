package sched

import (
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	aheadFor   = time.Second      // leasing ahead goes on while nothing ends
	aheadRate  = time.Minute      // of a stream, what a rate lets through in it
	inAll      = 20_000           // waiting and under way
	stuckAfter = 10 * time.Second // of a full site on which nothing ends
	maxIdle    = 1024             // keys remembered without work
)

// site is what is known of a site.
type site struct {
	Site
	group
	line
	streams
	control
	local   bool
	by      string   // the connector of what was handed out last
	keys    []*entry // that lead here
	gates   []*gate
	skipped bool // the store was asked for others last
	dry     bool // in Scheduler.dry
	hot     bool // in sites.hot
}

// entry is a key without its stream.
type entry struct {
	key  spool.Key
	site *site
	at   int // in site.keys
}

// sites are those that something is known of.
type sites struct {
	cfg   *Config
	byKey map[spool.Key]*entry
	all   map[Site]*site
	gates gates
	hot   []*site // those that are worth a look before the store is asked
	most  int     // keys, before some are forgotten
}

func sitesOf(cfg *Config) sites {
	return sites{
		cfg: cfg, byKey: make(map[spool.Key]*entry), all: make(map[Site]*site),
		gates: make(gates), most: maxIdle,
	}
}

// get returns the site that a key leads to now.
func (t *sites) get(k spool.Key) *site {
	k.Stream = ""
	e, where := t.byKey[k], t.cfg.Site(k)
	switch {
	case e == nil:
		if len(t.byKey) >= t.most {
			t.forget(time.Now())
		}
		e = &entry{key: k}
		t.byKey[k] = e
	case e.site.Site == where:
		return e.site
	default:
		e.site.leave(e)
	}
	r := t.at(where, k)
	e.site, e.at = r, len(r.keys)
	r.keys = append(r.keys, e)
	return r
}

// leave takes a key from a site.
func (r *site) leave(e *entry) {
	last := len(r.keys) - 1
	r.keys[e.at] = r.keys[last]
	r.keys[e.at].at = e.at
	r.keys[last] = nil
	r.keys = r.keys[:last]
}

// at returns a site, made if nothing is known of it.
func (t *sites) at(where Site, k spool.Key) *site {
	r := t.all[where]
	if r == nil {
		r = &site{Site: where, local: slices.Contains(t.cfg.Local, k.Route)}
		r.limit = min(slowStart, t.roof(k))
		r.gates = t.gates.of(where, t.cfg.Limits(where))
		t.all[where] = r
	}
	return r
}

// roof is how many deliveries a site takes at once, as far as others say.
func (t *sites) roof(k spool.Key) int { return max(1, t.cfg.RouteLimit(k)) }

// relimit takes in that limits have changed.
func (t *sites) relimit() {
	for _, r := range t.all {
		if len(r.keys) > 0 {
			r.limit = min(r.limit, t.roof(r.keys[0].key))
		}
		old := r.gates
		r.gates = t.gates.of(r.Site, t.cfg.Limits(r.Site))
		release(old)
		r.forgetStreams()
	}
}

// forget drops the keys and sites that nothing is known of, or that have rested
// and were not tried for a while. It is done once in a while only, since it
// looks at all.
func (t *sites) forget(now time.Time) {
	for k, e := range t.byKey {
		if e.site.idle(now) {
			e.site.leave(e)
			delete(t.byKey, k)
		}
	}
	for where, r := range t.all {
		if len(r.keys) == 0 && r.idle(now) {
			release(r.gates)
			delete(t.all, where)
		}
	}
	t.gates.forget(now)
	t.most = max(maxIdle, 2*len(t.byKey))
}

// idle reports whether nothing would be lost with what is known of the site.
func (r *site) idle(now time.Time) bool {
	return r.active == 0 && r.waiting == 0 && r.rested(now)
}

// heat sees that a site is looked at before the store is asked.
func (t *sites) heat(r *site) {
	if !r.hot {
		r.hot = true
		t.hot = append(t.hot, r)
	}
}

// look calls f for the sites that have something under way or waiting, or have
// no room. There are no more of them than were handed out and came to that.
func (t *sites) look(p *places, now time.Time, f func(*site)) {
	kept := t.hot[:0]
	for _, r := range t.hot {
		if r.hot = r.active+r.waiting > 0 || t.room(r, p, now) <= 0; r.hot {
			kept = append(kept, r)
			f(r)
		}
	}
	clear(t.hot[len(kept):])
	t.hot = kept
}

// inTrouble are the keys of sites on which little goes on: those that rest or
// wait for a place to try again, and those that are full of attempts that do
// not end.
func (t *sites) inTrouble(p *places, now time.Time) (keys []spool.Key) {
	t.look(p, now, func(r *site) {
		stuck := r.active > 0 && now.Sub(r.done) > stuckAfter
		if (r.failures > 0 || stuck) && t.room(r, p, now) <= 0 {
			keys = r.appendKeys(keys)
		}
	})
	return keys
}

func (r *site) appendKeys(keys []spool.Key) []spool.Key {
	for _, e := range r.keys {
		keys = append(keys, e.key)
	}
	return keys
}

// room is how many deliveries of a site may be begun now, if nothing else keeps
// them.
func (t *sites) room(r *site, p *places, now time.Time) int {
	switch {
	case r.failures > 0 && !r.local && p.bounds.troubled.active >= p.bounds.trouble:
		return 0
	case r.failures >= coolAfter:
		if r.active > 0 || r.until.After(now) {
			return 0
		}
		return r.gatesRoom(1, 1, now) // may try
	}
	part := r.slower(t.cfg.Throttles, r.Site, now)
	n := max(1, int(part*float64(r.limit))) - r.active
	return r.gatesRoom(min(n, p.spare(r, now)), part, now)
}

// gatesRoom is n, or less if a limit is nearer.
func (r *site) gatesRoom(n int, part float64, now time.Time) int {
	for _, g := range r.gates {
		if n > 0 {
			n = min(n, g.room(part, now))
		}
	}
	return n
}

// opens is how long a site that has no room is closed at least; 0 if something
// has to end before.
func (r *site) opens(now time.Time) time.Duration {
	wait := max(r.until.Sub(now), 0)
	for _, g := range r.gates {
		wait = max(wait, g.opens(now))
	}
	return wait
}

// goesOn tells whether attempts on a site have ended well of late.
func (r *site) goesOn(now time.Time) bool {
	return r.reached && r.active > 0 && now.Sub(r.done) < aheadFor
}

// paced tells whether attempts on a site have ended well, and only a rate keeps
// the next one back.
func (r *site) paced(now time.Time) bool {
	return r.reached && slices.ContainsFunc(r.gates, func(g *gate) bool { return g.opens(now) > 0 })
}

// waits tells whether deliveries may be leased ahead for a site.
func (r *site) waits(now time.Time) bool { return r.goesOn(now) || r.paced(now) }

// each is how many deliveries of a stream are worth having ahead: few where few
// end in a second, or a rate lets few through.
func (r *site) each() int {
	n := aheadLeast
	if r.gap > 0 {
		n = min(n, int(aheadFor/r.gap))
	}
	for _, g := range r.gates {
		if g.Every > 0 {
			n = min(n, int(aheadRate/g.Every))
		}
	}
	return max(n, 1)
}

// lanes is how many have something under way or waiting.
func (r *site) lanes() int { return max(len(r.queues), len(r.streams.byName)) }

// perLane is how many deliveries of a lane are worth asking for at once: more
// would leave no room for other lanes.
func (r *site) perLane() int {
	each := r.each()
	if each == aheadLeast && r.lanes() < 2 {
		return aheadMost
	}
	for _, v := range r.byName {
		each = max(each, 2*v.weight)
	}
	return each
}

// ahead is how many deliveries of a site may be leased ahead: more where
// several lanes have to take turns.
func (r *site) ahead() int {
	each := r.each()
	n := 2 * each // one lane would hide the others
	if each == aheadLeast {
		n = max(each, r.limit)
	}
	if lanes := r.lanes(); lanes > 1 {
		n += lanes * r.perLane()
	}
	return min(n, aheadMost)
}

// capacity is how many deliveries of a site are worth leasing now, where so
// many more may be leased ahead. While one stream alone has something waiting
// no more is asked for; of several each is to have something when its turn
// comes.
func (t *sites) capacity(r *site, p *places, more int, now time.Time) int {
	if w := r.waiting; w > 0 && !r.lacks() && (r.lanes() < 2 || 2*w > r.ahead()) {
		return 0
	}
	n := max(0, t.room(r, p, now)-r.waiting)
	if !r.waits(now) {
		return n
	}
	return n + max(0, min(r.ahead()-r.waiting, more))
}
