package relay_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/relaytest"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// Each fault of Shaping is reported with its field, all of them at once.
func TestShapingIsChecked(t *testing.T) {
	_, err := relay.New(relay.Config{
		Hostname: "relay.example.com", Spool: memspool.New(nil),
		Shaping: delivery.Shaping{
			Site:   delivery.Limits{Connections: -1},
			Source: delivery.Limits{MessagesPerConnection: -1},
			StreamSite: delivery.Limits{
				Rate: delivery.Rate{Per: time.Minute}, MessagesPerConnection: 5,
			},
			Streams: []delivery.Stream{
				{Name: "news", Weight: 101},
				{Name: "news"},
				{Limits: delivery.Limits{Rate: delivery.Rate{Messages: -1, Per: 1}}},
				{Name: "news letter"},
			},
			Providers: []delivery.Provider{
				{Exchangers: []string{"mx.example."}},
				{Name: "Big"},
				{Name: "odd", Exchangers: []string{"b.example", "mx b.example"}},
				{
					Name: "slow", Exchangers: []string{"a.example"},
					Limits: delivery.Limits{Rate: delivery.Rate{Messages: 1, Per: 1}},
				},
			},
		},
	})
	var fields []string
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		if f, ok := errors.AsType[*postern.FieldError](e); ok {
			fields = append(fields, f.Field)
		}
	}
	want := []string{
		"Shaping.Site.Connections", "Shaping.Source.MessagesPerConnection",
		"Shaping.StreamSite.MessagesPerConnection",
		"Shaping.StreamSite.Rate.Messages", "Shaping.Streams[0].Weight", "Shaping.Streams[1].Name",
		"Shaping.Streams[2].Limits.Rate.Messages", "Shaping.Streams[2].Limits.Rate.Per",
		"Shaping.Providers[0].Name",
		"Shaping.Providers[0].Exchangers[0]", "Shaping.Providers[1].Name",
		"Shaping.Providers[1].Exchangers", "Shaping.Providers[2].Exchangers[1]",
		"Shaping.Providers[3].Limits.Rate.Per", "Shaping.Streams[3].Name",
	}
	slices.Sort(fields)
	slices.Sort(want)
	if !slices.Equal(fields, want) {
		t.Errorf("faults of\n%q, want\n%q", fields, want)
	}
}

// A connection ends after as many messages as the least of the limits that it
// is subject to says.
func TestMessagesPerConnectionAreShaped(t *testing.T) {
	of := func(n int) delivery.Limits { return delivery.Limits{MessagesPerConnection: n} }
	provider := delivery.Provider{Name: "a", Exchangers: []string{"a.test"}, Limits: of(2)}
	for _, test := range []struct {
		name    string
		hop     int
		shaping delivery.Shaping
		a, b    int // connections for 4 messages to each
	}{
		{"none", 0, delivery.Shaping{}, 1, 1},
		{"provider", -1, delivery.Shaping{Providers: []delivery.Provider{provider}}, 2, 1},
		{"provider beside site", 0, delivery.Shaping{
			Providers: []delivery.Provider{provider}, Site: of(3),
		}, 2, 2},
		{"source", 0, delivery.Shaping{Source: of(1), Site: of(3)}, 4, 4},
		{"next hop", 1, delivery.Shaping{Site: of(3)}, 4, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			inRefusers(t, func(c *relay.Config) {
				out := &c.SendConnectors[0].NextHop
				out.MessagesPerConnection, out.IdleTimeout = test.hop, time.Hour
				out.ConnectionAge, c.Shaping = time.Hour, test.shaping
			}, func(t *testing.T, w *refusers) {
				for range 4 {
					w.send("", "x@a.test")
					w.send("", "x@b.test")
				}
				if a, b := w.a.Sessions(), w.b.Sessions(); a != test.a || b != test.b {
					t.Errorf("%d and %d connections, want %d and %d", a, b, test.a, test.b)
				}
			})
		})
	}
}

// A domain that names an exchanger of a provider beside its own, however many
// of them, does not use up what goes to the provider.
func TestProviderOperatesAllExchangers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		zone := relaytest.NewZone().
			MX("own.test", 10, "aspmx.l.google.com").MX("own.test", 20, "alt.l.google.com").
			MX("mixed.test", 10, "mx.mixed.test").MX("mixed.test", 20, "aspmx.l.google.com").
			MX("many.test", 10, "z.many.test")
		for n := range 100 {
			zone.MX("many.test", 20, fmt.Sprintf("alt%d.l.google.com", n))
		}
		r := run(t, relay.Config{
			Hostname: "relay.example.test", Spool: memspool.New(nil), Resolver: zone,
			SendConnectors: []*connector.SendConnector{{
				Name: "out", AddressSpaces: connector.AllDomains(),
			}},
		})
		for _, domain := range []string{"own", "mixed", "many"} {
			submit(t, r, "app@example.test", "x@"+domain+".test")
		}
		synctest.Wait()
		got := make(map[string]int)
		for _, s := range r.Describe(t.Context()).Sites {
			got[s.Provider]++
		}
		if got["google"] != 1 || got[""] != 2 {
			t.Errorf("sites by provider: %v", got)
		}
	})
}
