package delivery_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
)

// A transport that writes each copy by itself keeps a panic to the recipient
// whose copy it was: the others are taken, and only that one is set aside if it
// happens twice.
func ExampleRecovered() {
	write := func(address string) {
		if address == "bob@example.net" {
			panic("no such shelf")
		}
	}
	one := func(address string) (r delivery.Result) {
		defer func() {
			if v := recover(); v != nil {
				r = delivery.Failed(delivery.Recovered(v))
			}
		}()
		write(address)
		return delivery.Taken("", delivery.Reply{})
	}
	shelves := delivery.TransportFunc(
		func(_ context.Context, a *delivery.Attempt) []delivery.Result {
			results := make([]delivery.Result, len(a.Recipients))
			for i, to := range a.Recipients {
				results[i] = one(to.Address)
			}
			return results
		})

	results := shelves.Deliver(context.Background(), &delivery.Attempt{
		Recipients: []spool.Recipient{{Address: "anna@example.net"}, {Address: "bob@example.net"}},
	})
	for _, r := range results {
		var p *delivery.Panic
		if errors.As(r.Err, &p) {
			fmt.Println("crashed:", p.Value)
			continue
		}
		fmt.Println("taken:", r.OK())
	}
	// Output:
	// taken: true
	// crashed: no such shelf
}
