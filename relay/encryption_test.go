package relay_test

import (
	"crypto/tls"
	"errors"
	"fmt"
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
		{"TLS required", "192.0.2.1:25", func(c *connector.Connector) {
			c.RequireTLS = true
		}, false},
		{"implicit TLS", "192.0.2.1:465", func(c *connector.Connector) {
			c.ImplicitTLS = true
		}, false},
		{"disabled", "192.0.2.1:25", func(c *connector.Connector) { c.Disabled = true }, false},
	} {
		cfg, _ := config()
		apps := connector.AnonymousRelay("apps", connector.MustParseRange("192.0.2.7"))
		apps.Bindings = []netip.AddrPort{netip.MustParseAddrPort(c.binding)}
		c.change(apps)
		cfg.Connectors = []*connector.Connector{apps}
		cfg.RequireEncryption = true
		_, err := relay.New(cfg)
		// Without a certificate TLS is a fault of its own; it is not what is
		// asked here.
		refused := err != nil && strings.Contains(err.Error(), "RequireEncryption is set")
		if refused != c.refused {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// Whoever speaks for others does not carry their mail past RequireEncryption,
// and Explain says so.
func TestRequireEncryptionOfProxied(t *testing.T) {
	const outside, inside = "203.0.113.9", "127.0.0.1"
	for _, test := range []struct {
		name    string
		proxied string // the first line of the session, a PROXY header
		client  string // the first command, XCLIENT
		remote  string
		refused bool
	}{
		{"PROXY", "PROXY TCP4 " + outside + " 192.0.2.1 4711 25", "", outside, true},
		{"XCLIENT", "", "XCLIENT ADDR=" + outside, outside, true},
		{"both", "PROXY UNKNOWN", "XCLIENT ADDR=" + outside, outside, true},
		{"for this host", "PROXY TCP4 " + inside + " 192.0.2.1 4711 25", "", inside, false},
		{"for itself", "PROXY UNKNOWN", "", inside, false},
		{"no proxy", "", "", inside, false},
	} {
		for _, encrypted := range []bool{false, true} {
			w := start(t, func(cfg *relay.Config) {
				apps := bind(
					connector.AnonymousRelay(
						"apps", connector.MustParseRange(outside), connector.MustParseRange(inside),
					),
					inside,
				)
				apps.AuthMechanisms |= connector.BasicAuth
				apps.PermissionGroups |= connector.AuthenticatedUsers
				cfg.Connectors, cfg.TLS, cfg.RequireEncryption = []*connector.Connector{
					apps,
				}, certificate(t), true
				cfg.XClient = []connector.Range{connector.MustParseRange(inside)}
				if test.proxied != "" {
					cfg.Proxies = cfg.XClient
				}
			})
			c := w.connect(t, "apps")
			if test.proxied != "" {
				c.Say(test.proxied)
			}
			c.Expect("220 ")
			if test.client != "" {
				c.Play("C: " + test.client + "\nS: 220 ")
			}
			c.Play("C: EHLO client.example.test\nS: 250 ")
			if encrypted {
				c.Play(startTLS)
			}
			c.Say("AUTH PLAIN AHgAeA==")
			logon := c.reply()
			c.Say("MAIL FROM:<a@elsewhere.test>")
			mail := c.reply()
			if refused := test.refused &&
				!encrypted; strings.HasPrefix(logon, "538 5.7.11 ") != refused ||
				strings.HasPrefix(
					mail, "530 5.7.0 Must issue a STARTTLS command first",
				) != refused || strings.HasPrefix(mail, "250 ") == refused {
				t.Errorf("%s, TLS %v: AUTH %q, MAIL %q", test.name, encrypted, logon, mail)
			}
			for _, user := range []string{"", "x"} {
				e, err := w.relay.Explain(t.Context(), relay.ExplainQuery{
					Local:  w.relay.Addrs("apps")[0],
					Remote: netip.MustParseAddrPort(test.remote + ":1"), TLS: encrypted, User: user,
					From: "a@elsewhere.test",
				})
				if err != nil {
					t.Fatal(err)
				}
				want := map[bool]string{true: mail, false: "235 "}[user == ""]
				if test.refused && !encrypted && user != "" {
					want = logon
				}
				if got := e.Replies[0]; !strings.HasPrefix(want, fmt.Sprint(got.Code, " ")) {
					t.Errorf(
						"%s, TLS %v, user %q: explained as %+v, want %q", test.name, encrypted,
						user, got, want,
					)
				}
			}
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
		{
			"TLS", true,
			relay.Peer{
				Remote: netip.MustParseAddrPort("192.0.2.7:1"), TLS: new(tls.ConnectionState),
			},
			false,
		},
		{"this host", true, relay.Peer{Remote: netip.MustParseAddrPort("127.0.0.1:1")}, false},
		{
			"this host, mapped", true,
			relay.Peer{Remote: netip.MustParseAddrPort("[::ffff:127.0.0.1]:1")}, false,
		},
		{
			"this host's proxy for another", true,
			relay.Peer{
				Remote: netip.MustParseAddrPort("192.0.2.7:1"),
				Proxy:  netip.MustParseAddrPort("127.0.0.1:1"),
			},
			true,
		},
		{
			"another's proxy for this host", true,
			relay.Peer{
				Remote: netip.MustParseAddrPort("127.0.0.1:1"),
				Proxy:  netip.MustParseAddrPort("192.0.2.7:1"),
			},
			true,
		},
		{
			"this host's proxy for TLS", true,
			relay.Peer{
				Remote: netip.MustParseAddrPort("192.0.2.7:1"),
				Proxy:  netip.MustParseAddrPort("[::ffff:127.0.0.1]:1"),
				TLS:    new(tls.ConnectionState),
			},
			false,
		},
		{
			"another's proxy for TLS, in the clear", true,
			relay.Peer{
				Remote: netip.MustParseAddrPort("192.0.2.7:1"),
				Proxy:  netip.MustParseAddrPort("10.0.0.1:1"), TLS: new(tls.ConnectionState),
			},
			true,
		},
		{
			"another's proxy for TLS, not required", false,
			relay.Peer{
				Remote: netip.MustParseAddrPort("192.0.2.7:1"),
				Proxy:  netip.MustParseAddrPort("10.0.0.1:1"), TLS: new(tls.ConnectionState),
			},
			false,
		},
		{
			"another's proxy for this host, in the clear", true,
			relay.Peer{
				Remote: netip.MustParseAddrPort("127.0.0.1:1"),
				Proxy:  netip.MustParseAddrPort("10.0.0.1:1"), TLS: new(tls.ConnectionState),
			},
			true,
		},
		{
			"another's proxy for TLS, inside TLS", true,
			relay.Peer{
				Remote: netip.MustParseAddrPort("192.0.2.7:1"),
				Proxy:  netip.MustParseAddrPort("10.0.0.1:1"), ProxyTLS: true,
				TLS: new(tls.ConnectionState),
			},
			false,
		},
		{
			"another's proxy for nobody inside TLS", true,
			relay.Peer{
				Remote: netip.MustParseAddrPort("192.0.2.7:1"),
				Proxy:  netip.MustParseAddrPort("10.0.0.1:1"), ProxyTLS: true,
			},
			true,
		},
		{
			"this host's proxy for itself", true,
			relay.Peer{
				Remote: netip.MustParseAddrPort("[::1]:1"),
				Proxy:  netip.MustParseAddrPort("127.0.0.1:1"),
			},
			false,
		},
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
		if errors.As(err, &reply) != c.refused ||
			c.refused && (reply.Code != 530 || reply.Enhanced != "5.7.0") {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
