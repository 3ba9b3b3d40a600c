package delivery_test

import (
	"fmt"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// What goes where at once and over time: Shaping of the relay's configuration.
func ExampleShaping() {
	shaping := delivery.Shaping{
		// No site has more than these, whoever operates it.
		Site: delivery.Limits{
			Connections: 10, Rate: delivery.Rate{Messages: 600, Per: time.Minute},
		},
		// All sites of a provider together: one more beside those known.
		Providers: append(delivery.Providers(), delivery.Provider{
			Name: "example", Exchangers: []string{"mx.example.net"},
			Limits: delivery.Limits{Connections: 3, MessagesPerConnection: 20},
		}),
		Streams: []delivery.Stream{
			{Name: "receipts", Weight: 10}, // ten in the time of one of another stream
			{Name: "news", Limits: delivery.Limits{Rate: delivery.Rate{Messages: 1000}}},
		},
	}
	for _, host := range []string{"in1.mx.example.net", "aspmx.l.google.com", "mx.example.org"} {
		for _, p := range shaping.Providers {
			if p.Has(host) {
				fmt.Println(host, p.Name, p.Limits.Connections, p.Limits.MessagesPerConnection)
			}
		}
	}
	// Output:
	// in1.mx.example.net example 3 20
	// aspmx.l.google.com google 5 50
}
