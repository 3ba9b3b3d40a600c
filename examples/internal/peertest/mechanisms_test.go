package peertest_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// mechanisms are all that there are.
var mechanisms = []string{
	"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "OAUTHBEARER", "XOAUTH2", "EXTERNAL",
}

const (
	token  = "eyJhbGciOi.J9-_~+/=="
	nobody = "nobody@example.test"
)

// embed runs a relay that has every mechanism, which the gateway has not. It is
// shown as a gateway. The certificates of its users stand in the directory.
func embed(t *testing.T, next *sink) *gateway {
	t.Helper()
	g := &gateway{dir: t.TempDir(), ports: map[string]string{}, mechanisms: mechanisms}
	cert, key, _ := mailtest.Certificate(t, g.dir)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	authority := mailtest.ClientCertificates(t, g.dir, user, nobody)
	keys, err := auth.NewSCRAMKeys(password)
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Write(t, g.path("users"), user+":"+keys+"\n")
	users, err := auth.OpenHtpasswd(g.path("users"), nil)
	if err != nil {
		t.Fatal(err)
	}
	loopback := connector.Range{
		From: netip.MustParseAddr("127.0.0.1"), To: netip.MustParseAddr("127.0.0.1"),
	}
	connectors := []*connector.Connector{
		connector.AnonymousRelay("relay", loopback), connector.Submission("STARTTLS"),
		connector.Submission("implicit"),
	}
	connectors[2].ImplicitTLS = true
	for _, c := range connectors {
		c.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
		c.Limits.Tarpit, c.Limits.AuthTarpit = -1, -1
		c.Limits.MaxConnectionsPerSource, c.Limits.MaxConnectionsPercentPerSource = -1, -1
	}
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil), Connectors: connectors,
		TLS: &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: authority},
		Auth: &auth.Server{
			Passwords: users, SCRAM: users,
			Tokens: auth.VerifierFunc(func(
				_ context.Context, c auth.Proof,
			) (*auth.Identity, error) {
				return known(c.Token == token && c.Username == user)
			}),
			Certificates: auth.VerifierFunc(func(
				_ context.Context, c auth.Proof,
			) (*auth.Identity, error) {
				name := c.TLS.VerifiedChains[0][0].Subject.CommonName
				return known(name == user && (c.Username == "" || c.Username == name))
			}),
		},
		SendConnectors: []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(),
			NextHop: connector.NextHop{Hosts: []string{next.addr}},
		}},
		Events: func(e event.Event) {
			for _, to := range e.To {
				g.at(e.Kind.String() + " " + to) <- told{
					Connector: e.Connector, User: e.User, From: e.From,
				}
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

func known(ok bool) (*auth.Identity, error) {
	if !ok {
		return nil, auth.ErrBadCredentials
	}
	return &auth.Identity{User: user}, nil
}

func TestMechanisms(t *testing.T) {
	t.Parallel()
	next := newSink(t)
	g := embed(t, next)
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			testClient(t, c, g, next)
		})
	}
}

// A client that has learnt a mechanism has to play it. The versions of
// nodemailer and the Go libraries change here only; those of the others are the
// system's.
func TestKnown(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, command, want string }{
		{"swaks", `swaks --help`, "PLAIN"},
		{"msmtp", `msmtp --version | tr a-z A-Z`, "PLAIN"},
		{"curl", `curl --version | sed s/gsasl/SCRAM-SHA-256/`, "Features"},
		{
			"smtplib",
			`python3 -c 'import smtplib; print(*dir(smtplib.SMTP))' | sed s/auth_//g | tr a-z_ ` +
				`A-Z-`,
			"PLAIN",
		},
		{
			"aiosmtplib", `/usr/bin/python3 -c 'import aiosmtplib; print(*dir(aiosmtplib.SMTP))' |
				sed s/auth_//g | tr a-z_ A-Z-`, "PLAIN",
		},
		{
			"Net-SMTP", `perl -e 'print map { glob "$_/Authen/SASL/Perl/*.pm" } @INC' | tr _ -`,
			"PLAIN",
		},
	} {
		text, err := output(t.Context(), nil, "sh", "-c", tt.command)
		words := strings.FieldsFunc(text, func(r rune) bool {
			return r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		})
		if err != nil || !slices.Contains(words, tt.want) {
			t.Errorf("%s: %v\n%s", tt.name, err, text)
		}
		c := clients[slices.IndexFunc(clients, func(c client) bool { return c.name == tt.name })]
		for _, m := range mechanisms {
			if slices.Contains(words, m) && !slices.Contains(c.mechanisms, m) {
				t.Errorf("%s knows %s, which is not among its mechanisms", tt.name, m)
			}
		}
	}
}
