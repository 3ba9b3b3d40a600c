package outbound_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
)

// moving is a zone that changes, and counts the questions for exchangers.
type moving struct {
	zone
	mu    sync.Mutex
	asked int
}

func (m *moving) LookupMX(
	ctx context.Context, domain string,
) (delivery.Answer[*net.MX], error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	return m.zone.LookupMX(ctx, domain)
}

// sets is a zone of domains with the exchangers a and b, in some order: "a>b"
// prefers a, "a=b" has them alike.
func sets(domains map[string]string) *moving {
	z := zone{mx: make(map[string][]*net.MX), ip: map[string][]string{
		"a.test": {"10.0.0.1"}, "b.test": {"10.0.0.2"}, "own.test": {"10.0.0.3"},
	}}
	for domain, order := range domains {
		for pref, group := range strings.Split(order, ">") {
			for name := range strings.SplitSeq(group, "=") {
				host := name + ".test."
				if name == "me" {
					host = "Relay.Example.Test."
				}
				z.mx[domain] = append(z.mx[domain], &net.MX{Host: host, Pref: uint16(pref)})
			}
		}
	}
	return &moving{zone: z}
}

// to is a request for a domain's exchangers.
func to(domain string) *outbound.Request {
	r := newRequest("hi\r\n")
	r.Hop.Hosts, r.Domain = nil, domain
	return r
}

// Domains with the same exchangers and preferences share connections; where
// something depends on the domain they do not.
func TestDomainsOfOneSiteShareConnections(t *testing.T) {
	loop := "permanent dns 0 5.4.6 error"
	dns := sets(map[string]string{
		"one.test": "a>b", "two.test": "A>b", "turned.test": "b>a", "alike.test": "b=a",
		"backup.test": "a>me>b", "mine.test": "me>a>b",
	})
	n := &network{serve: (&sink{}).serve}
	c := newClient(t, n.dial, func(cfg *outbound.Config) { cfg.Resolver = dns })
	for i, test := range []struct{ domain, dialed, want string }{
		{"one.test", "1", taken},
		{"two.test", "", taken},
		{"ONE.test", "", taken},
		{"turned.test", "2", taken}, // the same set, the other way round
		{"backup.test", "1", taken}, // which b is not for
		{"mine.test", "", loop},     // whatever connections there are
		{"own.test", "3", taken},    // without MX
		{"two.test", "", taken},
	} {
		expect(t, c.Deliver(t.Context(), to(test.domain)), test.want)
		if got := n.took(); got != test.dialed {
			t.Errorf("%d, %s: dialled %q, want %q", i, test.domain, got, test.dialed)
		}
	}
	expect(t, c.Deliver(t.Context(), to("alike.test")), taken)
	if got := n.took(); got != "1" && got != "2" {
		t.Errorf("alike.test: dialled %q", got)
	}
	if dns.asked != 7 { // one each, ONE.test and two.test being known
		t.Errorf("%d questions for exchangers, want 7", dns.asked)
	}
	// A certificate that must have the name of the domain proves nothing for
	// another one.
	var cut []string
	for _, domain := range []string{"one.test", "two.test"} {
		r := to(domain)
		r.Hop.TLS = connector.TLSDomainValidation
		c.Deliver(t.Context(), r)
		cut = append(cut, n.took())
	}
	if got := strings.Join(cut, "|"); got != "1 2|1 2" && got != "1 2|2 1" {
		t.Errorf("with DomainValidation: dialled %q, want connections for each", got)
	}
}

