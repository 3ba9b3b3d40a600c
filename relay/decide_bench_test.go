package relay_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// crowded is a relay with n accepted domains and n more with their subdomains,
// n ranges of relaying hosts and n address spaces.
func crowded(tb testing.TB, n int) *relay.Relay {
	tb.Helper()
	cfg := relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil),
		Mailboxes: delivery.Maildir(tb.TempDir()),
	}
	known := domains.StaticRecipients("alice")
	apps := connector.AnonymousRelay("apps")
	in := connector.FromInternet("in")
	for i := range n {
		d := domains.AcceptedDomain{Domain: fmt.Sprintf("own%d.test", i), Recipients: known}
		if i%2 == 1 {
			d.Domain, d.Type = fmt.Sprintf("branch%d.test", i-1), domains.InternalRelay
		}
		cfg.AcceptedDomains = append(cfg.AcceptedDomains, d,
			domains.AcceptedDomain{Domain: fmt.Sprintf("*.tree%d.test", i), Recipients: known})
		a := netip.AddrFrom4([4]byte{10, byte(i >> 15), byte(i >> 7), byte(i << 1)})
		apps.RemoteIPRanges = append(apps.RemoteIPRanges, connector.Range{From: a, To: a})
	}
	rest := &connector.SendConnector{
		Name: "rest", AddressSpaces: connector.AllDomains(),
	}
	for i := range n {
		rest.AddressSpaces = append(
			rest.AddressSpaces, connector.AddressSpace{Domain: fmt.Sprintf("*.s%d.test", i)},
		)
	}
	cfg.SendConnectors = []*connector.SendConnector{rest}
	cfg.Connectors = []*connector.Connector{apps, in}
	r, err := relay.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = r.Close() })
	return r
}

// decision is a way a recipient may go.
type decision struct {
	name, remote, to string
	accepted         bool
}

func decisions() []decision {
	return []decision{
		{"mailbox", "198.51.100.7", "alice@own%d.test", true},
		{"relay-domain", "198.51.100.7", "nobody@branch%d.test", true},
		{"relayed", "10.0.0.12", "somebody@mail.s%d.test", true},
		{"relayed-deep", "10.0.0.12", "somebody@a.b.c.d.e.f%d.elsewhere.test", true},
		{"subdomain", "198.51.100.7", "alice@a.b.c.d.e.f.tree%d.test", true},
		{"unknown", "198.51.100.7", "nobody@own%d.test", false},
		{"refused", "198.51.100.7", "somebody@elsewhere%d.test", false},
	}
}

// addresses spreads over the domains.
func (d decision) addresses(n int) []domains.Address {
	list := make([]domains.Address, 256)
	for i := range list {
		list[i] = domains.MustParse(fmt.Sprintf(d.to, i*74%n)) // the even ones are taken
	}
	return list
}

// BenchmarkDecideRcpt measures the pure decision on a recipient: connector,
// rights, accepted domain, lookup in a list, and send connector.
func BenchmarkDecideRcpt(b *testing.B) {
	local := netip.MustParseAddrPort("192.0.2.25:25")
	for _, n := range []int{10, 10000} {
		r := crowded(b, n)
		for _, d := range decisions() {
			b.Run(fmt.Sprintf("%s/%d", d.name, n), func(b *testing.B) {
				ctx, remote, to := b.Context(), netip.MustParseAddr(d.remote), d.addresses(n)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if r.DecideRcpt(
						ctx, local, remote, connector.Subject{}, to[i%256], 5000,
					) != d.accepted {
						b.Fatal("decided otherwise")
					}
				}
			})
		}
	}
}

// TestDecideRcptAllocates holds the decision to what a busy relay can afford.
func TestDecideRcptAllocates(t *testing.T) {
	r := crowded(t, 100)
	local := netip.MustParseAddrPort("192.0.2.25:25")
	for _, d := range decisions() {
		ctx, remote, to := t.Context(), netip.MustParseAddr(d.remote), d.addresses(100)[7]
		got := testing.AllocsPerRun(100, func() {
			if r.DecideRcpt(ctx, local, remote, connector.Subject{}, to, 5000) != d.accepted {
				t.Fatalf("%s: decided otherwise", d.name)
			}
		})
		if got > 0 {
			t.Errorf("%s: %v allocations", d.name, got)
		}
	}
}
