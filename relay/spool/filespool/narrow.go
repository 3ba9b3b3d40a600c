package filespool

import "github.com/postern-mail/postern/relay/spool"

// narrowed is what narrow has taken out of the order.
type narrowed struct {
	others  heap[*destination]
	streams heap[*apart]
	rest    map[*destination]queue // unwanted lines, where some are wanted
}

// narrow leaves in the order what the keys stand for, until widen. No line of
// that is apart.
func (x *index) narrow(keys []spool.Key) narrowed {
	whole, lines := x.cutOut(keys)
	w := narrowed{rest: make(map[*destination]queue)}
	for _, n := range lines {
		l := x.lines.get(n)
		l.apart = false
		if t := l.to; t.at >= 0 {
			x.order.remove(t.at)
			w.rest[t], t.waiting = t.waiting, nil
		}
	}
	w.others, x.order.items = x.order, nil
	w.streams, x.streams.items = x.streams, nil
	x.putBack(whole, lines)
	return w
}

// cutOut takes out of the order what the keys stand for: whole destinations,
// and lines of others.
func (x *index) cutOut(keys []spool.Key) (whole []*destination, lines []uint32) {
	for _, k := range keys {
		if k.Stream != "" {
			if n := x.waitingLine(k); n != none {
				x.leave(n)
				lines = append(lines, n)
			}
		} else if t := x.destinations[groupOf(k)]; t != nil {
			if t.at >= 0 {
				x.order.remove(t.at)
				whole = append(whole, t)
			}
			for len(t.apart) > 0 {
				n := t.apart[len(t.apart)-1]
				x.leave(n)
				lines = append(lines, n)
			}
		}
	}
	return whole, lines
}

// putBack brings back what cutOut took out, as far as something is left of it.
func (x *index) putBack(whole []*destination, lines []uint32) {
	for _, t := range whole {
		if len(t.waiting) > 0 {
			x.order.push(t)
		}
	}
	for _, n := range lines {
		x.join(n)
	}
}

// widen puts back what narrow has taken out.
func (x *index) widen(w narrowed) {
	for t, rest := range w.rest {
		wanted := t.waiting
		if t.at >= 0 {
			x.order.remove(t.at)
		}
		t.waiting = rest
		h := x.ordered(t)
		for _, n := range wanted {
			h.push(n)
		}
		t.waiting = h.items
		w.others.push(t)
	}
	for _, t := range x.order.items {
		w.others.push(t)
	}
	x.order, x.streams = w.others, w.streams
}
