package relay_test

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
)

func TestRequireEncryption(t *testing.T) {
	for _, c := range []struct {
		name    string
		binding string
		change  func(*connector.Connector)
		refused bool
	}{
		{"open to the network", "192.0.2.1:25", func(*connector.Connector) {}, true},
		{"every address", "[::]:25", func(*connector.Connector) {}, true},
		{"loopback", "127.0.0.1:25", func(*connector.Connector) {}, false},
		{"loopback, IPv6", "[::1]:25", func(*connector.Connector) {}, false},
		{"TLS required", "192.0.2.1:25", func(c *connector.Connector) { c.RequireTLS = true }, false},
		{"implicit TLS", "192.0.2.1:465", func(c *connector.Connector) { c.ImplicitTLS = true }, false},
		{"disabled", "192.0.2.1:25", func(c *connector.Connector) { c.Disabled = true }, false},
	} {
		cfg, _ := config()
		apps := connector.AnonymousRelay("apps", connector.MustParseRange("192.0.2.7"))
		apps.Bindings = []netip.AddrPort{netip.MustParseAddrPort(c.binding)}
		c.change(apps)
		cfg.Connectors = []*connector.Connector{apps}
		cfg.RequireEncryption = true
		_, err := relay.New(cfg)
		// Without a certificate TLS is a fault of its own; it is not what is asked here.
		refused := err != nil && strings.Contains(err.Error(), "RequireEncryption is set")
		if refused != c.refused {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestCheckEncryption(t *testing.T) {
	for _, c := range []struct {
		name    string
		require bool
		peer    relay.Peer
		refused bool
	}{
		{"not required", false, relay.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:1")}, false},
		{"without TLS", true, relay.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:1")}, true},
		{"TLS", true, relay.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:1"), TLS: new(tls.ConnectionState)}, false},
		{"this host", true, relay.Peer{Remote: netip.MustParseAddrPort("127.0.0.1:1")}, false},
		{"this host, mapped", true, relay.Peer{Remote: netip.MustParseAddrPort("[::ffff:127.0.0.1]:1")}, false},
		{"this host's proxy for another", true, relay.Peer{Remote: netip.MustParseAddrPort("192.0.2.7:1"), Proxy: netip.MustParseAddrPort("127.0.0.1:1")}, true},
		{"from nowhere", true, relay.Peer{}, true},
	} {
		cfg, _ := config()
		cfg.Connectors, cfg.RequireEncryption = nil, c.require
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		err = r.CheckEncryption(c.peer)
		var reply *relay.ReplyError
		if errors.As(err, &reply) != c.refused || c.refused && (reply.Code != 530 || reply.Enhanced != "5.7.0") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
