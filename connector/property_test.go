package connector_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// outsiders is a relay that notes every recipient it has accepted outside its
// accepted domains from a session without the right to. What is accepted and
// who has the right is found in a way of its own, as simple as can be.
type outsiders struct {
	cfg   relay.Config
	relay *relay.Relay
	w     *wire

	mu       sync.Mutex
	found    []string
	accepted int // inside
	relayed  int // outside, with the right
}

// accepts compares the text behind the last @ with the list.
func (o *outsiders) accepts(address string) bool {
	domain := strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
	// The names of these tests that have another spelling.
	domain = strings.ReplaceAll(domain, "bücher", "xn--bcher-kva")
	domain = strings.ReplaceAll(domain, "[ipv6:::ffff:192.0.2.1]", "[192.0.2.1]")
	for _, d := range o.cfg.AcceptedDomains {
		name, wild := strings.CutPrefix(d.Domain, "*.")
		name = strings.ReplaceAll(strings.ToLower(name), "bücher", "xn--bcher-kva")
		if domain == name || (wild || d.MatchSubdomains) && strings.HasSuffix(domain, "."+name) {
			return true
		}
	}
	return false
}

// mayRelay follows the words of the manual: the group of the principal or a
// grant, and no denial.
func mayRelay(s *relay.Session) bool {
	c, who, group := s.Connector, []connector.Principal{
		connector.Anonymous,
	}, connector.PermissionGroup(0)
	if s.Identity != nil {
		who = []connector.Principal{connector.Authenticated, connector.User(s.Identity.User)}
		group = connector.ExchangeUsers
	}
	if c.AuthMechanisms.Has(connector.ExternalAuthoritative) {
		who, group = []connector.Principal{connector.ExternallySecured}, connector.ExchangeServers
	}
	may := group != 0 && c.PermissionGroups.Has(group)
	for _, deny := range []bool{false, true} {
		for _, g := range c.Grants {
			for _, p := range who {
				if g.Deny == deny && g.Principal == p &&
					g.Rights.Has(connector.AcceptAnyRecipient) {
					may = !deny
				}
			}
		}
	}
	return may
}

// rcpt is asked when the relay itself has accepted a recipient.
func (o *outsiders) rcpt(_ context.Context, s *relay.Session, _, to domains.Address) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.accepts(to.String()):
		o.accepted++
	case mayRelay(s):
		o.relayed++
	default:
		o.found = append(o.found, fmt.Sprintf("%q from a session with %s", to, s.Rights))
	}
	return nil
}

func (o *outsiders) verify(_ context.Context, c auth.Proof) (*auth.Identity, error) {
	if c.Password != "secret" {
		return nil, auth.ErrBadCredentials
	}
	return &auth.Identity{User: c.Username, Senders: []string{"*@example.test"}}, nil
}

// start serves the configuration; false means that it has a fault.
func (o *outsiders) start() bool {
	o.cfg.Hostname, o.cfg.Spool = "relay.example.test", memspool.New(nil)
	o.cfg.Verifier = auth.VerifierFunc(o.verify)
	o.cfg.Mailboxes = delivery.Mailbox(func(
		context.Context, domains.Address, *delivery.Attempt,
	) error {
		return nil
	})
	o.cfg.Transport = o.cfg.Mailboxes
	o.cfg.Policy.Rcpt = o.rcpt
	r, err := relay.New(o.cfg)
	if err != nil {
		return false
	}
	o.relay, o.w = r, newWire()
	go func() { _ = r.Serve(o.w) }()
	return true
}

func (o *outsiders) stop() {
	_ = o.relay.Close()
	_ = o.w.Close()
}

const propertyLocal = "192.0.2.25:25"

// TestNoOpenRelay holds random sessions with random relays: no session without
// Accept-Any-Recipient gets a 250 for a recipient outside the accepted domains,
// however the address is spelled.
func TestNoOpenRelay(t *testing.T) {
	t.Parallel()
	var accepted, relayed, sessions int
	for seed := range uint64(600) {
		lot := rand.New(rand.NewPCG(seed, 1))
		o := &outsiders{cfg: randomConfig(lot)}
		if !o.start() {
			continue
		}
		for range 3 {
			sessions++
			remote := netip.AddrFrom4([4]byte{10, byte(lot.IntN(4)), 0, byte(lot.IntN(4))})
			p := o.w.dial(netip.MustParseAddrPort(propertyLocal), netip.AddrPortFrom(remote, 40000))
			if p.reply() == "" {
				continue
			}
			p.say("EHLO client.example.test")
			if lot.IntN(2) == 0 {
				p.say(
					"AUTH PLAIN " + base64.StdEncoding.EncodeToString(
						[]byte("\x00"+pick(lot, "app", "root")+"\x00"+pick(lot, "secret", "guess")),
					),
				)
			}
			p.say("MAIL FROM:<> SMTPUTF8")
			for range 25 {
				domain, spelling := randomRecipient(lot, o.cfg.AcceptedDomains)
				before := o.accepted
				reply := p.say("RCPT TO:" + spelling)
				// What the relay understood must be what was meant.
				if strings.HasPrefix(reply, "250") && domain != "" && o.accepted > before &&
					!o.accepts("x@"+domain) {
					t.Errorf("seed %d: %s is taken for one of an accepted domain", seed, spelling)
				}
			}
			_ = p.conn.Close()
		}
		o.stop()
		for _, found := range o.found {
			t.Errorf("seed %d: %s", seed, found)
		}
		accepted, relayed = accepted+o.accepted, relayed+o.relayed
	}
	// The property would hold for a relay that refuses everything.
	if sessions < 300 || accepted < 1000 || relayed < 1000 {
		t.Errorf(
			"%d sessions, %d recipients accepted and %d relayed: too few to tell", sessions,
			accepted, relayed,
		)
	}
}

