package connector_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"github.com/postern-mail/postern/connector"
)

// manyRanges returns a set of 10,000 ranges over 100 connectors on one binding:
// 100 blocks of 65536 addresses, with 99 single addresses of the next connector
// inside each.
func manyRanges(t testing.TB, six bool) (*connector.Set, []netip.Addr) {
	t.Helper()
	addr := func(n uint32) netip.Addr {
		var b [16]byte
		if !six {
			var b [4]byte
			binary.BigEndian.PutUint32(b[:], 10<<24+n)
			return netip.AddrFrom4(b)
		}
		b[0], b[1] = 0xfd, 0x00
		binary.BigEndian.PutUint32(b[4:], n)
		return netip.AddrFrom16(b)
	}
	var list []*connector.Connector
	var remotes []netip.Addr
	for i := range 100 {
		c := connector.New(fmt.Sprint("c", i), connector.Custom)
		c.Bindings = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:25")}
		list = append(list, c)
	}
	for i := range uint32(100) {
		c := list[i]
		c.RemoteIPRanges = append(
			c.RemoteIPRanges, connector.Range{From: addr(i << 16), To: addr(i<<16 + 65535)},
		)
		c = list[(i+1)%100]
		for j := range uint32(99) {
			a := addr(i<<16 + j*601)
			c.RemoteIPRanges = append(c.RemoteIPRanges, connector.Range{From: a, To: a})
			remotes = append(remotes, a, addr(i<<16+j*601+7))
		}
	}
	set, err := connector.NewSet(list...)
	if err != nil {
		t.Fatal(err)
	}
	return set, remotes
}

func BenchmarkMatch10000(b *testing.B) {
	for _, family := range []string{"IPv4", "IPv6"} {
		b.Run(family, func(b *testing.B) {
			set, remotes := manyRanges(b, family == "IPv6")
			local := netip.MustParseAddrPort("192.0.2.1:25")
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 7919) % len(remotes)
				if _, ok := set.Match(local, remotes[i]); !ok {
					b.Fatal("no match")
				}
			}
		})
	}
}

func BenchmarkNewSet10000(b *testing.B) {
	set, _ := manyRanges(b, false)
	list := set.Connectors()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := connector.NewSet(list...); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRights(b *testing.B) {
	relay := connector.AnonymousRelay("apps", connector.Loopback()...)
	users := connector.Submission("users")
	users.Grants = []connector.Grant{
		{Principal: connector.Group("ops"), Rights: connector.AcceptAnySender},
		{Principal: connector.User("mallory"), Rights: connector.Submit, Deny: true},
	}
	for _, test := range []struct {
		name string
		c    *connector.Connector
		peer connector.Subject
	}{
		{"anonymous", relay, connector.Subject{}},
		{
			"user", users,
			connector.Subject{
				Authenticated: true, User: "alice", Groups: []string{"staff", "ops"}, TLS: true,
			},
		},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !test.c.Rights(test.peer).Has(connector.Submit) {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkSelect(b *testing.B) {
	var list []*connector.SendConnector
	for i := range 1000 {
		list = append(list, &connector.SendConnector{
			Name: fmt.Sprint("c", i),
			AddressSpaces: []connector.AddressSpace{
				{Domain: fmt.Sprintf("*.d%d.example", i)}, {Domain: fmt.Sprintf("e%d.example", i)},
			},
		})
	}
	list = append(
		list,
		&connector.SendConnector{
			Name: "out", AddressSpaces: connector.AllDomains(),
		},
	)
	set, err := connector.NewSendSet(list...)
	if err != nil {
		b.Fatal(err)
	}
	for _, domain := range []string{"e500.example", "mail.d500.example", "mx.mail.example.org"} {
		b.Run(domain, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := set.Select(domain, 1000); err != nil {
					b.Fatal("no route")
				}
			}
		})
	}
}
