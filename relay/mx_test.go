package relay_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/relaytest"
)

// mailDNS knows mail domains and their hosts, all at 127.0.0.1.
func mailDNS(domainsAndHosts ...string) *relaytest.Zone {
	z := relaytest.NewZone()
	for pair := range slices.Chunk(domainsAndHosts, 2) {
		z.MX(pair[0], 10, pair[1]).Host(pair[1], "127.0.0.1")
	}
	return z
}

// A domain that is an alias is not unknown for good while its target is not
// found.
func TestAliasIsNotUnknown(t *testing.T) {
	mx := smart("mx", "*")
	w := outgoing(t, func(c *relay.Config) {
		c.Resolver = relaytest.NewZone().Alias("a.test", "gone.test")
	}, mx)
	submit(t, w.relay, "alice@example.test", "x@a.test")
	if e := w.events.wait(t, kind(event.Deferred)); e.Enhanced != "4.4.3" {
		t.Errorf("event %+v", e)
	}
}

// A stranger's DNS does not lead into this network.
func TestMXAtPrivateAddress(t *testing.T) {
	s := sinkFor(t, func(string) string { t.Error("a command arrived"); return "" })
	port := netip.MustParseAddrPort(s.addr()).Port()
	mx := &connector.SendConnector{
		Name: "mx", AddressSpaces: connector.AllDomains(),
		NextHop: connector.NextHop{Port: int(port)},
	}
	w := outgoing(t, func(c *relay.Config) { c.Resolver = mailDNS("a.test", "mail.a.test") }, mx)
	submit(t, w.relay, "alice@example.test", "x@a.test", "x@[127.0.0.1]")
	if e := w.events.wait(t, kind(event.Deferred)); e.To[0] != "x@a.test" || e.Enhanced != "4.4.4" {
		t.Errorf("event %+v", e)
	}
	e := w.events.wait(t, kind(event.Bounced))
	if e.To[0] != "x@[127.0.0.1]" || e.Enhanced != "5.1.2" {
		t.Errorf("event %+v", e)
	}
}

// What the DNS sends to a listener of the relay goes round in circles.
func TestListensAt(t *testing.T) {
	cfg := relay.Config{}
	for i, b := range []string{"127.0.0.1:2501", "0.0.0.0:2502", "[::]:2503", "127.0.0.1:2504"} {
		cfg.Connectors = append(cfg.Connectors, &connector.Connector{
			Bindings: []netip.AddrPort{netip.MustParseAddrPort(b)}, Disabled: i == 3,
		})
	}
	for address, want := range map[string]bool{
		"127.0.0.1:2501": true, "127.0.0.2:2501": false, "127.0.0.1:25": false,
		"127.0.0.1:2502": true, "[::1]:2502": false, "192.0.2.1:2502": false,
		"127.0.0.1:2503": true, "[::1]:2503": true, "[2001:db8::1]:2503": false,
		"127.0.0.1:2504": false,
	} {
		if got := relay.ListensAt(cfg, netip.MustParseAddrPort(address)); got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
}

// TestMX sends to two domains: each has a transaction of its own. A third does
// not exist.
func TestMX(t *testing.T) {
	s := sinkFor(t, nil)
	port := netip.MustParseAddrPort(s.addr()).Port()
	mx := &connector.SendConnector{
		Name: "mx", AddressSpaces: connector.AllDomains(),
		NextHop: connector.NextHop{Port: int(port),
			TLS: connector.TLSNone, AllowPrivateAddresses: true},
	}
	w := outgoing(t, func(c *relay.Config) {
		c.Resolver = mailDNS("a.test", "mail.a.test", "b.test", "mail.b.test")
	}, mx)
	submit(
		t, w.relay, "alice@example.test", "x@a.test", "y@b.test", "z@a.test", "nobody@nowhere.test",
	)
	got := map[string]bool{fmt.Sprint(s.wait(t).to): true, fmt.Sprint(s.wait(t).to): true}
	if !got["[x@a.test z@a.test]"] || !got["[y@b.test]"] {
		t.Errorf("transactions %v", got)
	}
	report := w.mailboxes.wait(t, 1)[0]
	if !strings.Contains(report.content, "nobody@nowhere.test") ||
		strings.Contains(report.content, "no such host") {
		t.Errorf("report %s", report.content)
	}
}
