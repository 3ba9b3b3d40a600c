package connector

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Set chooses the connector of a connection. It is immutable and safe for
// concurrent use. A nil Set matches nothing.
type Set struct {
	connectors []*Connector
	bindings   []netip.AddrPort
	tables     map[netip.AddrPort]*table
}

// NewSet checks all connectors and builds the set. The error holds every fault,
// joined with [errors.Join], each a *[postern.FieldError] with a path such as
// "[1].RemoteIPRanges[0]".
//
// Names must be unique. On one binding, two ranges may overlap only when one
// lies inside the other, and no range may appear twice. Connectors that are
// disabled are checked but do not take part.
func NewSet(connectors ...*Connector) (*Set, error) {
	var f faults
	names := make(map[string]int, len(connectors))
	for i, c := range connectors {
		if c == nil {
			f.in(itemField(i))("", "nil connector")
			continue
		}
		fault := f.in(itemField(i) + ".")
		c.validate(fault)
		checkUnique(fault, names, c.Name, i)
	}
	s := &Set{tables: map[netip.AddrPort]*table{}}
	spans := s.gather(connectors)
	checkSpans(&f, connectors, s.bindings, spans)
	if err := f.join(); err != nil {
		return nil, err
	}
	for b, list := range spans {
		s.tables[b] = newTable(list, connectors)
	}
	return s, nil
}

func itemField(i int) string { return fmt.Sprintf("[%d]", i) }

// checkUnique refuses a name that an earlier item has.
func checkUnique(fault report, names map[string]int, name string, i int) {
	key := strings.ToLower(name)
	if first, ok := names[key]; !ok {
		names[key] = i
	} else if key != "" {
		fault("Name", "%q is also the name of [%d]; names must differ", name, first)
	}
}

// gather notes the connectors that take part and their bindings, and returns
// the ranges on each binding. Port 0 is left out: it is a port of the
// connector's own, not yet known.
func (s *Set) gather(connectors []*Connector) map[netip.AddrPort][]span {
	spans := map[netip.AddrPort][]span{}
	for i, c := range connectors {
		if c == nil || c.Disabled {
			continue
		}
		s.connectors = append(s.connectors, c)
		own := map[netip.AddrPort]bool{}
		for _, b := range c.Bindings {
			b = unmap(b)
			if !b.IsValid() || b.Port() == 0 || own[b] {
				continue
			}
			own[b] = true
			if _, ok := spans[b]; !ok {
				s.bindings = append(s.bindings, b)
				spans[b] = nil
			}
			for j, r := range c.RemoteIPRanges {
				if r.IsValid() {
					spans[b] = append(spans[b], newSpan(r, i, j))
				}
			}
		}
	}
	return spans
}

// checkSpans refuses ranges of different connectors that compete on a binding.
// Those of one connector were checked with it.
func checkSpans(
	f *faults, connectors []*Connector, bindings []netip.AddrPort, spans map[netip.AddrPort][]span,
) {
	type pair struct{ a, b span }
	seen := map[pair]bool{}
	for _, binding := range bindings {
		nest(spans[binding], func(a, b span) {
			if a.owner == b.owner {
				return
			}
			if a.owner > b.owner {
				a, b = b, a
			}
			if seen[pair{a, b}] {
				return
			}
			seen[pair{a, b}] = true
			fault := f.in(itemField(b.owner) + ".")
			other := fmt.Sprintf("connector [%d] %q", a.owner, connectors[a.owner].Name)
			if a.from == b.from && a.to == b.to {
				fault(rangeField(
					b.index,
				), "%s on %s already belongs to %s; narrow one of them, or use another binding",
					b.Range, binding, other)
			} else {
				fault(rangeField(b.index), "%s on %s overlaps %s of %s; one must lie inside the "+
					"other, or they must be apart",
					b.Range, binding, a.Range, other)
			}
		})
	}
}

// Match returns the connector for a connection accepted at local from remote.
// It allocates nothing.
//
// The binding is chosen first, as a socket is by the operating system: one to
// exactly the local address and port, else the one to all addresses of the
// family (0.0.0.0 or [::]), else, for IPv4, [::], which dual-stack sockets
// bind. Among the ranges on that binding the narrowest that holds remote wins.
// When none does, other bindings are not asked: a relay closes such a
// connection without a banner. IPv4-mapped addresses count as IPv4.
func (s *Set) Match(local netip.AddrPort, remote netip.Addr) (*Connector, bool) {
	if s == nil {
		return nil, false
	}
	t := s.table(unmap(local))
	if t == nil {
		return nil, false
	}
	c := t.find(remote.Unmap())
	return c, c != nil
}

// HasBinding reports whether some connector takes connections accepted at
// local, from wherever they come.
func (s *Set) HasBinding(local netip.AddrPort) bool {
	return s != nil && s.table(unmap(local)) != nil
}

func (s *Set) table(local netip.AddrPort) *table {
	if !local.IsValid() {
		return nil
	}
	if t, ok := s.tables[local]; ok {
		return t
	}
	if local.Addr().Is4() {
		if t, ok := s.tables[netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port())]; ok {
			return t
		}
	}
	return s.tables[netip.AddrPortFrom(netip.IPv6Unspecified(), local.Port())]
}

// Connectors returns the connectors that take part, in the order given to
// [NewSet].
func (s *Set) Connectors() []*Connector {
	if s == nil {
		return nil
	}
	return slices.Clone(s.connectors)
}

// Bindings returns the addresses to listen on, each once, in the order of the
// connectors. Port 0 is left out: each one stands for a port of its connector's
// own.
//
// Listen on IPv4 addresses with the network tcp4 and on IPv6 ones with tcp6;
// otherwise 0.0.0.0 and [::] on one port collide.
func (s *Set) Bindings() []netip.AddrPort {
	if s == nil {
		return nil
	}
	return slices.Clone(s.bindings)
}
