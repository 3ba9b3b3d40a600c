package exchange_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/connector/exchange"
)

// TestValues reads one parameter in the forms that it comes in.
func TestValues(t *testing.T) {
	for _, tt := range []struct {
		changes string
		get     func(*connector.Connector) any
		want    any
	}{
		{`{"MaxMessageSize": "36 MB (37,748,736 bytes)"}`, maxMessage, int64(37748736)},
		{`{"MaxMessageSize": "36 MB (37.748.736 Bytes)"}`, maxMessage, int64(37748736)},
		{`{"MaxMessageSize": "36 MB (37\u00a0748\u00a0736 octets)"}`, maxMessage, int64(37748736)},
		{`{"MaxMessageSize": 37748736}`, maxMessage, int64(37748736)},
		{`{"MaxMessageSize": "36MB"}`, maxMessage, int64(37748736)},
		{`{"maxmessagesize": {"Value": {"Value": 37748736}}}`, maxMessage, int64(37748736)},
		{`{"MaxMessageSize": "Unlimited"}`, maxMessage, int64(1<<31 - 1)},
		{`{"MaxLogonFailures": 0}`, func(c *connector.Connector) any {
			return c.Limits.MaxLogonFailures
		}, -1},
		{`{"MaxProtocolErrors": "0"}`, func(c *connector.Connector) any {
			return c.Limits.MaxProtocolErrors
		}, 1},
		{
			`{"MaxInboundConnection": {"IsUnlimited": true, "Value": 0}}`,
			func(c *connector.Connector) any { return c.Limits.MaxConnections }, -1,
		},
		{
			`{"MaxInboundConnection": {"IsUnlimited": false, "Value": 70}}`,
			func(c *connector.Connector) any { return c.Limits.MaxConnections }, 70,
		},
		{`{"TarpitInterval": "00:00:00"}`, tarpit, time.Duration(-1)},
		{`{"TarpitInterval": "00:00:02.5"}`, tarpit, 2500 * time.Millisecond},
		{`{"TarpitInterval": {"Ticks": 50000000}}`, tarpit, 5 * time.Second},
		{`{"ConnectionTimeout": "1.00:00:00"}`, func(c *connector.Connector) any {
			return c.Limits.ConnectionTimeout
		}, 24 * time.Hour},
		{`{"MessageRateSource": 3}`, func(c *connector.Connector) any {
			return c.Limits.MessageRateBy
		}, connector.RateByAll},
		{
			`{"AuthMechanism": 15}`, mechanisms,
			connector.TLS | connector.Integrated | connector.BasicAuth |
				connector.BasicAuthRequireTLS,
		},
		{
			`{"AuthMechanism": {"value": 5, "Value": "Tls, BasicAuth"}}`, mechanisms,
			connector.TLS | connector.BasicAuth,
		},
		{
			`{"AuthMechanism": ["Tls", "BasicAuth"]}`, mechanisms,
			connector.TLS | connector.BasicAuth,
		},
		{`{"AuthMechanism": 0}`, mechanisms, connector.NoAuth},
		{`{"PermissionGroups": 11}`, func(c *connector.Connector) any { return c.PermissionGroups },
			connector.AnonymousUsers | connector.ExchangeUsers | connector.ExchangeLegacyServers},
		{`{"Enabled": false}`, func(c *connector.Connector) any { return c.Disabled }, true},
		{`{"Bindings": "0.0.0.0:25 [::]:25"}`, bindings, "[0.0.0.0:25 [::]:25]"},
		{
			`{"Bindings": {"Address": {"IPAddressToString": "::"}, "Port": 25}}`, bindings,
			"[[::]:25]",
		},
		{
			`{"RemoteIPRanges": {"value": ["10.0.0.0(255.255.0.0)"], "Count": 1}}`, ranges,
			"[10.0.0.0/16]",
		},
		{
			`{"RemoteIPRanges": ["192.168.1.1/24", "10.0.0.1-10.0.0.9"]}`, ranges,
			"[192.168.1.0/24 10.0.0.1-10.0.0.9]",
		},
		{
			`{"RemoteIPRanges": {"LowerBound": {"Address": "10.0.0.1"}, "UpperBound": "10.0.0.9"}}`,
			ranges, "[10.0.0.1-10.0.0.9]",
		},
		{
			`{"SizeEnabled": "Disabled", "ChunkingEnabled": false, "BinaryMimeEnabled": true}`,
			func(c *connector.Connector) any { return fmt.Sprint(c.SuppressedKeywords) },
			"[CHUNKING BINARYMIME SIZE]",
		},
	} {
		r := mustRead(t, exchange.Dump{ReceiveConnectors: receive(tt.changes)})
		if got := tt.get(r.Connectors[0]); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.changes, got, tt.want)
		}
	}
}

func maxMessage(c *connector.Connector) any { return c.Limits.MaxMessageBytes }

func tarpit(c *connector.Connector) any { return c.Limits.Tarpit }

func mechanisms(c *connector.Connector) any { return c.AuthMechanisms }

func bindings(c *connector.Connector) any { return fmt.Sprint(c.Bindings) }

func ranges(c *connector.Connector) any { return fmt.Sprint(c.RemoteIPRanges) }

