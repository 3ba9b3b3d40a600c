package memspool

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// picker answers one LeaseRequest.
type picker struct {
	lines *lines
	r     *spool.LeaseRequest
	wall  time.Time
	out   []*delivery
	wait  time.Duration // until something else can be had; negative is unknown
	aside []*line       // taken out of the order
	turns []*line       // those of several streams, which have had a turn
	given map[*line]int
}

// pick takes due deliveries out of those that wait. The caller holds the lock.
func (s *Store) pick(r *spool.LeaseRequest, wall time.Time) ([]*delivery, time.Duration) {
	p := &picker{lines: &s.waiting, r: r, wall: wall, wait: -1, given: make(map[*line]int)}
	var others lineQueue
	if len(r.Only) > 0 {
		others = p.narrow()
	}
	for _, k := range r.Busy {
		p.lines.matching(k, func(l *line) {
			if o := p.lines.order; l.index < len(o) && o[l.index] == l { // it is not among others
				p.putAside(l)
			}
		})
	}
	p.choose()
	p.takeTurns()
	if len(r.Only) > 0 {
		p.aside = append(p.aside, p.lines.order...)
		p.lines.order = others
	}
	for _, l := range append(p.aside, p.turns...) {
		if len(l.queue.items) > 0 {
			heap.Push(&p.lines.order, l)
		}
	}
	slices.SortFunc(p.out, func(a, b *delivery) int {
		return cmp.Or(a.Due.Compare(b.Due), compareIDs(a.ID, b.ID))
	})
	return p.out, p.wait
}

// narrow leaves in the order what the request has in Only, and returns the
// rest.
func (p *picker) narrow() (others lineQueue) {
	var wanted lineQueue
	for _, k := range p.r.Only {
		p.lines.matching(k, func(l *line) {
			heap.Remove(&p.lines.order, l.index)
			wanted = append(wanted, l)
		})
	}
	others, p.lines.order = p.lines.order, nil
	for _, l := range wanted {
		heap.Push(&p.lines.order, l)
	}
	return others
}

func (p *picker) putAside(l *line) {
	heap.Remove(&p.lines.order, l.index)
	p.aside = append(p.aside, l)
}

// choose takes what is due, oldest first, but of several streams of one route
// and domain one each.
func (p *picker) choose() {
	t := p.lines
	for len(t.order) > 0 {
		l := t.order[0]
		if slices.Contains(p.r.NotRoutes, l.key.Route) ||
			slices.Contains(p.r.NotStreams, l.key.Stream) {
			p.putAside(l)
			continue
		}
		if due := l.queue.items[0].Due; due.After(p.wall) || len(p.out) >= p.r.Max {
			p.wait = shorter(p.wait, due.Sub(p.wall))
			return
		}
		if p.full(l) {
			p.putAside(l)
			continue
		}
		several := len(t.groups[groupOf(l.key)]) > 1
		heap.Pop(&t.order)
		p.take(l)
		switch {
		case len(l.queue.items) == 0:
		case several:
			p.turns = append(p.turns, l)
		default:
			heap.Push(&t.order, l)
		}
	}
}

// takeTurns goes on with the streams that have had one.
func (p *picker) takeTurns() {
	for turns := p.turns; len(turns) > 0; {
		l := turns[0]
		turns = turns[1:]
		if due := l.queue.items[0].Due; due.After(p.wall) || len(p.out) >= p.r.Max || p.full(l) {
			p.wait = shorter(p.wait, due.Sub(p.wall))
			continue
		}
		if p.take(l); len(l.queue.items) > 0 {
			turns = append(turns, l)
		}
	}
}

// full reports whether the request wants no more of a key, of which there is
// more.
func (p *picker) full(l *line) bool {
	if p.r.MaxPerKey <= 0 || p.given[l] < p.r.MaxPerKey {
		return false
	}
	p.wait = 0
	return true
}

func (p *picker) take(l *line) {
	p.given[l]++
	p.out = append(p.out, p.lines.shift(l))
}
