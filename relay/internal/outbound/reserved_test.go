package outbound_test

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

func TestPublic(t *testing.T) {
	for want, list := range map[bool]string{
		true: `192.0.2.1 8.8.8.8 100.63.0.1 100.128.0.1 172.15.0.1 172.32.0.1
			192.1.0.1 192.0.1.1 198.20.0.1 223.255.255.255
			2001:db8::1 2a00:1450::1 64:ff9b::808:808 2002:808:808::1 ::ffff:8.8.8.8`,
		false: `0.0.0.0 0.1.2.3 127.0.0.1 127.255.0.1 10.0.0.1 100.64.0.1
			169.254.169.254 172.16.0.1 172.31.255.1 192.168.0.1 192.0.0.8 198.18.0.1
			198.19.0.1 224.0.0.1 240.0.0.1 255.255.255.255
			:: ::1 fe80::1 fe80::1%eth0 fec0::1 fc00::1 fd12::1 ff02::1 ff0e::1
			::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1
			64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::808:808
			2002:7f00:1::1 2002:c0a8:1::1`,
	} {
		for _, address := range strings.Fields(list) {
			if got := outbound.Public(netip.MustParseAddr(address)); got != want {
				t.Errorf("%s: %v", address, got)
			}
		}
	}
}

// The DNS of strangers, and address literals, do not lead to this network.
func TestPrivateAddresses(t *testing.T) {
	z := zone{
		mx: map[string][]*net.MX{
			"inside.example": {{Host: "inside.example."}},
			"both.example":   {{Host: "both.example."}},
			"bare.example":   {{Host: "10.0.0.1."}},
			"us.example":     {{Host: "us.example."}},
			"backup.example": {{Host: "us.example.", Pref: 1}, {Host: "mx.example.", Pref: 2}},
			"second.example": {
				{Host: "mx.example.", Pref: 1}, {Host: "us.example.", Pref: 2},
				{Host: "both.example.", Pref: 3},
			},
			"wide.example": {{Host: "all.example."}},
			"nat.example":  {{Host: "nat.example."}},
		},
		ip: map[string][]string{
			"inside.example": {
				"127.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
			},
			"both.example": {"10.0.0.1", "192.0.2.9"},
			"us.example":   {"192.0.2.25"},
			"mx.example":   {"192.0.2.26"},
			"all.example":  {"192.0.2.27", "192.0.2.25"},
			"nat.example":  {"10.0.0.25", "192.0.2.26"},
		},
	}
	own := func(a netip.AddrPort) bool {
		return a.String() == "192.0.2.25:25" || a.String() == "10.0.0.25:25"
	}
	const unreached, down = "temporary dns 0 4.4.4 error", "temporary dial 0 4.4.1 error"
	const literal, loop = "permanent dns 0 5.1.2 error", "permanent dns 0 5.4.6 error"
	for _, test := range []struct {
		domain, want, dialed string
		allowed, dialedThen  string
	}{
		{"inside.example", unreached, "", down, "127.0.0.1 ::1 169.254.169.254 64:ff9b::7f00:1 1"},
		{"both.example", down, "192.0.2.9", down, "1 192.0.2.9"},
		{"bare.example", unreached, "", down, "1"},
		{"[127.0.0.1]", literal, "", down, "127.0.0.1"},
		{"[IPv6:::1]", literal, "", down, "::1"},
		{"[IPv6:::ffff:127.0.0.1]", literal, "", down, "127.0.0.1"},
		{"[IPv6:64:ff9b::a00:1]", literal, "", down, "64:ff9b::a00:1"},
		{"[169.254.169.254]", literal, "", down, "169.254.169.254"},
		{"[224.0.0.1]", literal, "", literal, ""},
		{"[0.0.0.0]", literal, "", literal, ""},
		{"us.example", loop, "", loop, ""},
		{"[192.0.2.25]", loop, "", loop, ""},
		{"backup.example", loop, "", loop, ""}, // it would come back
		{"second.example", down, "192.0.2.26", down, "192.0.2.26"},
		{"wide.example", loop, "", loop, ""},
		{"nat.example", down, "192.0.2.26", loop, ""},
	} {
		for _, allow := range []bool{false, true} {
			want, dialed := test.want, test.dialed
			if allow {
				want, dialed = test.allowed, test.dialedThen
			}
			n := &network{down: map[string]bool{}}
			for _, list := range z.ip {
				for _, a := range list {
					n.down[netip.MustParseAddr(a).Unmap().String()] = true
				}
			}
			for _, a := range []string{"127.0.0.1", "64:ff9b::a00:1", "10.0.0.1"} {
				n.down[a] = true
			}
			c := newClient(t, n.dial, func(cfg *outbound.Config) { cfg.Resolver, cfg.Own = z, own })
			r := newRequest("hi\r\n")
			r.Hop.Hosts, r.Domain, r.Hop.AllowPrivateAddresses = nil, test.domain, allow
			t.Logf("%s, %v", test.domain, allow)
			expect(t, c.Deliver(t.Context(), r), want)
			if got := n.took(); got != dialed {
				t.Errorf("dialled %q, want %q", got, dialed)
			}
		}
	}
	// A smart host is where the operator says.
	n := &network{down: map[string]bool{"127.0.0.1": true, "10.0.0.1": true}}
	c := newClient(t, n.dial)
	r := newRequest("hi\r\n")
	r.Hop.Hosts, r.Hop.AllowPrivateAddresses = []string{"127.0.0.1", "10.0.0.1"}, false
	expect(t, c.Deliver(t.Context(), r), down)
	if got := n.took(); got != "127.0.0.1 1" {
		t.Errorf("dialled %q", got)
	}
}