// TestSend reads send connectors.
func TestSend(t *testing.T) {
	const credential = `"AuthenticationCredential": {"UserName": "u"}`
	const host = `"SmartHosts": ["smtp.example.com"], "DNSRoutingEnabled": false`
	for _, tt := range []struct {
		changes string
		want    connector.SendConnector
	}{
		{
			`{"RequireTLS": true}`,
			connector.SendConnector{NextHop: connector.NextHop{TLS: connector.TLSEncryptionOnly}},
		},
		{
			`{"IgnoreSTARTTLS": true}`,
			connector.SendConnector{NextHop: connector.NextHop{TLS: connector.TLSNone}},
		},
		{
			`{"RequireTLS": true, "TlsAuthLevel": 3}`,
			connector.SendConnector{NextHop: connector.NextHop{TLS: connector.TLSDomainValidation}},
		},
		{`{"TlsDomain": "mx.example.com"}`, connector.SendConnector{}},
		{`{"RequireTLS": true, "TlsAuthLevel": 3, "TlsDomain": {"Domain": "mx.example.com"}, ` +
			host + `}`,
			connector.SendConnector{
				NextHop: connector.NextHop{
					TLS: connector.TLSDomainValidation, TLSDomain: "mx.example.com",
					Hosts: []string{"smtp.example.com"},
				},
			}},
		{`{"SmartHostAuthMechanism": 4, "AuthenticationCredential": {"UserName": "u", ` +
			`"Password": "secret"}, ` + host + `}`,
			connector.SendConnector{
				NextHop: connector.NextHop{
					TLS: connector.TLSDomainValidation, TLSDomain: "smtp.example.com",
					Username: "u",
					Hosts:    []string{"smtp.example.com"},
				},
			}},
		{`{"SmartHostAuthMechanism": 2, ` + credential + `, ` + host + `}`,
			connector.SendConnector{
				NextHop: connector.NextHop{
					Username: "u", AllowUnverifiedAuth: true, Hosts: []string{"smtp.example.com"},
				},
			}},
		{`{"SmartHostAuthMechanism": 4, ` + credential + `, "SmartHosts": "a.example,b.example"}`,
			connector.SendConnector{
				NextHop: connector.NextHop{
					TLS: connector.TLSCertificateValidation, Username: "u",
					Hosts: []string{"a.example", "b.example"},
				},
			}},
		{
			`{"SmartHosts": "[192.0.2.1],[2001:db8::1]", "Port": 26}`,
			connector.SendConnector{
				NextHop: connector.NextHop{Hosts: []string{"192.0.2.1", "[2001:db8::1]"}, Port: 26},
			},
		},
		{`{"AddressSpaces": {"Type": "SMTP", "Domain": "bücher.example", "IncludeSubDomains": ` +
			`true, "Cost": 7}}`,
			connector.SendConnector{
				AddressSpaces: []connector.AddressSpace{
					{Domain: "*.xn--bcher-kva.example", Cost: 7},
				},
			}},
		{`{"AddressSpaces": "SMTP:a.example;2 SMTP:b.example;3"}`,
			connector.SendConnector{
				AddressSpaces: []connector.AddressSpace{
					{Domain: "a.example", Cost: 2}, {Domain: "b.example", Cost: 3},
				},
			}},
		{
			`{"MaxMessageSize": "Unlimited", "SmtpMaxMessagesPerConnection": 5, "Enabled": false}`,
			connector.SendConnector{
				NextHop: connector.NextHop{MessagesPerConnection: 5}, Disabled: true,
			},
		},
		{
			`{"ConnectionInactivityTimeOut": "00:20:00", "SourceIPAddress": "192.0.2.7"}`,
			connector.SendConnector{NextHop: connector.NextHop{
				IdleTimeout: 20 * time.Minute, SourceAddress: netip.MustParseAddr("192.0.2.7"),
			}},
		},
		{
			`{"ConnectionInactivityTimeOut": "00:10:00", "SourceIPAddress": "0.0.0.0"}`,
			connector.SendConnector{},
		},
		{
			`{"MaxMessageSize": "10 MB (10,485,760 bytes)"}`,
			connector.SendConnector{MaxMessageBytes: 10 << 20},
		},
	} {
		r := mustRead(t, exchange.Dump{SendConnectors: send(tt.changes)})
		tt.want.Name = "Out"
		if tt.want.AddressSpaces == nil {
			tt.want.AddressSpaces = []connector.AddressSpace{{Domain: "*", Cost: 1}}
		}
		got, want := marshal(t, r.SendConnectors[0]), marshal(t, tt.want)
		if got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.changes, got, want)
		}
		for _, n := range r.Notes {
			if strings.Contains(n.String(), "secret") {
				t.Errorf("a note shows the password: %v", n)
			}
		}
	}
}

// Exchange speaks to mail exchangers in its own network; the relay does so
// where told.
func TestSendToPrivateExchangers(t *testing.T) {
	for changes, want := range map[string]bool{
		`{"AddressSpaces": "SMTP:corp.example;1"}`:                               true,
		`{"AddressSpaces": "SMTP:corp.example;1", "SmartHosts": "smtp.example"}`: false,
		`{"AddressSpaces": "SMTP:*;1"}`:                                          false,
	} {
		r := mustRead(t, exchange.Dump{SendConnectors: send(changes)})
		told := false
		for _, n := range r.Notes {
			told = told || strings.Contains(n.String(), "AllowPrivateAddresses")
		}
		if told != want || r.SendConnectors[0].AllowPrivateAddresses {
			t.Errorf("%s: notes %v", changes, r.Notes)
		}
	}
}
