package connector_test

import (
	"fmt"
	"net/netip"
	"testing"

	. "github.com/postern-mail/postern/connector"
)

// receive returns a connector that only matters for where it matches.
func receive(name string, binds []netip.AddrPort, remotes []Range) *Connector {
	c := New(name, Custom)
	c.Bindings, c.RemoteIPRanges = binds, remotes
	return c
}

func mustSet(t *testing.T, list ...*Connector) *Set {
	t.Helper()
	s, err := NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNewSetFaults(t *testing.T) {
	t.Parallel()
	b := bindings("0.0.0.0:25")
	for _, test := range []struct {
		name string
		list []*Connector
		want []string
	}{
		{"no connector", nil, nil},
		{
			"nil", []*Connector{receive("a", b, ranges("10.0.0.0/8")), nil},
			[]string{"[1]: nil connector"},
		},
		{"same name", []*Connector{
			receive("a", b, ranges("10.0.0.0/8")), receive("A", b, ranges("11.0.0.0/8")),
		},
			[]string{`[1].Name: "A" is also the name of [0]; names must differ`}},
		{"same range", []*Connector{
			receive("a", b, ranges("::1", "10.0.0.0/8")),
			receive("b", b, ranges("10.0.0.0-10.255.255.255")),
		},
			[]string{
				`[1].RemoteIPRanges[0]: 10.0.0.0/8 on 0.0.0.0:25 already belongs to connector ` +
					`[0] "a"; narrow one of them, or use another binding`,
			}},
		{"same range, later connector is wider at first", []*Connector{
			receive("a", b, ranges("10.0.0.1")), receive("b", b, ranges("10.0.0.0/8", "10.0.0.1")),
		},
			[]string{
				`[1].RemoteIPRanges[1]: 10.0.0.1 on 0.0.0.0:25 already belongs to connector ` +
					`[0] "a"; narrow one of them, or use another binding`,
			}},
		{"overlap", []*Connector{
			receive("a", b, ranges("10.0.0.5-10.0.0.9")),
			receive("b", b, ranges("10.0.0.1-10.0.0.5")),
		},
			[]string{
				`[1].RemoteIPRanges[0]: 10.0.0.1-10.0.0.5 on 0.0.0.0:25 overlaps ` +
					`10.0.0.5-10.0.0.9 of connector [0] "a"; one must lie inside the other, or ` +
					`they must be apart`,
			}},
		{"overlap in IPv6", []*Connector{
			receive("a", b, ranges("::1-::8")), receive("b", b, ranges("::8-::9")),
		},
			[]string{
				`[1].RemoteIPRanges[0]: ::8/127 on 0.0.0.0:25 overlaps ::1-::8 of connector ` +
					`[0] "a"; one must lie inside the other, or they must be apart`,
			}},
		{
			"side by side",
			[]*Connector{
				receive("a", b, ranges("::1-::8", "10.0.0.0/9")),
				receive("b", b, ranges("::9-::a", "10.128.0.0/9")),
			},
			nil,
		},
		{
			"inside, with the same start or end",
			[]*Connector{
				receive("a", b, ranges("10.0.0.0/8")),
				receive("b", b, ranges("10.0.0.0/9", "10.255.255.255")),
			},
			nil,
		},
		{"on two shared bindings told once",
			[]*Connector{
				receive("a", bindings("0.0.0.0:25", "[::]:25"), ranges("::1")),
				receive("b", bindings("[::]:25", "0.0.0.0:25"), ranges("::1")),
			},
			[]string{
				`[1].RemoteIPRanges[0]: ::1 on 0.0.0.0:25 already belongs to connector [0] ` +
					`"a"; narrow one of them, or use another binding`,
			}},
		{
			"on other ports",
			[]*Connector{
				receive("a", b, ranges("::1")),
				receive("b", bindings("0.0.0.0:587"), ranges("::1")),
			},
			nil,
		},
		{
			"on an address of its own",
			[]*Connector{
				receive("a", b, ranges("::1")),
				receive("b", bindings("10.0.0.1:25"), ranges("::1")),
			},
			nil,
		},
		{
			"on free ports",
			[]*Connector{
				receive("a", bindings("127.0.0.1:0"), ranges("::1")),
				receive("b", bindings("127.0.0.1:0"), ranges("::1")),
			},
			nil,
		},
		{
			"disabled",
			[]*Connector{
				receive("a", b, ranges("::1")),
				{Name: "b", Disabled: true, Bindings: b, RemoteIPRanges: ranges("::1")},
			},
			nil,
		},
		{"mapped binding", []*Connector{
			receive("a", bindings("[::ffff:10.0.0.1]:25"), ranges("::1")),
			receive("b", bindings("10.0.0.1:25"), ranges("::1")),
		},
			[]string{
				`[1].RemoteIPRanges[0]: ::1 on 10.0.0.1:25 already belongs to connector [0] ` +
					`"a"; narrow one of them, or use another binding`,
			}},
		{"everything at once", []*Connector{
			receive("a", b, ranges("10.0.0.0/8")), {},
			receive("a", b, append(ranges("10.0.0.0/8"), Range{})),
			AnonymousRelay("open", Everyone()...),
		}, []string{
			"[1].Name: missing; give the connector a name of its own",
			"[1].Bindings: missing; name a local address and port, such as 0.0.0.0:25",
			"[1].RemoteIPRanges: missing; list the remote addresses the connector is for",
			"[2].RemoteIPRanges[1]: no address",
			`[2].Name: "a" is also the name of [0]; names must differ`,
			`[3].RemoteIPRanges: open relay: without logging on (principal "anonymous"), hosts ` +
				`in these ranges may send to any recipient, ` +
				"and the ranges hold more public IPv4 addresses than a /8 block holds; list " +
				"only your own hosts, take away ms-Exch-SMTP-Accept-Any-Recipient, or set " +
				"OpenRelay",
			`[2].RemoteIPRanges[0]: 10.0.0.0/8 on 0.0.0.0:25 already belongs to connector [0] ` +
				`"a"; narrow one of them, or use another binding`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, err := NewSet(test.list...)
			wantFaults(t, err, test.want...)
			if (s == nil) != (err != nil) {
				t.Errorf("set %v with error %v", s, err)
			}
		})
	}
}

func TestSetLists(t *testing.T) {
	t.Parallel()
	disabled := receive("c", bindings("127.0.0.1:28"), ranges("::1"))
	disabled.Disabled = true
	list := []*Connector{
		receive(
			"a", bindings("127.0.0.1:25", "[::ffff:127.0.0.1]:26", "127.0.0.1:0"),
			ranges("10.0.0.0/8"),
		),
		receive("b", bindings("127.0.0.1:25", "0.0.0.0:25"), ranges("10.0.0.1")),
		disabled,
	}
	s := mustSet(t, list...)
	if got := fmt.Sprint(s.Bindings()); got != "[127.0.0.1:25 127.0.0.1:26 0.0.0.0:25]" {
		t.Error(got)
	}
	if got := s.Connectors(); len(got) != 2 || got[0] != list[0] || got[1] != list[1] {
		t.Error(got)
	}
	if got := matchName(s, "127.0.0.1:28", "::1"); got != "" {
		t.Errorf("disabled connector %s matches", got)
	}
	for _, empty := range []*Set{nil, {}, mustSet(t)} {
		if len(empty.Bindings()) != 0 || len(empty.Connectors()) != 0 ||
			matchName(empty, "127.0.0.1:25", "10.0.0.1") != "" {
			t.Errorf("%v is not empty", empty)
		}
	}
}
