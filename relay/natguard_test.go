package relay_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func ExampleNATGuard() {
	var g relay.NATGuard
	fmt.Println(g)
	err := g.UnmarshalText([]byte("Refuse"))
	fmt.Println(g == relay.NATRefuse, err)
	fmt.Println(g.UnmarshalText([]byte("on")))
	// Output:
	// warn
	// true <nil>
	// relay: unknown NAT guard "on"; valid are warn, refuse, off
}

// A relay behind a load balancer: the balancer names each client in a PROXY
// header, and the connectors are chosen by the client's address.
func ExampleConfig_proxies() {
	apps := connector.AnonymousRelay("apps", connector.MustParseRange("10.1.0.0/16"))
	r, err := relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      memspool.New(nil),
		Connectors: []*connector.Connector{apps},
		Proxies:    []connector.Range{connector.MustParseRange("10.9.0.2")},
		NATGuard:   relay.NATRefuse,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	_, err = relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		Proxies:  connector.Everyone(),
	})
	field, _ := errors.AsType[*postern.FieldError](err)
	fmt.Println(field.Field)
	// Output:
	// Proxies
}

func TestNATGuardText(t *testing.T) {
	for _, g := range []relay.NATGuard{
		relay.NATWarn, relay.NATRefuse, relay.NATOff,
	} {
		b, err := g.MarshalText()
		var back relay.NATGuard
		if err != nil || back.UnmarshalText(b) != nil || back != g || string(b) != g.String() {
			t.Errorf("%v: %q, %v", g, b, err)
		}
	}
	if _, err := relay.NATGuard(7).MarshalText(); err == nil ||
		relay.NATGuard(7).String() != "NATGuard(7)" {
		t.Error("7 is a guard")
	}
}

func TestClientFaults(t *testing.T) {
	partners := connector.New("partners", connector.Partner)
	partners.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	partners.RemoteIPRanges = connector.Loopback()
	cfg := relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil),
		Connectors: []*connector.Connector{partners},
		Proxies:    []connector.Range{{}}, XClient: connector.Everyone(), NATGuard: 9,
	}
	_, err := relay.New(cfg)
	for _, want := range []string{
		"Proxies[0]: no address", "XClient: these ranges hold", "NATGuard: ",
		"TLS.ClientCAs: required",
	} {
		if err == nil || !strings.Contains(err.Error(), "\n  "+want) {
			t.Errorf("no fault %q in %v", want, err)
		}
	}
	cfg.Proxies, cfg.XClient, cfg.NATGuard = nil, connector.Loopback(), relay.NATOff
	cfg.TLS = certificate(t)
	if _, err = relay.New(cfg); err == nil {
		t.Error("no authorities, no fault")
	}
	cfg.TLS.ClientCAs = x509.NewCertPool()
	if _, err = relay.New(cfg); err != nil {
		t.Error(err)
	}
}

// behind starts a relay whose clients come through a proxy at 127.0.0.1, which
// is in no connector's ranges.
func behind(t *testing.T, change func(*relay.Config)) *world {
	return start(t, func(cfg *relay.Config) {
		for _, c := range cfg.Connectors {
			c.RemoteIPRanges = []connector.Range{connector.MustParseRange("192.0.2.0/24")}
		}
		cfg.Connectors[1].RemoteIPRanges = []connector.Range{connector.AllIPv4()}
		change(cfg)
	})
}

// The address that a proxy or XCLIENT names is the one in the decision, the
// trace field and the events.
func TestClientBehindProxy(t *testing.T) {
	local := []connector.Range{connector.MustParseRange("127.0.0.1")}
	var seen []string
	w := behind(t, func(cfg *relay.Config) {
		cfg.Proxies = local
		cfg.Policy.Connect = func(_ context.Context, s *relay.Session) error {
			seen = append(seen, fmt.Sprint(s.Remote, " by ", s.Proxy.Addr()))
			return nil
		}
	})
	c := w.connect(t, "apps")
	c.Play(`
		C: PROXY TCP4 192.0.2.9 127.0.0.1 4711 25
		S: 220
		C: EHLO client.example.test
		S: 250`)
	if got := c.transact(
		text, "a@example.test", "x@elsewhere.test",
	); !strings.HasPrefix(got, "250 ") {
		t.Fatal(got)
	}
	if got := w.out.wait(t, 1)[0].content; !strings.Contains(got, "192.0.2.9") ||
		strings.Contains(got, "127.0.0.1") {
		t.Errorf("trace field: %s", got)
	}
	if e := w.events.wait(t, kind(event.Accepted)); e.Remote.String() != "192.0.2.9:4711" {
		t.Errorf("event: %+v", e)
	}
	if len(seen) != 1 || seen[0] != "192.0.2.9:4711 by 127.0.0.1" {
		t.Error(seen)
	}
	// The same connector is closed to the proxy itself, which is told that we
	// are well, and to whoever is not in its ranges.
	check := w.connect(t, "apps")
	check.Play(`
		C: PROXY UNKNOWN
		S: 220
		C: EHLO proxy
		S: 250
		C: MAIL FROM:<app@example.test>
		S: 550 5.7.1
		C: QUIT
		S: 221
		close`)
	for _, header := range []string{"PROXY TCP4 198.51.100.1 127.0.0.1 4711 25", "EHLO a"} {
		c := w.connect(t, "apps")
		c.Say(header)
		c.ExpectClose()
	}
}