func pick[T any](lot *rand.Rand, list ...T) T { return list[lot.IntN(len(list))] }

// randomConfig makes a configuration, which may have faults.
func randomConfig(lot *rand.Rand) relay.Config {
	var cfg relay.Config
	for range lot.IntN(4) {
		d := domains.AcceptedDomain{
			Domain: pick(lot, "example.test", "EXAMPLE.test", "sub.example.test", "*.example.test",
				"*.test", "other.test",
				"bücher.test", "*.xn--bcher-kva.test", "[192.0.2.1]", "a.b.c.test"),
			Type:            domains.Type(lot.IntN(3)),
			MatchSubdomains: lot.IntN(4) == 0,
		}
		if d.Type == domains.Authoritative || d.Type == domains.InternalRelay && lot.IntN(2) == 0 {
			d.Recipients = pick(
				lot, domains.AnyRecipient(), domains.StaticRecipients("alice", `"a b"`),
			)
			d.SkipLookup = lot.IntN(4) == 0
		}
		cfg.AcceptedDomains = append(cfg.AcceptedDomains, d)
	}
	ranges := []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.0.2", "10.2.0.0-10.2.255.255"}
	lot.Shuffle(len(ranges), func(i, j int) { ranges[i], ranges[j] = ranges[j], ranges[i] })
	for i := range 1 + lot.IntN(len(ranges)) {
		c := connector.New(fmt.Sprint("c", i), connector.Custom)
		c.Bindings = []netip.AddrPort{
			netip.MustParseAddrPort(pick(lot, propertyLocal, "0.0.0.0:25")),
		}
		c.RemoteIPRanges = []connector.Range{connector.MustParseRange(ranges[i])}
		c.PermissionGroups = connector.PermissionGroup(lot.IntN(32))
		c.AuthMechanisms = pick(
			lot, 0, connector.BasicAuth, connector.BasicAuth, connector.BasicAuth, connector.NoAuth,
			connector.ExternalAuthoritative,
		)
		who := []connector.Principal{
			connector.Anonymous, connector.Authenticated, connector.User("app"),
			connector.User("root"),
		}
		if c.AuthMechanisms == connector.ExternalAuthoritative {
			c.PermissionGroups = connector.ExchangeServers
			who = []connector.Principal{connector.ExternallySecured}
		}
		for range lot.IntN(4) {
			c.Grants = append(c.Grants, connector.Grant{
				Principal: pick(lot, who...),
				Rights: pick(
					lot, connector.AcceptAnyRecipient, connector.Submit,
					connector.Right(1+lot.IntN(1023)),
				),
				Deny: lot.IntN(4) == 0,
			})
		}
		c.Limits = connector.Limits{
			Tarpit: -1, AuthTarpit: -1, MaxProtocolErrors: -1, MaxConnectionsPerSource: -1,
			MaxConnectionsPercentPerSource: -1,
		}
		cfg.Connectors = append(cfg.Connectors, c)
	}
	return cfg
}

