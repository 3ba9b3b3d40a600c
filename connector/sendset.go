package connector

import (
	"cmp"
	"errors"
	"iter"
	"slices"
	"strings"
)

// SendSet chooses the send connector of a recipient. It is immutable and safe
// for concurrent use. A nil SendSet matches nothing.
type SendSet struct {
	connectors []*SendConnector
	exact      map[string][]candidate // example.com
	below      map[string][]candidate // *.example.com, by example.com
	labels     int                    // most labels of a key in below
	all        []candidate            // *
}

// candidate is an address space of a connector. Lists are sorted, the best
// first.
type candidate struct {
	connector *SendConnector
	space     string
	cost      int
}

// NewSendSet checks all send connectors and builds the set. The error holds
// every fault, joined with [errors.Join], each a *[postern.FieldError] with a
// path such as "[1].Hosts[0]". Names must be unique. Connectors that are
// disabled are checked but do not take part.
func NewSendSet(list ...*SendConnector) (*SendSet, error) {
	var f faults
	names := make(map[string]int, len(list))
	for i, c := range list {
		if c == nil {
			f.in(itemField(i))("", "nil send connector")
			continue
		}
		fault := f.in(itemField(i) + ".")
		c.validate(fault)
		checkUnique(fault, names, c.Name, i)
	}
	if err := f.join(); err != nil {
		return nil, err
	}
	s := &SendSet{exact: map[string][]candidate{}, below: map[string][]candidate{}}
	for _, c := range list {
		if !c.Disabled {
			s.connectors = append(s.connectors, c)
			s.add(c)
		}
	}
	for _, m := range []map[string][]candidate{s.exact, s.below, {"": s.all}} {
		for _, candidates := range m {
			slices.SortFunc(candidates, compareCandidates)
		}
	}
	return s, nil
}

func (s *SendSet) add(c *SendConnector) {
	for _, a := range c.AddressSpaces {
		domain := canonicalDomain(a.Domain)
		n := candidate{c, domain, a.cost()}
		if parent, ok := strings.CutPrefix(domain, "*."); ok {
			s.below[parent] = append(s.below[parent], n)
			s.labels = max(s.labels, strings.Count(parent, ".")+1)
		} else if domain == "*" {
			s.all = append(s.all, n)
		} else {
			s.exact[domain] = append(s.exact[domain], n)
		}
	}
}

// compareCandidates puts the lowest cost first, then the lowest name. Names
// differ without regard to case.
func compareCandidates(a, b candidate) int {
	return cmp.Or(
		cmp.Compare(a.cost, b.cost),
		cmp.Compare(strings.ToLower(a.connector.Name), strings.ToLower(b.connector.Name)),
	)
}

// Route is the choice for one recipient.
type Route struct {
	Connector *SendConnector
	Space     string // the address space that matched
}

// Errors of [SendSet.Select].
var (
	ErrNoRoute  = errors.New("connector: no send connector matches the domain")
	ErrTooLarge = errors.New("connector: too large for every send connector that matches")
)

// Select returns the connector for a recipient domain, in A-labels, and a
// message of size octets. Connectors that are too small for the message drop
// out; of the rest the one with the most specific address space wins, then the
// lowest cost, then the lowest name. Connectors of one cost do not share the
// load: the name decides, and one takes it all. For several next hops give one
// connector several smart hosts. The error is [ErrNoRoute] when none matches
// and [ErrTooLarge] when some do but all are too small.
func (s *SendSet) Select(domain string, size int64) (Route, error) {
	if s == nil {
		return Route{}, ErrNoRoute
	}
	err := ErrNoRoute
	for list := range s.matches(canonicalDomain(domain)) {
		if r, ok := first(list, size); ok {
			return r, nil
		} else if len(list) > 0 {
			err = ErrTooLarge
		}
	}
	return Route{}, err
}

// matches yields the candidates of a domain, the most specific first.
func (s *SendSet) matches(domain string) iter.Seq[[]candidate] {
	return func(yield func([]candidate) bool) {
		if !yield(s.exact[domain]) {
			return
		}
		rest, more := lastLabels(domain, s.labels), len(s.below) > 0
		for ; more; _, rest, more = strings.Cut(rest, ".") {
			if !yield(s.below[rest]) {
				return
			}
		}
		yield(s.all)
	}
}

// lastLabels returns the last n labels of a domain: a name of a hundred labels
// is not to cost a hundred lookups.
func lastLabels(domain string, n int) string {
	for i := len(domain) - 1; i >= 0; i-- {
		if domain[i] == '.' {
			if n--; n == 0 {
				return domain[i+1:]
			}
		}
	}
	return domain
}

// first returns the best candidate that takes size octets.
func first(list []candidate, size int64) (Route, bool) {
	for i := range list {
		c := list[i].connector
		if c.MaxMessageBytes == 0 || size <= c.MaxMessageBytes {
			return Route{c, list[i].space}, true
		}
	}
	return Route{}, false
}

// Connectors returns the connectors that take part, in the order given to
// [NewSendSet].
func (s *SendSet) Connectors() []*SendConnector {
	if s == nil {
		return nil
	}
	return slices.Clone(s.connectors)
}