func TestSite(t *testing.T) {
	n := &network{serve: (&sink{}).serve}
	c := newClient(t, n.dial, func(cfg *outbound.Config) {
		cfg.Resolver = sets(map[string]string{
			"one.test": "a>b", "turned.test": "b>a", "mine.test": "me>a",
		})
	})
	show := func(domain string) string {
		name, list := c.Site(domain)
		return fmt.Sprint(name, list)
	}
	for _, domain := range []string{
		"one.test", "turned.test", "own.test", "mine.test", "gone.test",
	} {
		if got := show(domain); got != "[]" {
			t.Errorf("%s before a look-up: %s", domain, got)
		}
		c.Deliver(t.Context(), to(domain))
	}
	for domain, want := range map[string]string{
		"one.test": "a.test,b.test[a.test b.test]", "turned.test": "a.test,b.test[a.test b.test]",
		"One.Test": "a.test,b.test[a.test b.test]", "own.test": "own.test[own.test]",
		"mine.test": "[]",
	} {
		if got := show(domain); got != want {
			t.Errorf("%s: %s, want %s", domain, got, want)
		}
	}
}

// A domain that moves goes to its new exchangers within five minutes, and one
// whose DNS fails goes on over the connections that there are.
func TestSiteIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dns := sets(map[string]string{"one.test": "a", "two.test": "a"})
		n := &network{serve: (&sink{}).serve}
		c := newClient(t, n.dial, func(cfg *outbound.Config) { cfg.Resolver = dns })
		send := func(domain string) string {
			r := to(domain)
			r.Hop.IdleTimeout, r.Hop.ConnectionAge = time.Hour, time.Hour
			expect(t, c.Deliver(context.Background(), r), taken)
			return n.took()
		}
		send("one.test")
		if got := send("two.test"); got != "" {
			t.Errorf("dialled %q", got)
		}
		dns.mx["two.test"][0].Host = "b.test"
		time.Sleep(6 * time.Minute)
		if got := send("two.test"); got != "2" {
			t.Errorf("dialled %q, want the new exchanger", got)
		}
		dns.fail, dns.mx = errors.New("server failure"), nil
		time.Sleep(6 * time.Minute)
		if got := send("one.test"); got != "" {
			t.Errorf("dialled %q, want the connection that there is", got)
		}
	})
}

// A connection that was asked for before a domain moved is not left to the
// domains that have stayed.
func TestConnectionOfMovedDomainIsNotShared(t *testing.T) {
	dns := sets(map[string]string{"one.test": "a", "two.test": "a"})
	n := &network{serve: (&sink{}).serve}
	c := newClient(t, n.dial, func(cfg *outbound.Config) { cfg.Resolver = dns })
	r := to("two.test")
	r.Hop.MessagesPerConnection = 1
	expect(t, c.Deliver(t.Context(), r), taken)
	dns.mx["two.test"][0].Host = "b.test"
	n.took()
	expect(t, c.Deliver(t.Context(), to("two.test")), taken) // by what is remembered
	if got := n.took(); got != "2" {
		t.Errorf("dialled %q", got)
	}
	if n := c.Idle(); n != 0 {
		t.Errorf("%d connections are kept", n)
	}
	expect(t, c.Deliver(t.Context(), to("one.test")), taken)
	if got := n.took(); got != "1" {
		t.Errorf("dialled %q, want the exchanger of the domain", got)
	}
}

// What is remembered of domains is bounded, in number and in memory.
func TestSitesBound(t *testing.T) {
	const domains = 26_000
	every := &moving{zone: zone{mx: make(map[string][]*net.MX)}}
	for i := range domains {
		every.mx[fmt.Sprintf("domain%d.test", i)] = []*net.MX{
			{Host: fmt.Sprintf("mx%d.hoster.test.", i%100)},
		}
	}
	c := newClient(t, nil, func(cfg *outbound.Config) { cfg.Resolver = every })
	memory := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := memory()
	for domain := range every.mx {
		c.Deliver(t.Context(), to(domain))
	}
	n := c.Domains()
	if n < 20_000 || n > 25_000 {
		t.Errorf("%d domains are remembered", n)
	}
	if each := (memory() - before) / int64(n); each > 250 {
		t.Errorf("%d octets for each", each)
	}
}
