package outbound_test

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
)

func TestMX(t *testing.T) {
	mx := func(pairs ...any) (list []*net.MX) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, &net.MX{Host: pairs[i].(string), Pref: uint16(pairs[i+1].(int))})
		}
		return list
	}
	z := zone{
		mx: map[string][]*net.MX{
			"two.example":   mx("mx3.example.", 30, "mx1.example.", 10, "mx2.example.", 20),
			"null.example":  mx(".", 0),
			"nulls.example": mx(".", 0, ".", 1),
			"part.example":  mx(".", 0, "mx1.example.", 10),
			"gone.example":  mx("nowhere.example.", 10),
			"half.example":  mx("nowhere.example.", 10, "mx2.example.", 20),
			"loop.example": mx(
				"mx1.example.", 10, "Relay.Example.Test.", 10, "mx2.example.", 20,
			),
			"backup.example": mx(
				"mx1.example.", 10, "relay.example.test.", 20, "mx2.example.", 30,
			),
			"many.example": mx(
				"a1.example.", 1, "a2.example.", 2, "a3.example.", 3, "a4.example.", 4,
				"a5.example.", 5, "a6.example.", 6,
			),
			"wide.example":     mx("wide.example.", 1, "mx2.example.", 2),
			"literal.example":  mx("10.0.0.1.", 1),
			"strange.example":  mx("a b.example.", 1),
			"nowhere2.example": mx("zero.example.", 1),
		},
		ip: map[string][]string{
			"mx1.example":     {"10.0.0.1"},
			"mx2.example":     {"2001:db8::2", "10.0.0.2"},
			"mx3.example":     {"::ffff:10.0.0.3"},
			"address.example": {"10.0.0.9"},
			"a1.example":      {"10.0.0.11"}, "a2.example": {"10.0.0.12"},
			"a3.example": {"10.0.0.13"}, "a4.example": {"10.0.0.14"},
			"a5.example": {"10.0.0.15"}, "a6.example": {"10.0.0.16"},
			"wide.example": {"10.0.0.21", "10.0.0.22", "10.0.0.23", "10.0.0.24", "10.0.0.25",
				"10.0.0.26", "10.0.0.27", "10.0.0.28",
				"10.0.0.29", "10.0.0.30", "10.0.0.31"},
			"zero.example": {"0.0.0.0", "224.0.0.1"},
		},
	}
	broken := z
	broken.fail = errors.New("server failure")
	for _, test := range []struct {
		zone   zone
		domain string
		dialed string
		want   string
	}{
		{z, "two.example", "1 2001:db8::2 2 3", "temporary dial 0 4.4.1 error"},
		{z, "address.example", "9", "temporary dial 0 4.4.1 error"}, // implicit MX
		{z, "null.example", "", "permanent dns 0 5.1.10 error"},
		{z, "nulls.example", "", "permanent dns 0 5.1.10 error"},
		{z, "part.example", "1", "temporary dial 0 4.4.1 error"},
		{z, "missing.example", "", "permanent dns 0 5.1.2 error"},
		{z, "gone.example", "", "temporary dns 0 4.4.4 error"},
		{z, "half.example", "2001:db8::2 2", "temporary dial 0 4.4.1 error"},
		{broken, "missing.example", "", "temporary dns 0 4.4.3 error"},
		{broken, "gone.example", "", "temporary dns 0 4.4.3 error"},
		{z, "loop.example", "", "permanent dns 0 5.4.6 error"},
		{z, "backup.example", "1", "temporary dial 0 4.4.1 error"},
		{z, "many.example", "11 12 13 14 15", "temporary dial 0 4.4.1 error"},
		{z, "wide.example", "21 22 23 24 25 26 27 28 29 30", "temporary dial 0 4.4.1 error"},
		{z, "literal.example", "1", "temporary dial 0 4.4.1 error"},
		{z, "strange.example", "", "permanent dns 0 5.1.3 error"},
		{z, "nowhere2.example", "", "temporary dns 0 4.4.4 error"},
		{z, "[10.0.0.7]", "7", "temporary dial 0 4.4.1 error"},
		{z, "[IPv6:2001:db8::7]", "2001:db8::7", "temporary dial 0 4.4.1 error"},
		{z, "[ipv6:2001:DB8::7]", "2001:db8::7", "temporary dial 0 4.4.1 error"},
		{z, "[10.0.0.7", "", "permanent dns 0 5.1.3 error"},
		{z, "[example.com]", "", "permanent dns 0 5.1.3 error"},
		{z, "[IPv6:fe80::1%eth0]", "", "permanent dns 0 5.1.3 error"},
		{z, "[X:y]", "", "permanent dns 0 5.1.3 error"},
		{z, "[0.0.0.0]", "", "permanent dns 0 5.1.2 error"},
		{z, "", "", "permanent dns 0 5.1.3 error"},
	} {
		t.Run(test.domain, func(t *testing.T) {
			n := &network{}
			n.down = map[string]bool{}
			c := newClient(t, func(ctx context.Context, network, addr string) (net.Conn, error) {
				host, port, _ := net.SplitHostPort(addr)
				if n.down[host] = true; port != "25" {
					t.Errorf("port %s", port)
				}
				return n.dial(ctx, network, addr)
			}, func(cfg *outbound.Config) { cfg.Resolver = test.zone })
			r := newRequest("hi\r\n")
			r.Hop.Hosts, r.Domain = nil, test.domain
			expect(t, c.Deliver(t.Context(), r), test.want)
			if got := n.took(); got != test.dialed {
				t.Errorf("dialled %q, want %q", got, test.dialed)
			}
		})
	}
}

