package sched

import "time"

const (
	aheadLeast = 8  // leased ahead where a site has fewer places
	aheadMost  = 64 // leased ahead of a site
)

// line is what waits for a site, and its streams.
type line struct {
	waiting int
	emptied int // lanes that have run dry since the store was asked
	queues  map[laneName]*queue
	streams map[string]*stream // with something under way, or a limit
	keep    int                // streams, before idle ones are forgotten
}

// stream is that of a site.
type stream struct {
	gate
	name    string
	weight  int
	slot    time.Time // of the last that its rate has kept back
	resting resting
}

// stream returns that of a delivery.
func (n *line) stream(of func(Site, string) (int, Limit), s Site, name string) *stream {
	v := n.streams[name]
	if v == nil {
		if n.streams == nil {
			n.streams = make(map[string]*stream)
		}
		if len(n.streams) >= max(n.keep, aheadMost) {
			n.forgetStreams()
		}
		v = &stream{name: name}
		v.weight, v.Limit = of(s, name)
		v.weight = max(v.weight, 1)
		n.streams[name] = v
	}
	return v
}

// forgetStreams drops those of which nothing would be lost.
func (n *line) forgetStreams() {
	now := time.Now()
	for name, v := range n.streams {
		if v.quiet(now) {
			delete(n.streams, name)
		}
	}
	n.keep = 2 * len(n.streams)
}

// left forgets a stream of which nothing would be lost.
func (n *line) left(v *stream, now time.Time) {
	if v.quiet(now) {
		delete(n.streams, v.name)
	}
}

// lacks tells that as many lanes have run dry as have something waiting: they
// would miss their turns.
func (n *line) lacks() bool { return n.emptied > 0 && n.emptied >= len(n.queues) }

// keep is how long a delivery is kept back by the limit of its stream; 0 if it
// is not.
func (v *stream) keep(now time.Time) time.Duration {
	if v.room(1, now) > 0 {
		return 0
	}
	opens := v.opens(now)
	if opens == 0 { // something has to end
		return v.turn(now)
	}
	latest := now.Add(opens + v.resting.turn(now))
	if v.slot = v.slot.Add(v.Every); v.slot.Before(now.Add(opens)) {
		v.slot = now.Add(opens)
	} else if v.slot.After(latest) {
		v.slot = latest
	}
	return v.slot.Sub(now)
}
