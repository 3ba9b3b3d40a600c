package peertest_test

import (
	"crypto/tls"
	"net"
	"net/netip"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// embed runs a relay that knows a user by SCRAM keys, which the gateway does not. It is shown as a gateway.
func embed(t *testing.T, next *sink) *gateway {
	t.Helper()
	g := &gateway{dir: t.TempDir(), ports: map[string]string{}}
	cert, key, _ := mailtest.Certificate(t, g.dir)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := auth.NewSCRAMKeys(password)
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Write(t, g.path("users"), user+":"+keys+"\n")
	users, err := auth.OpenHtpasswd(g.path("users"))
	if err != nil {
		t.Fatal(err)
	}
	loopback := connector.Range{From: netip.MustParseAddr("127.0.0.1"), To: netip.MustParseAddr("127.0.0.1")}
	connectors := []*connector.Connector{
		connector.AnonymousRelay("relay", loopback), connector.Submission("STARTTLS"), connector.Submission("implicit"),
	}
	connectors[2].ImplicitTLS = true
	for _, c := range connectors {
		c.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
		c.Limits.Tarpit, c.Limits.AuthTarpit = -1, -1
		c.Limits.MaxConnectionsPerSource, c.Limits.MaxConnectionsPercentPerSource = -1, -1
	}
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil), Connectors: connectors,
		TLS:  &tls.Config{Certificates: []tls.Certificate{pair}},
		Auth: &auth.Server{Passwords: users, SCRAM: users},
		SendConnectors: []*connector.SendConnector{{
			Name: "out", AddressSpaces: []connector.AddressSpace{{Domain: "*"}}, SmartHosts: []string{next.addr},
		}},
		Events: func(e relay.Event) {
			for _, to := range e.To {
				g.at(e.Kind.String() + " " + to) <- event{Connector: e.Connector, User: e.User, From: e.From}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, r)
	for _, c := range connectors {
		_, g.ports[c.Name], _ = net.SplitHostPort(r.Addrs(c.Name)[0].String())
	}
	return g
}

func TestSCRAM(t *testing.T) {
	t.Parallel()
	next := newSink(t)
	g := embed(t, next)
	for _, c := range clients {
		if c.scram != nil {
			c.mechanisms = append(c.scram, c.mechanisms...)
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				testClient(t, c, g, next, sizes[:2])
			})
		}
	}
}
