package connector

import (
	"cmp"
	"net/netip"
	"slices"
)

// span is a range of a connector, as numbers.
type span struct {
	Range
	from, to uint128
	owner    int // index of the connector
	index    int // of the range in the connector
}

func newSpan(r Range, owner, index int) span {
	r = Range{r.From.Unmap(), r.To.Unmap()}
	return span{r, number(r.From), number(r.To), owner, index}
}

// compareSpans sorts by family and start, the wider of two that start together
// first.
func compareSpans(a, b span) int {
	return cmp.Or(
		cmp.Compare(a.From.BitLen(), b.From.BitLen()),
		a.from.compare(b.from),
		b.to.compare(a.to),
		cmp.Compare(a.owner, b.owner),
		cmp.Compare(a.index, b.index),
	)
}

// nest sorts the spans and calls conflict for pairs that are equal or overlap
// without one lying inside the other. Each span in such a pair is named at
// least once.
func nest(spans []span, conflict func(a, b span)) {
	slices.SortFunc(spans, compareSpans)
	var open []span
	for _, s := range spans {
		for len(open) > 0 && open[len(open)-1].isBefore(s) {
			open = open[:len(open)-1]
		}
		if len(open) > 0 {
			outer := open[len(open)-1]
			if outer.to.less(s.to) || outer.from == s.from && outer.to == s.to {
				conflict(outer, s)
			}
		}
		open = append(open, s)
	}
}

// isBefore reports whether s ends before t begins, given that it sorts before
// t.
func (s span) isBefore(t span) bool { return s.From.Is4() != t.From.Is4() || s.to.less(t.from) }

// table finds the owner of a remote address on one binding. Because ranges are
// nested or apart, they flatten to segments that lie side by side, and a binary
// search finds the narrowest range.
type table struct{ v4, v6 segments }

// segments are the numbers from starts[i] up to the next start, owned by
// owners[i].
type segments struct {
	starts []uint128
	owners []*Connector
}

// newTable builds the table from spans that nest has sorted and found in order.
func newTable(spans []span, connectors []*Connector) *table {
	t := &table{}
	six := slices.IndexFunc(spans, func(s span) bool { return !s.From.Is4() })
	if six < 0 {
		six = len(spans)
	}
	t.v4.fill(spans[:six], connectors)
	t.v6.fill(spans[six:], connectors)
	return t
}

func (g *segments) fill(spans []span, connectors []*Connector) {
	var open []span
	for _, s := range spans {
		for len(open) > 0 && open[len(open)-1].isBefore(s) {
			open = g.end(open, connectors)
		}
		g.add(s.from, connectors[s.owner])
		open = append(open, s)
	}
	for len(open) > 0 {
		open = g.end(open, connectors)
	}
}

// end closes the innermost open span: what follows belongs to the one around
// it.
func (g *segments) end(open []span, connectors []*Connector) []span {
	last := open[len(open)-1]
	open = open[:len(open)-1]
	var owner *Connector
	if n := len(open); n > 0 {
		owner = connectors[open[n-1].owner]
	}
	if after := last.to.next(); after != (uint128{}) { // zero: that was the last address there is
		g.add(after, owner)
	}
	return open
}

func (g *segments) add(start uint128, owner *Connector) {
	if n := len(g.starts); n > 0 {
		if g.starts[n-1] == start {
			g.owners[n-1] = owner
			return
		}
		if g.owners[n-1] == owner {
			return
		}
	}
	g.starts = append(g.starts, start)
	g.owners = append(g.owners, owner)
}

func (t *table) find(a netip.Addr) *Connector {
	switch {
	case a.Is4():
		return t.v4.find(number(a))
	case a.IsValid():
		return t.v6.find(number(a))
	}
	return nil
}

func (g *segments) find(x uint128) *Connector {
	base, n := 0, len(g.starts)
	if n == 0 {
		return nil
	}
	for n > 1 {
		half := n / 2
		if !x.less(g.starts[base+half]) {
			base += half
		}
		n -= half
	}
	if x.less(g.starts[base]) {
		return nil
	}
	return g.owners[base]
}