// randomRecipient spells an address in some way. The domain is where it leads,
// or nothing where that is open to dispute.
func randomRecipient(lot *rand.Rand, accepted []domains.AcceptedDomain) (domain, spelling string) {
	inside := "example.test"
	if len(accepted) > 0 {
		inside = strings.TrimPrefix(accepted[lot.IntN(len(accepted))].Domain, "*.")
	}
	domain = pick(lot, inside, "elsewhere.test", "evil.example", "sub."+inside, "not"+
		inside, inside+".evil.example", "test", "[10.0.0.1]", "[192.0.2.1]",
		"xn--bcher-kva.test", "bücher.test", "elsewhere.xn--bcher-kva.test")
	if lot.IntN(3) == 0 {
		domain = randomCase(lot, domain)
	}
	local := pick(lot, "alice", "nobody", "Alice", "postmaster", `"alice"`, `"a b"`, `"a\@b"`,
		`"x@`+inside+`"`, `"x>@`+inside+`"`, `"<x@`+inside+`>"`,
		"x%"+inside, inside+"!x", "x+"+inside, `"\"@`+inside+`"`, "büro")
	switch lot.IntN(24) {
	case 0: // source routes
		return domain, "<@" + inside + ":" + local + "@" + domain + ">"
	case 1:
		return domain, "<@evil.example,@" + inside + ":" + local + "@" + domain + ">"
	case 2: // trailing dot
		return "", "<" + local + "@" + domain + ".>"
	case 3: // more than one @
		return "", "<" + local + "@" + inside + "@" + domain + ">"
	case 4:
		return "", "<" + local + "@" + domain + "@" + inside + ">"
	case 5: // comments
		return "", "<" + local + "(@" + inside + ")@" + domain + ">"
	case 6:
		return "", "<" + local + "@" + domain + "(@" + inside + ")>"
	case 7: // lists
		return "", "<" + local + "@" + domain + "," + local + "@" + inside + ">"
	case 8: // brackets
		return "", "<<" + local + "@" + domain + ">@" + inside + ">"
	case 9:
		return "", "<" + local + "@" + domain + "> <" + local + "@" + inside + ">"
	case 10: // full stops, spaces and letters of Unicode that some fold
		return "", "<" + local + "@" + strings.Replace(
			domain, ".", pick(lot, "\u3002", "\uff0e", "\u00ad.", " .", "\u200b.", ".\u212a"), 1,
		) + ">"
	case 11: // other forms of addresses
		return "", "<" + local + "@" + pick(
			lot, "[IPv6:::ffff:192.0.2.1]", "[IPv6:2001:db8::1]", "192.0.2.1", "0xc0000201",
			"3221225985", "[192.0.2.01]", "[x:1]", "#1",
		) + ">"
	case 12: // parameters
		return domain, "<" + local + "@" + domain + "> ORCPT=rfc822;x@" + inside
	case 13: // no brackets
		return "", local + "@" + domain
	case 14: // octets that end strings elsewhere
		return "", "<" + local + "@" + domain + pick(
			lot, "\t", "\x7f", "\x01", "\\", "\xff", ";", "/", "%00",
		) + inside + ">"
	}
	return domain, "<" + local + "@" + domain + ">"
}

func randomCase(lot *rand.Rand, s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' && lot.IntN(2) == 0 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// FuzzNoOpenRelay plays any text as a session of a stranger.
func FuzzNoOpenRelay(f *testing.F) {
	for _, path := range []string{
		"<x@evil.example>", `<"x@example.test"@evil.example>`, "<@example.test:x@evil.example>",
		"<x%evil.example@example.test>", "<x@example.test.evil.example>",
		"<x@b\u00fccher.test>", "<x@[192.0.2.1]>", "<x@example.test.>",
		"<alice@EXAMPLE.test> ORCPT=rfc822;x@evil.example", "<postmaster>",
	} {
		f.Add("MAIL FROM:<>\r\nRCPT TO:" + path)
		f.Add("MAIL FROM:<> SMTPUTF8\r\nRCPT TO:" + path + "\r\nDATA\r\nx")
	}
	f.Add(
		"AUTH PLAIN AGFwcABndWVzcw==\r\nMAIL FROM:<>\r\nRCPT TO:<x@evil.example>\r\nRSET\r\n" +
			"BDAT 1\r\nx\r\nMAIL FROM:<>",
	)
	c := connector.FromInternet("in")
	c.AuthMechanisms = connector.BasicAuth
	c.Limits = connector.Limits{
		Tarpit: -1, AuthTarpit: -1, MaxProtocolErrors: -1, MaxConnectionsPerSource: -1,
		MaxConnectionsPercentPerSource: -1, ConnectionRate: -1,
	}
	o := &outsiders{cfg: relay.Config{
		Connectors: []*connector.Connector{c},
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.test", Recipients: domains.StaticRecipients("alice")},
			{Domain: "*.branch.test", Type: domains.InternalRelay},
			{Domain: "bücher.test", Type: domains.ExternalRelay},
			{Domain: "[192.0.2.1]", Recipients: domains.AnyRecipient()},
		},
	}}
	if !o.start() {
		f.Fatal("the configuration has a fault")
	}
	f.Cleanup(o.stop)
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "c2VjcmV0") || strings.Contains(text, "secret") {
			return // it may have logged on
		}
		p := o.w.dial(
			netip.MustParseAddrPort(propertyLocal), netip.MustParseAddrPort("198.51.100.7:40000"),
		)
		_ = p.conn.SetDeadline(time.Now().Add(time.Second)) // a chunk that never ends
		go func() {
			_, _ = io.WriteString(p.conn, "EHLO client.example.test\r\n"+text+"\r\n.\r\nQUIT\r\n")
		}()
		_, _ = io.Copy(io.Discard, p.conn)
		_ = p.conn.Close()
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, found := range o.found {
			t.Error(found)
		}
		o.found = nil
	})
}