// records is a Resolver with one answer for each kind of question: exchangers,
// an address, or an error.
type records struct {
	delivery.Resolver
	mx    []*net.MX
	mxErr error
	ip    any
	name  string // of which the domain is an alias
}

func (r records) LookupMX(
	_ context.Context, domain string,
) (delivery.Answer[*net.MX], error) {
	return delivery.Answer[*net.MX]{Records: r.mx, Name: cmp.Or(r.name, domain)}, r.mxErr
}

func (r records) LookupNetIP(
	_ context.Context, _, host string,
) (a delivery.Answer[netip.Addr], err error) {
	a.Name = cmp.Or(r.name, host)
	switch ip := r.ip.(type) {
	case string:
		a.Records = []netip.Addr{netip.MustParseAddr(ip)}
	case error:
		return a, ip
	}
	return a, nil
}

// A domain is unknown for good only if every question about it is answered so.
func TestUnknownDomainNeedsEveryAnswer(t *testing.T) {
	none := &net.DNSError{Err: "no such host", IsNotFound: true}
	servfail := &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	refused := &net.DNSError{Err: "server misbehaving"}
	silent := &net.DNSError{Err: "i/o timeout", IsTimeout: true, IsTemporary: true}
	odd := &net.DNSError{Err: "no such host", IsNotFound: true, IsTimeout: true}
	both, either := errors.Join(none, none), errors.Join(none, servfail)
	malformed := &net.DNSError{Err: "malformed DNS records"}
	const unknown, later = "permanent dns 0 5.1.2 error", "temporary dns 0 4.4.3 error"
	null, us := []*net.MX{{Host: "."}}, []*net.MX{{Host: "relay.example.test."}}
	for name, test := range map[string]struct {
		resolver records
		want     string
	}{
		"nothing anywhere":    {records{mxErr: none, ip: none}, unknown},
		"no MX, no addresses": {records{ip: none}, unknown},
		"all joined":          {records{mxErr: none, ip: both}, unknown},
		"MX fails":            {records{mxErr: servfail, ip: none}, later},
		"MX refused":          {records{mxErr: refused, ip: none}, later},
		"addresses fail":      {records{mxErr: none, ip: servfail}, later},
		"addresses refused":   {records{mxErr: none, ip: refused}, later},
		"addresses silent":    {records{mxErr: none, ip: silent}, later},
		"addresses empty":     {records{mxErr: none}, later},
		"not sure":            {records{mxErr: none, ip: odd}, later},
		"one of two joined":   {records{mxErr: none, ip: either}, later},
		"implicit MX": {
			records{mxErr: none, ip: "2001:db8::1"}, "temporary dial 0 4.4.1 error",
		},
		"null MX":                  {records{mx: null}, "permanent dns 0 5.1.10 error"},
		"null MX among unreadable": {records{mx: null, mxErr: malformed}, later},
		"loop":                     {records{mx: us}, "permanent dns 0 5.4.6 error"},
		"loop among unreadable":    {records{mx: us, mxErr: malformed}, later},
		"alias that leads nowhere": {
			records{mxErr: none, ip: none, name: "b.example"}, later,
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := &network{down: map[string]bool{"2001:db8::1": true}}
			c := newClient(t, n.dial, func(cfg *outbound.Config) { cfg.Resolver = test.resolver })
			r := newRequest("hi\r\n")
			r.Hop.Hosts, r.Domain = nil, "example.org"
			expect(t, c.Deliver(t.Context(), r), test.want)
		})
	}
}

