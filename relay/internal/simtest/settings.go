package simtest

import (
	"fmt"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/delivery"
)

// retry is sooner than by default: a plan is short.
func retry() delivery.Retry {
	return delivery.Retry{
		MX: []time.Duration{
			10 * time.Second, time.Minute, 5 * time.Minute,
		},
		Schedule:   []time.Duration{soonest, 20 * time.Second, time.Minute},
		Greylisted: 90 * time.Second,
		Expires:    expires, DelayNotification: 3 * time.Minute,
	}
}

// soonest is the shortest wait between two attempts.
const soonest = 5 * time.Second

// sendConnectors lead to the sick hosts on few connections, so that deliveries
// go ahead.
func (w *World) sendConnectors() []*connector.SendConnector {
	hop := connector.NextHop{
		AllowPrivateAddresses: true, MaxConnections: 1 + w.below(3),
		MessagesPerConnection: []int{0, 0, 3, 20}[w.below(4)],
	}
	smart := hop
	smart.Hosts = []string{"a.smart.test", "b.smart.test"}
	return []*connector.SendConnector{
		{Name: "mx", AddressSpaces: connector.AllDomains(), NextHop: hop},
		{
			Name:          "smart",
			AddressSpaces: []connector.AddressSpace{{Domain: "*.smart.test"}},
			NextHop:       smart,
		},
	}
}

// shaping weighs the streams, and bounds what goes to some hosts.
func (w *World) shaping() delivery.Shaping {
	s := delivery.Shaping{
		Providers: []delivery.Provider{{
			Name: "two", Exchangers: []string{"d1.test", "d2.test"},
			Limits: delivery.Limits{Connections: 1 + w.below(4)},
		}},
		Streams: []delivery.Stream{
			{Name: "stream0", Weight: 1 + w.below(100)},
			{Name: "stream1", Weight: 1, Limits: delivery.Limits{
				Connections: 1 + w.below(3),
			}},
		},
	}
	if w.chance(0.5) {
		s.Providers[0].Limits.Rate = delivery.Rate{Messages: 60, Per: time.Minute}
	}
	if w.chance(0.5) {
		s.StreamSite.Rate = delivery.Rate{Messages: 600, Per: time.Minute}
	}
	return s
}

// from is the reverse-path of a client's messages.
func (w *World) from(client int) string {
	domain := senderDomain
	if client%2 == 1 {
		domain = "other." + senderDomain
	}
	return fmt.Sprintf("s%d@%s", client, domain)
}
