package connector_test

import (
	"fmt"
	"net/netip"
	"testing"

	. "github.com/postern-mail/postern/connector"
)

func matchName(s *Set, local, remote string) string {
	c, ok := s.Match(netip.MustParseAddrPort(local), netip.MustParseAddr(remote))
	if !ok {
		if c != nil {
			return "no match, but " + c.Name
		}
		return ""
	}
	return c.Name
}

// TestMatchNarrowest is the worked example of Exchange's documentation.
func TestMatchNarrowest(t *testing.T) {
	t.Parallel()
	port25 := bindings("0.0.0.0:25")
	first := receive("first", port25, ranges("0.0.0.0-255.255.255.255"))
	second := receive("second", port25, ranges("192.168.1.0-192.168.1.255"))
	third := receive("third", port25, ranges("192.168.1.75"))
	for _, order := range [][]*Connector{
		{first, second, third}, {third, second, first}, {second, third, first},
	} {
		s := mustSet(t, order...)
		for remote, want := range map[string]string{
			"192.168.1.75": "third", "192.168.1.100": "second", "192.168.1.74": "second",
			"192.168.1.76": "second", "192.168.1.0": "second",
			"192.168.1.255": "second", "192.168.0.255": "first", "192.168.2.0": "first",
			"0.0.0.0": "first", "255.255.255.255": "first",
			"::ffff:192.168.1.75": "third", "::1": "", "2001:db8::1": "",
		} {
			if got := matchName(s, "10.0.0.1:25", remote); got != want {
				t.Errorf("%s: %q, want %q", remote, got, want)
			}
		}
	}
}

func TestMatchBindings(t *testing.T) {
	t.Parallel()
	s := mustSet(t,
		receive(
			"exact", bindings("10.0.0.1:25", "[2001:db8::1]:25"),
			ranges("192.0.2.0/24", "2001:db8:1::/48"),
		),
		receive("all4", bindings("0.0.0.0:25"), ranges("0.0.0.0/0")),
		receive("all6", bindings("[::]:25", "[::]:26"), ranges("::/0", "0.0.0.0/0")),
		receive("zone", bindings("[fe80::1%eth0]:25"), ranges("fe80::/10")),
		receive("mapped", bindings("[::ffff:10.0.0.7]:27"), ranges("0.0.0.0/0")),
	)
	for _, test := range []struct{ local, remote, want string }{
		{"10.0.0.1:25", "192.0.2.1", "exact"},
		{"[::ffff:10.0.0.1]:25", "::ffff:192.0.2.1", "exact"},
		{"10.0.0.1:25", "192.0.3.1", ""}, // other bindings are not asked
		{"10.0.0.2:25", "192.0.2.1", "all4"},
		{"10.0.0.2:26", "192.0.2.1", "all6"}, // dual stack
		{"10.0.0.2:27", "192.0.2.1", ""},
		{"10.0.0.7:27", "192.0.2.1", "mapped"},
		{"[2001:db8::1]:25", "2001:db8:1::9", "exact"},
		{"[2001:db8::1]:25", "2001:db8:2::9", ""},
		{"[2001:db8::2]:25", "2001:db8:1::9", "all6"},
		{"[2001:db8::2]:27", "2001:db8:1::9", ""},
		{"[fe80::1%eth0]:25", "fe80::2%eth0", "zone"},
		{"[fe80::1%eth1]:25", "fe80::2%eth1", "all6"},
		{"0.0.0.0:25", "192.0.2.1", "all4"},
	} {
		if got := matchName(s, test.local, test.remote); got != test.want {
			t.Errorf("%s from %s: %q, want %q", test.local, test.remote, got, test.want)
		}
	}
	for _, local := range []netip.AddrPort{{}, netip.AddrPortFrom(netip.Addr{}, 25)} {
		if c, ok := s.Match(local, netip.MustParseAddr("192.0.2.1")); ok || c != nil {
			t.Errorf("%v matches %s", local, c.Name)
		}
	}
	if c, ok := s.Match(netip.MustParseAddrPort("[::1]:25"), netip.Addr{}); ok || c != nil {
		t.Errorf("no remote address matches %s", c.Name)
	}
}

