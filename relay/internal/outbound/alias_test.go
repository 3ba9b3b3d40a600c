package outbound_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
)

// aliases is a zone with CNAME records, which it follows as a resolver does.
type aliases struct {
	zone
	cname map[string]string
}

func (a aliases) end(name string) (string, error) {
	for range 8 {
		target, ok := a.cname[name]
		if !ok {
			return name, nil
		}
		name = target
	}
	return "", &net.DNSError{Err: "too many aliases", Name: name, IsTemporary: true}
}

func (a aliases) LookupMX(
	ctx context.Context, name string,
) (answer delivery.Answer[*net.MX], err error) {
	if name, err = a.end(name); err != nil {
		return answer, err
	}
	return a.zone.LookupMX(ctx, name)
}

func (a aliases) LookupNetIP(
	ctx context.Context, network, name string,
) (answer delivery.Answer[netip.Addr], err error) {
	if name, err = a.end(name); err != nil {
		return answer, err
	}
	return a.zone.LookupNetIP(ctx, network, name)
}

func aliased() aliases {
	mx := func(names ...string) (list []*net.MX) {
		for pref, name := range names {
			list = append(list, &net.MX{Host: name, Pref: uint16(pref)})
		}
		return list
	}
	return aliases{
		zone: zone{
			mx: map[string][]*net.MX{
				"real.test": mx("a.test"), "www.test": mx("cdn.test", "b.test"),
				"turns.test": mx("circle.test", "b.test"), "mine.test": mx("me.test", "b.test"),
				"second.test": mx("b.test", "me.test", "a.test"), "lost.test": mx("circle.test"),
				"equal.test": {{Host: "me.test"}, {Host: "b.test"}},
			},
			ip: map[string][]string{
				"a.test": {"10.0.0.1"}, "b.test": {"10.0.0.2"}, "bare.test": {"10.0.0.3"},
				"relay.example.test": {"10.0.0.9"},
			},
		},
		cname: map[string]string{
			"alias.test": "real.test", "alias2.test": "alias.test", "to.bare.test": "bare.test",
			"cdn.test": "a.test", "circle.test": "round.test", "round.test": "circle.test",
			"me.test": "relay.example.test", "nowhere.test": "gone.test",
		},
	}
}

// Aliases are followed where RFC 5321 section 5.1 has none, never in a circle,
// and one that leads to this host is this host.
func TestAliases(t *testing.T) {
	loop := "permanent dns 0 5.4.6 error"
	for domain, test := range map[string]struct{ dialed, want string }{
		"alias.test":   {"1", taken}, // a domain: its exchangers
		"alias2.test":  {"1", taken},
		"to.bare.test": {"3", taken}, // without any: its address
		"www.test":     {"1", taken}, // an exchanger
		"turns.test":   {"2", taken}, // one that leads nowhere
		"lost.test":    {"", "temporary dns 0 4.4.3 error"},
		"circle.test":  {"", "temporary dns 0 4.4.3 error"},
		"nowhere.test": {"", "temporary dns 0 4.4.3 error"},
		"mine.test":    {"", loop},
		"second.test":  {"2", taken},
	} {
		t.Run(domain, func(t *testing.T) {
			n := &network{serve: (&sink{}).serve}
			c := newClient(t, n.dial, func(cfg *outbound.Config) { cfg.Resolver = aliased() })
			expect(t, c.Deliver(t.Context(), to(domain)), test.want)
			if got := n.took(); got != test.dialed {
				t.Errorf("dialled %q, want %q", got, test.dialed)
			}
		})
	}
}

// Exchangers as good as an alias of this host, or worse, are not tried once it
// is known to be one.
func TestEqualsOfThisHostAreNotTried(t *testing.T) {
	n := &network{serve: (&sink{}).serve}
	c := newClient(t, n.dial, func(cfg *outbound.Config) { cfg.Resolver = aliased() })
	expect(t, c.Deliver(t.Context(), to("mine.test")), "permanent dns 0 5.4.6 error")
	for range 10 {
		expect(t, c.Deliver(t.Context(), to("equal.test")), "permanent dns 0 5.4.6 error")
	}
	r := to("second.test")
	n.down = map[string]bool{"10.0.0.2": true}
	expect(t, c.Deliver(t.Context(), r), "temporary dial 0 4.4.1 error")
	if got := n.took(); got != "2" {
		t.Errorf("dialled %q, want no worse one", got)
	}
}
