package relay_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// Two relays share a spool. In processes of their own they would share one in a
// database.
func ExampleRelay_Nodes() {
	queue := memspool.New(nil)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	var running sync.WaitGroup
	var second *relay.Relay
	for range 2 {
		r, err := relay.New(relay.Config{
			Hostname: "relay.example.com", Spool: queue, LeaseTime: 2 * time.Second,
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		running.Go(func() { _ = r.Run(ctx) })
		second = r
	}
	live := 1
	for ; live < 2; _, live = second.Nodes() {
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Println(live, "relays, each with half of the connections to a destination")
	stop()
	running.Wait()
	// Output: 2 relays, each with half of the connections to a destination
}