// searching is a Resolver with a search list, which finds one short name.
type searching struct{ delivery.Resolver }

func (searching) LookupHost(
	_ context.Context, host string,
) (a delivery.Answer[netip.Addr], err error) {
	if host != "short" {
		return a, errors.New("asked for " + host)
	}
	a.Records = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	return a, nil
}

// A search list is for the smart hosts of the configuration alone: a domain
// must not become one of this network.
func TestSearchListIsForSmartHostsAlone(t *testing.T) {
	n := &network{serve: (&sink{}).serve}
	c := newClient(t, n.dial, func(cfg *outbound.Config) { cfg.Resolver = searching{zone{}} })
	r := newRequest("hi\r\n")
	r.Hop.Hosts = []string{"short"}
	expect(t, c.Deliver(t.Context(), r), taken)
	r = newRequest("hi\r\n")
	r.Hop.Hosts, r.Domain = nil, "short"
	expect(t, c.Deliver(t.Context(), r), "permanent dns 0 5.1.2 error")
}

// Exchangers of the same preference share the load.
func TestMXEqualPreference(t *testing.T) {
	z := zone{
		mx: map[string][]*net.MX{
			"example.org": {
				{Host: "a.example.", Pref: 5}, {Host: "b.example.", Pref: 5},
				{Host: "c.example.", Pref: 9},
			},
		},
		ip: map[string][]string{
			"a.example": {"10.0.0.1"}, "b.example": {"10.0.0.2"}, "c.example": {"10.0.0.3"},
		},
	}
	n := &network{serve: (&sink{}).serve}
	c := newClient(t, n.dial, func(cfg *outbound.Config) { cfg.Resolver = z })
	r := newRequest("hi\r\n")
	r.Hop.Hosts, r.Domain, r.Hop.MessagesPerConnection = nil, "example.org", 1
	for range 64 {
		expect(t, c.Deliver(t.Context(), r), taken)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !slices.Contains(n.dialed, "1") || !slices.Contains(n.dialed, "2") ||
		slices.Contains(n.dialed, "3") {
		t.Errorf("dialled %v", n.dialed)
	}
}

// An exchanger that introduces itself with the name of this host is this host.
func TestMXLoopByName(t *testing.T) {
	z := zone{ip: map[string][]string{"example.org": {"10.0.0.1"}}}
	n := &network{serve: func(c net.Conn) {
		defer c.Close()
		follow(
			c,
			[]string{
				"S: 220 hello", "C: EHLO relay.example.test",
				"S: 250-RELAY.example.test at your service", "S: 250 HELP",
			},
		)
	}}
	c := newClient(t, n.dial, func(cfg *outbound.Config) { cfg.Resolver = z })
	r := newRequest("hi\r\n")
	r.Hop.Hosts, r.Domain = nil, "example.org"
	expect(t, c.Deliver(t.Context(), r), "permanent ehlo 0 5.4.6 error")
}

// Connections to the exchangers of one domain are not used for another.
func TestMXPoolByDomain(t *testing.T) {
	z := zone{ip: map[string][]string{"a.example": {"10.0.0.1"}, "b.example": {"10.0.0.1"}}}
	n := &network{serve: (&sink{}).serve}
	c := newClient(t, n.dial, func(cfg *outbound.Config) { cfg.Resolver = z })
	for _, domain := range []string{"a.example", "b.example", "a.example"} {
		r := newRequest("hi\r\n")
		r.Hop.Hosts, r.Domain = nil, domain
		expect(t, c.Deliver(t.Context(), r), taken)
	}
	if got := n.took(); got != "1 1" {
		t.Errorf("dialled %s", got)
	}
}

func TestSmartHosts(t *testing.T) {
	z := zone{
		ip: map[string][]string{"mx.example": {"10.0.0.1", "10.0.0.2"}, "short": {"10.0.0.3"}},
	}
	for _, test := range []struct{ host, addr, shown string }{
		{"mx.example", "10.0.0.1:587", "mx.example [10.0.0.1]:587"},
		{"mx.example:2525", "10.0.0.1:2525", "mx.example [10.0.0.1]:2525"},
		{"short", "10.0.0.3:587", "short [10.0.0.3]:587"},
		{"192.0.2.1", "192.0.2.1:587", "192.0.2.1 [192.0.2.1]:587"},
		{"192.0.2.1:25", "192.0.2.1:25", "192.0.2.1 [192.0.2.1]:25"},
		{"[192.0.2.1]", "192.0.2.1:587", "192.0.2.1 [192.0.2.1]:587"},
		{"2001:db8::1", "[2001:db8::1]:587", "2001:db8::1 [2001:db8::1]:587"},
		{"[2001:db8::1]", "[2001:db8::1]:587", "2001:db8::1 [2001:db8::1]:587"},
		{"[2001:db8::1]:25", "[2001:db8::1]:25", "2001:db8::1 [2001:db8::1]:25"},
		{"mx.example:0", "", ""},
		{"mx.example:smtp", "", ""},
		{"", "", ""},
		{"a b", "", ""},
	} {
		var addrs []string
		serve := (&sink{}).serve
		c := newClient(t, func(_ context.Context, network, addr string) (net.Conn, error) {
			if addrs = append(addrs, addr); network != "tcp" {
				t.Errorf("network %s", network)
			}
			return dialPipe(serve)(nil, "", "")
		}, func(cfg *outbound.Config) { cfg.Resolver = z })
		r := newRequest("hi\r\n")
		r.Hop.Hosts, r.Hop.Port = []string{test.host}, 587
		res := c.Deliver(t.Context(), r)
		if test.addr == "" {
			expect(t, res, "temporary dns 0 4.4.4 error")
			continue
		}
		expect(t, res, taken)
		if got := strings.Join(addrs, " "); got != test.addr || res[0].Host != test.shown {
			t.Errorf("%s: dialled %s, host %s", test.host, got, res[0].Host)
		}
	}
}

func FuzzDomain(f *testing.F) {
	for _, s := range []string{
		"example.com", "[192.0.2.1]", "[IPv6:::1]", "[", "[]", "a:25", "unix:/x", ".",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, s string, smart bool) {
		c := outbound.New(outbound.Config{
			Hostname: "relay.example.test",
			Resolver: everywhere{},
			Dial: func(_ context.Context, network, addr string) (net.Conn, error) {
				if network == "tcp" {
					if a, err := netip.ParseAddrPort(addr); err != nil || a.Port() == 0 {
						t.Errorf("%q: dialled %q", s, addr)
					}
				} else if !smart {
					t.Errorf("%q: network %s", s, network)
				}
				return nil, errors.New("no")
			},
		})
		r := newRequest("")
		if r.Hop.Hosts = []string{s}; !smart {
			r.Hop.Hosts, r.Domain = nil, s
		}
		if res := c.Deliver(context.Background(), r); res[0].Err == nil || res[0].Delivered {
			t.Errorf("%q: %+v", s, res[0])
		}
	})
}

// everywhere resolves every name.
type everywhere struct{ delivery.Resolver }

func (everywhere) LookupMX(
	_ context.Context, name string,
) (a delivery.Answer[*net.MX], err error) {
	a.Records = []*net.MX{{Host: name}}
	return a, nil
}

func (everywhere) LookupNetIP(
	context.Context, string, string,
) (a delivery.Answer[netip.Addr], err error) {
	a.Records = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	return a, nil
}
