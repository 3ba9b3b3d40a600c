package connector_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	. "github.com/postern-mail/postern/connector"
)

func TestSelect(t *testing.T) {
	t.Parallel()
	send := func(name string, limit int64, list ...string) *SendConnector {
		return &SendConnector{Name: name, MaxMessageBytes: limit, AddressSpaces: spaces(list...)}
	}
	off := send("off", 0, "off.example", "marketing.contoso.com")
	off.Disabled = true
	s, err := NewSendSet(
		send("z-all", 0, "*;2"),
		send("all", 1000, "*;1", "tiny.example"),
		send("com", 0, "*.com;100"),
		send("contoso", 500, "*.contoso.com"),
		send("marketing", 100, "marketing.contoso.com;9"),
		send("b-even", 0, "even.example;5"),
		send("A-even", 0, "even.example;5"),
		send("cheap", 50, "even.example;4"),
		off,
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		domain      string
		size        int64
		name, space string
	}{
		{"marketing.contoso.com", 100, "marketing", "marketing.contoso.com"},
		{"Marketing.Contoso.COM.", 100, "marketing", "marketing.contoso.com"},
		{"marketing.contoso.com", 101, "contoso", "*.contoso.com"}, // too large moves on
		{"marketing.contoso.com", 501, "com", "*.com"},
		// a plain domain has no subdomains
		{"sub.marketing.contoso.com", 1, "contoso", "*.contoso.com"},
		{"contoso.com", 1, "contoso", "*.contoso.com"},
		{"notcontoso.com", 1, "com", "*.com"},
		{"com", 1, "com", "*.com"},
		{"example.org", 1000, "all", "*"},
		{"example.org", 1001, "z-all", "*"},
		{"even.example", 50, "cheap", "even.example"},
		{"even.example", 51, "A-even", "even.example"}, // equal cost: by name, whatever the case
		{"off.example", 1, "all", "*"},
		{"[192.0.2.1]", 1, "all", "*"},
		{"", 1, "all", "*"},
		{"tiny.example", 2000, "z-all", "*"},
	} {
		r, err := s.Select(test.domain, test.size)
		if err != nil || r.Connector.Name != test.name || r.Space != test.space {
			t.Errorf(
				"%s, %d octets: %v %v, want %s by %s", test.domain, test.size, r, err, test.name,
				test.space,
			)
		}
	}
	if got := fmt.Sprint(
		s.Connectors(),
	); got != "[z-all all com contoso marketing b-even A-even cheap]" {
		t.Error(got)
	}

	small, err := NewSendSet(send("a", 10, "a.example", "*.example"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		domain string
		size   int64
		err    error
	}{
		{"a.example", 10, nil},
		{"a.example", 11, ErrTooLarge},
		{"b.example", math.MaxInt64, ErrTooLarge},
		{"example.org", 11, ErrNoRoute},
	} {
		if r, err := small.Select(test.domain, test.size); err != test.err ||
			(r == Route{}) != (err != nil) {
			t.Errorf("%s, %d octets: %v %v", test.domain, test.size, r, err)
		}
	}
	for _, empty := range []*SendSet{nil, {}} {
		if r, err := empty.Select("a.example", 1); r != (Route{}) || err != ErrNoRoute ||
			empty.Connectors() != nil {
			t.Errorf("%v is not empty", empty)
		}
	}
}

func TestSelectAllocatesNothing(t *testing.T) {
	s, err := NewSendSet(&SendConnector{Name: "out", AddressSpaces: spaces("*", "*.example.com")})
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() {
		s.Select("a.b.c.example.com", 1)
		s.Select("example.org", 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNewSendSetFaults(t *testing.T) {
	t.Parallel()
	s, err := NewSendSet(
		&SendConnector{Name: "out", AddressSpaces: spaces("*")}, nil,
		&SendConnector{Name: "OUT", NextHop: NextHop{Hosts: []string{"a b"}}},
	)
	wantFaults(t, err,
		"[1]: nil send connector",
		"[2].AddressSpaces: missing; use * for all domains",
		`[2].Hosts[0]: "a b": label "a b" has a character other than letters, digits and hyphens`,
		`[2].Name: "OUT" is also the name of [0]; names must differ`,
	)
	if s != nil {
		t.Error("a set in spite of faults")
	}
}

// FuzzSelect compares the set with the rules put one after the other.
func FuzzSelect(f *testing.F) {
	f.Add("a.b.c", int64(3), []byte{0, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Add("c", int64(9), []byte{9, 9, 9, 0, 0, 0, 255, 254, 253})
	f.Add("x..A.b.", int64(0), []byte{7, 3, 5})
	domains := []string{"*", "*.c", "*.b.c", "b.c", "a.b.c", "c", "*.a.b.c", "x.c"}
	f.Fuzz(func(t *testing.T, domain string, size int64, data []byte) {
		var list []*SendConnector
		for i := 0; i+2 < len(data) && i < 30; i += 3 {
			c := &SendConnector{
				Name: fmt.Sprint("n", data[i]%16, "-", i), MaxMessageBytes: int64(data[i+1] % 8),
			}
			for j := range domains {
				if data[i+2]&(1<<j) != 0 {
					c.AddressSpaces = append(
						c.AddressSpaces, AddressSpace{domains[j], int(data[i]%3) + 1},
					)
				}
			}
			if c.AddressSpaces != nil {
				list = append(list, c)
			}
		}
		s, err := NewSendSet(list...)
		if err != nil {
			t.Fatal(err)
		}
		domain = strings.TrimSuffix(strings.ToLower(domain), ".")
		r, err := s.Select(domain, size)
		want, wantErr := naiveSelect(list, domain, size)
		if r != want || err != wantErr {
			t.Fatalf("%q, %d octets: %v %v, want %v %v", domain, size, r, err, want, wantErr)
		}
	})
}

func naiveSelect(list []*SendConnector, domain string, size int64) (best Route, err error) {
	domain = strings.TrimSuffix(domain, ".")
	bestRank, bestCost := -1, 0
	none := ErrNoRoute
	for _, c := range list {
		for _, a := range c.AddressSpaces {
			rank := -1
			parent, wild := strings.CutPrefix(a.Domain, "*.")
			switch {
			case a.Domain == "*":
				rank = 0
			case !wild && domain == a.Domain:
				rank = 1000
			case wild && (domain == parent || strings.HasSuffix(domain, "."+parent)):
				rank = len(parent)
			}
			if rank < 0 {
				continue
			}
			if c.MaxMessageBytes != 0 && size > c.MaxMessageBytes {
				none = ErrTooLarge
				continue
			}
			better := rank > bestRank
			if rank == bestRank {
				better = a.Cost < bestCost || a.Cost == bestCost && c.Name < best.Connector.Name
			}
			if better {
				best, bestRank, bestCost = Route{c, a.Domain}, rank, a.Cost
			}
		}
	}
	if best.Connector == nil {
		return best, none
	}
	return best, nil
}
