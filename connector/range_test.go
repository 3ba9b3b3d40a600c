package connector_test

import (
	"net/netip"
	"strings"
	"testing"

	. "github.com/postern-mail/postern/connector"
)

func TestParseRange(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, from, to, printed string }{
		{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"},
		{"192.0.2.0/24", "192.0.2.0", "192.0.2.255", "192.0.2.0/24"},
		{"192.168.1.1/24", "192.168.1.0", "192.168.1.255", "192.168.1.0/24"},
		{"192.0.2.7/32", "192.0.2.7", "192.0.2.7", "192.0.2.7"},
		{"192.0.2.77/29", "192.0.2.72", "192.0.2.79", "192.0.2.72/29"},
		{"0.0.0.0/0", "0.0.0.0", "255.255.255.255", "0.0.0.0/0"},
		{"0.0.0.0-255.255.255.255", "0.0.0.0", "255.255.255.255", "0.0.0.0/0"},
		{"127.0.2.1-127.0.2.9", "127.0.2.1", "127.0.2.9", "127.0.2.1-127.0.2.9"},
		{" 10.0.0.0 - 10.0.0.255 ", "10.0.0.0", "10.0.0.255", "10.0.0.0/24"},
		{"10.0.0.5-10.0.0.5", "10.0.0.5", "10.0.0.5", "10.0.0.5"},
		{"10.0.0.0-10.0.2.255", "10.0.0.0", "10.0.2.255", "10.0.0.0-10.0.2.255"},
		{"2001:db8::1", "2001:db8::1", "2001:db8::1", "2001:db8::1"},
		{"2001:db8::1/61", "2001:db8::", "2001:db8:0:7:ffff:ffff:ffff:ffff", "2001:db8::/61"},
		{"::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"},
		{
			"2001:db8::1-2001:DB8::FFFF", "2001:db8::1", "2001:db8::ffff",
			"2001:db8::1-2001:db8::ffff",
		},
		{"::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1"},
		{"::ffff:192.0.2.1/120", "192.0.2.0", "192.0.2.255", "192.0.2.0/24"},
		{"::ffff:192.0.2.1/96", "0.0.0.0", "255.255.255.255", "0.0.0.0/0"},
		{"::ffff:192.0.2.1-192.0.2.3", "192.0.2.1", "192.0.2.3", "192.0.2.1-192.0.2.3"},
	} {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			r, err := ParseRange(test.text)
			if err != nil {
				t.Fatal(err)
			}
			want := Range{netip.MustParseAddr(test.from), netip.MustParseAddr(test.to)}
			if r != want {
				t.Errorf("got %v-%v, want %v-%v", r.From, r.To, want.From, want.To)
			}
			checkText(t, "Range", test.text, test.printed)
			for _, a := range []netip.Addr{r.From, r.To} {
				if !r.Contains(a) {
					t.Errorf("does not contain %s", a)
				}
			}
			for _, a := range []netip.Addr{r.From.Prev(), r.To.Next()} {
				if r.Contains(a) {
					t.Errorf("contains %s", a)
				}
			}
		})
	}
}

func TestParseRangeErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                        `"" is not an IP address`,
		"example.com":             `"example.com" is not an IP address`,
		"192.0.2":                 `"192.0.2" is not an IP address`,
		"192.0.2.01":              `"192.0.2.01" is not an IP address`,
		"192.0.2.0/33":            "not an address, a slash and the number of bits",
		"192.0.2.0/255.255.255.0": "not an address, a slash and the number of bits",
		"192.0.2.0/":              "not an address, a slash and the number of bits",
		"192.0.2.9-192.0.2.1": "the last address 192.0.2.1 is below the first 192.0.2.9; " +
			"swap them",
		"192.0.2.1-":               `"" is not an IP address`,
		"192.0.2.1-9":              `"9" is not an IP address`,
		"192.0.2.1-2001:db8::1":    "192.0.2.1 and 2001:db8::1 are of different families",
		"192.0.2.0/30-192.0.2.9":   "not an address, a slash and the number of bits",
		"fe80::1%11":               "zones are not allowed; leave out the % and what follows it",
		"fe80::1%eth0-fe80::2%eth": "zones are not allowed; leave out the % and what follows it",
		"::ffff:192.0.2.1/95":      "an IPv4-mapped block needs at least 96 bits",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			r, err := ParseRange(text)
			if err == nil {
				t.Fatalf("read as %s", r)
			}
			if r != (Range{}) || !strings.HasSuffix(err.Error(), ": "+want) {
				t.Errorf("got %v, %v; want %s", r, err, want)
			}
		})
	}
}

func TestRangeLiterals(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	mapped := Range{addr("::ffff:192.0.2.0"), addr("::ffff:192.0.2.255")}
	for _, test := range []struct {
		r    Range
		a    string
		want bool
	}{
		{mapped, "192.0.2.7", true},
		{mapped, "::ffff:192.0.2.7", true},
		{mapped, "192.0.3.0", false},
		{MustParseRange("fe80::/10"), "fe80::1%eth0", true},
		{AllIPv6(), "192.0.2.1", false},
		{AllIPv6(), "::ffff:192.0.2.1", false},
		{AllIPv4(), "::ffff:192.0.2.1", true},
		{AllIPv4(), "::1", false},
		{Loopback()[0], "127.8.9.1", true},
		{Loopback()[1], "::1", true},
		{Range{}, "0.0.0.0", false},
		{Range{addr("192.0.2.9"), addr("192.0.2.1")}, "192.0.2.5", false},
		{Range{addr("192.0.2.9"), netip.Addr{}}, "192.0.2.9", false},
		{Range{addr("fe80::1%a"), addr("fe80::9%a")}, "fe80::5", false},
	} {
		if got := test.r.Contains(addr(test.a)); got != test.want {
			t.Errorf("%s contains %s: %v, want %v", test.r, test.a, got, test.want)
		}
	}
	if AllIPv4().Contains(netip.Addr{}) {
		t.Error("contains no address at all")
	}
	defer func() {
		if recover() == nil {
			t.Error("MustParseRange does not panic")
		}
	}()
	MustParseRange("nonsense")
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{
		"192.0.2.1", "10.0.0.1/8", "10.0.0.1-10.0.0.9", "2001:db8::/33", "::-ffff::",
		"::ffff:1.2.3.4/100", "fe80::1%0", "::/80",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := ParseRange(text)
		if err != nil {
			if r != (Range{}) {
				t.Fatalf("%q fails with a range", text)
			}
			return
		}
		if !r.IsValid() || !r.Contains(r.From) || !r.Contains(r.To) || r.Contains(r.From.Prev()) ||
			r.Contains(r.To.Next()) {
			t.Fatalf("%q is %v-%v", text, r.From, r.To)
		}
		again, err := ParseRange(r.String())
		if err != nil || again != r {
			t.Fatalf("%q prints as %q, which is %v, %v", text, r, again, err)
		}
		// The standard library agrees about blocks.
		if p, err := netip.ParsePrefix(text); err == nil && !p.Addr().Is4In6() &&
			(r.From != p.Masked().Addr() || !p.Contains(r.To) || p.Contains(r.To.Next())) {
			t.Fatalf("%q is %v-%v", text, r.From, r.To)
		}
	})
}
