package sched

import "time"

const (
	aheadLeast = 8  // leased ahead where a site has fewer places
	aheadMost  = 64 // leased ahead of a site
)

// streams are those of a site that have something under way or waiting, or a
// limit.
type streams struct {
	byName map[string]*stream
	keep   int // before idle ones are forgotten
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
func (n *streams) stream(of func(string) (int, Limit), name string) *stream {
	v := n.byName[name]
	if v == nil {
		if n.byName == nil {
			n.byName = make(map[string]*stream)
		}
		if len(n.byName) >= max(n.keep, aheadMost) {
			n.forgetStreams()
		}
		v = &stream{name: name}
		v.weight, v.Limit = of(name)
		v.weight = max(v.weight, 1)
		n.byName[name] = v
	}
	return v
}

// quiet reports whether nothing would be lost with the stream.
func (v *stream) quiet(now time.Time) bool { return v.gate.quiet(now) && !v.slot.After(now) }

// forgetStreams drops those of which nothing would be lost.
func (n *streams) forgetStreams() {
	now := time.Now()
	for name, v := range n.byName {
		if v.quiet(now) {
			delete(n.byName, name)
		}
	}
	n.keep = 2 * len(n.byName)
}

// left forgets a stream of which nothing would be lost.
func (n *streams) left(v *stream, now time.Time) {
	if v.quiet(now) {
		delete(n.byName, v.name)
	}
}

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