func TestClientByXClient(t *testing.T) {
	w := behind(t, func(cfg *relay.Config) {
		cfg.XClient = []connector.Range{connector.MustParseRange("127.0.0.1")}
		cfg.Connectors[0].RemoteIPRanges = append(
			cfg.Connectors[0].RemoteIPRanges, connector.MustParseRange("127.0.0.1"),
		)
	})
	c := w.dial(t, "apps")
	c.Play(`
		C: XCLIENT ADDR=192.0.2.9 PORT=4711 HELO=client.example.test
		S: 220`)
	if got := c.transact(
		text, "a@example.test", "x@elsewhere.test",
	); !strings.HasPrefix(got, "250 ") {
		t.Fatal(got)
	}
	if got := w.out.wait(t, 1)[0].content; !strings.Contains(
		got, "from client.example.test ([192.0.2.9])",
	) {
		t.Errorf("trace field: %s", got)
	}
	if e := w.events.wait(t, kind(event.Accepted)); e.Remote.String() != "192.0.2.9:4711" {
		t.Errorf("event: %+v", e)
	}
}

// Where only servers log on, a user does not, whatever the protocol.
func TestOnlyServersLogOn(t *testing.T) {
	w := start(t, func(cfg *relay.Config) {
		cfg.TLS = certificate(t)
		cfg.Connectors[0].AuthMechanisms = connector.TLS | connector.ExchangeServer
		cfg.Connectors[0].PermissionGroups = connector.ExchangeUsers | connector.ExchangeServers
		cfg.Connectors[0].Limits.AuthTarpit = -1
		cfg.Verifier = auth.VerifierFunc(func(
			_ context.Context, c auth.Proof,
		) (*auth.Identity, error) {
			return &auth.Identity{User: c.Username, Server: c.Username == "relay2"}, nil
		})
	})
	for user, want := range map[string]bool{"relay2": true, "alice": false} {
		c, err := w.relay.OpenSession(
			t.Context(), "apps",
			relay.Peer{Remote: netip.MustParseAddrPort("127.0.0.1:1"), TLS: &tls.ConnectionState{}},
		)
		if err != nil {
			t.Fatal(err)
		}
		err = c.Authenticate(
			t.Context(),
			auth.Proof{Mechanism: auth.Plain, Username: user, Password: "secret"},
		)
		if (err == nil) != want {
			t.Errorf("%s: %v", user, err)
		}
	}
}

// A second relay of the operator's proves itself with a certificate and may
// relay; its headers are kept. A partner may write to accepted domains only.
func TestMutualTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true,
		DNSNames:              []string{"mail.partner.test", "relay2.example.test"},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(cfg *relay.Config) {
		cfg.TLS = certificate(t)
		cfg.TLS.ClientCAs = x509.NewCertPool()
		cfg.TLS.ClientCAs.AddCert(root)
		cfg.AcceptedDomains = append(
			cfg.AcceptedDomains,
			domains.AcceptedDomain{Domain: "open.test", Type: domains.ExternalRelay},
		)
		servers, partners := cfg.Connectors[0], cfg.Connectors[1]
		servers.AuthMechanisms = connector.TLS | connector.ExchangeServer
		servers.PermissionGroups = connector.ExchangeServers
		servers.Grants = nil
		servers.ServerNames = []string{"relay2.example.test"}
		partners.PermissionGroups = connector.Partners
		partners.PartnerNames = map[string]string{"mail.partner.test": "partner.test"}
		partners.RequireTLS = true
	})
	open := func(name string) *talk {
		c := w.dial(t, name)
		c.Play("C: STARTTLS\nS: 220")
		c.Handshake(&tls.Config{
			InsecureSkipVerify: true,
			Certificates:       []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		})
		c.Play("C: EHLO client.example.test\nS: 250")
		return c
	}
	const marked = "X-MS-Exchange-Organization-SCL: -1\r\n" + text
	c := open("apps")
	if got := c.transact(
		marked, "a@elsewhere.test", "x@elsewhere.test",
	); !strings.HasPrefix(got, "250 ") {
		t.Fatal(got)
	}
	if got := w.out.wait(t, 1)[0].content; !strings.Contains(
		got, "X-MS-Exchange-Organization-SCL",
	) {
		t.Error("a header of the organization is gone")
	}
	c = open("in")
	c.Play(`
		C: MAIL FROM:<a@open.test>
		S: 250
		C: RCPT TO:<x@elsewhere.test>
		S: 550 5.7.54
		C: RCPT TO:<x@open.test>
		S: 250`)
	// Without the certificate there is nothing.
	c = w.dial(t, "in")
	c.Play(startTLS)
	c.Play("C: MAIL FROM:<a@open.test>\nS: 530 5.7.1")
}