func TestMatchEnds(t *testing.T) {
	t.Parallel()
	const last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	b := bindings("[::1]:25")
	s := mustSet(t,
		receive("all", b, ranges("::/0", "0.0.0.0/0")),
		receive("last", b, ranges(last, "255.255.255.255")),
		receive("first", b, ranges("::", "0.0.0.0")),
		receive("carry", b, ranges("2001:db8::-2001:db8::ffff:ffff:ffff:ffff")),
	)
	for remote, want := range map[string]string{
		last: "last", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe": "all", "::": "first", "::1": "all",
		"255.255.255.255": "last", "255.255.255.254": "all",
		"0.0.0.0": "first", "0.0.0.1": "all", "2001:db8::ffff:ffff:ffff:ffff": "carry",
		"2001:db8:0:1::": "all", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff": "all",
	} {
		if got := matchName(s, "[::1]:25", remote); got != want {
			t.Errorf("%s: %q, want %q", remote, got, want)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	set, remotes := manyRanges(t, true)
	local := netip.MustParseAddrPort("192.0.2.1:25")
	if n := testing.AllocsPerRun(10, func() {
		for _, r := range remotes[:100] {
			set.Match(local, r)
		}
		set.Match(netip.MustParseAddrPort("192.0.2.1:26"), remotes[0])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestMatchManyRanges compares 10,000 ranges with the slow way.
func TestMatchManyRanges(t *testing.T) {
	t.Parallel()
	set, remotes := manyRanges(t, false)
	list := set.Connectors()
	local := netip.MustParseAddrPort("192.0.2.1:25")
	for i := 0; i < len(remotes); i += 37 {
		got, _ := set.Match(local, remotes[i])
		if want := naiveMatch(list, local, remotes[i]); got != want {
			t.Fatalf("%s: %v, want %v", remotes[i], got, want)
		}
	}
}

// naiveMatch is Match as the documentation puts it.
func naiveMatch(list []*Connector, local netip.AddrPort, remote netip.Addr) *Connector {
	local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
	tries := []netip.AddrPort{local}
	if local.Addr().Is4() {
		tries = append(tries, netip.AddrPortFrom(netip.IPv4Unspecified(), local.Port()))
	}
	tries = append(tries, netip.AddrPortFrom(netip.IPv6Unspecified(), local.Port()))
	for _, try := range tries {
		bound := false
		var best *Connector
		var bestRange Range
		for _, c := range list {
			if c.Disabled {
				continue
			}
			for _, b := range c.Bindings {
				if b != try {
					continue
				}
				bound = true
				for _, r := range c.RemoteIPRanges {
					if r.Contains(remote) &&
						(best == nil || bestRange.Contains(r.From) && bestRange.Contains(r.To)) {
						best, bestRange = c, r
					}
				}
			}
		}
		if bound {
			return best
		}
	}
	return nil
}

// naiveConflict reports whether two ranges compete on a binding.
func naiveConflict(list []*Connector) bool {
	type owned struct {
		Range
		b netip.AddrPort
	}
	var all []owned
	for _, c := range list {
		for i, r := range c.RemoteIPRanges {
			for _, q := range c.RemoteIPRanges[:i] {
				if conflicts(r, q) {
					return true
				}
			}
		}
		if c.Disabled {
			continue
		}
		var own []owned
		for _, b := range c.Bindings {
			for _, r := range c.RemoteIPRanges {
				own = append(own, owned{r, b})
			}
		}
		for _, o := range own {
			for _, a := range all {
				if a.b == o.b && o.b.Port() != 0 && conflicts(a.Range, o.Range) {
					return true
				}
			}
		}
		all = append(all, own...)
	}
	return false
}

func conflicts(a, b Range) bool {
	inside := func(a, b Range) bool { return b.Contains(a.From) && b.Contains(a.To) }
	overlap := a.Contains(b.From) || a.Contains(b.To) || b.Contains(a.From)
	return a == b || overlap && !inside(a, b) && !inside(b, a)
}

// FuzzMatch builds connectors on a small address space from the input and
// compares the set with the slow way, for every remote address.
func FuzzMatch(f *testing.F) {
	f.Add([]byte{0x01, 2, 0, 255, 0x01, 1, 10, 20, 0x01, 1, 15, 15})
	f.Add([]byte{0x11, 1, 0, 255, 0x12, 1, 3, 9, 0x14, 2, 0, 9, 2, 3, 0x08, 1, 5, 7})
	f.Add([]byte{0x03, 1, 0, 9, 0x03, 1, 5, 14})
	f.Add([]byte{0x27, 3, 0, 127, 128, 255, 130, 140, 0x07, 1, 1, 1})
	binds := bindings("10.0.0.1:25", "0.0.0.0:25", "[::]:25", "10.0.0.1:0")
	locals := bindings(
		"10.0.0.1:25", "10.0.0.2:25", "[::1]:25", "10.0.0.1:26", "[::ffff:10.0.0.1]:25",
	)
	f.Fuzz(func(t *testing.T, data []byte) {
		next := func() (b byte) {
			if len(data) > 0 {
				b, data = data[0], data[1:]
			}
			return b
		}
		// At the edges of the number space, where carries and overflows live.
		base := func(six bool, n byte) netip.Addr {
			if !six {
				return netip.AddrFrom4([4]byte{255, 255, 255, n})
			}
			a := [16]byte{15: n}
			if n >= 128 {
				for i := range 15 {
					a[i] = 255
				}
			}
			return netip.AddrFrom16(a)
		}
		var list []*Connector
		for len(data) > 0 && len(list) < 8 {
			c := receive(fmt.Sprint(len(list)), nil, nil)
			head := next()
			for i, b := range binds {
				if head&(1<<i) != 0 {
					c.Bindings = append(c.Bindings, b)
				}
			}
			if c.Bindings == nil {
				c.Bindings = binds[:1]
			}
			c.Disabled = head&0x20 != 0
			for range min(next(), 6) {
				from, to := next(), next()
				c.RemoteIPRanges = append(
					c.RemoteIPRanges,
					Range{base(head&0x10 != 0, min(from, to)), base(head&0x10 != 0, max(from, to))},
				)
			}
			if c.RemoteIPRanges == nil {
				c.RemoteIPRanges = []Range{MustParseRange("10.0.0.0/8")}
			}
			list = append(list, c)
		}
		s, err := NewSet(list...)
		if conflict := naiveConflict(list); conflict != (err != nil) {
			t.Fatalf("conflict %v, but error %v", conflict, err)
		}
		if err != nil {
			return
		}
		for _, local := range locals {
			for n := range 256 {
				for _, six := range []bool{false, true} {
					remote := base(six, byte(n))
					got, ok := s.Match(local, remote)
					want := naiveMatch(list, local, remote)
					if got != want || ok != (want != nil) {
						t.Fatalf("%s from %s: %v, want %v", local, remote, got, want)
					}
				}
			}
		}
	})
}
