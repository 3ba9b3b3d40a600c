package relay_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"strings"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// busy is a network in which the one host has had enough.
func busy(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	go func() {
		_, _ = io.WriteString(there, "421 4.7.28 Too many connections from your address\r\n")
		_ = there.Close()
	}()
	return here, nil
}

// throttled sends a message to a host that refuses it for its rate.
func throttled(ctx context.Context) (*relay.Relay, event.Event) {
	throttled := make(chan event.Event, 1)
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		Dial:     busy,
		SendConnectors: []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(),
			NextHop: connector.NextHop{Hosts: []string{"192.0.2.1"}},
		}},
		Events: func(e event.Event) {
			if e.Kind == event.Throttled {
				throttled <- e
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = r.Run(ctx) }()
	_, err = r.Submit(ctx, &relay.Message{
		From: "app@example.com", To: []string{"bob@example.net"},
		Content: strings.NewReader("Subject: Hello\n\nHello\n"),
	})
	if err != nil {
		log.Fatal(err)
	}
	return r, <-throttled
}

// A host answers that there is too much. The relay sends half as much, until
// an operator knows better.
func ExampleRelay_LiftThrottle() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	r, e := throttled(ctx)
	fmt.Println(e.Kind, e.Site, e.Class, e.Code, e.Text)
	for _, t := range r.Throttles() {
		fmt.Printf("%s: %.0f %% of its rate\n", t.Site, 100*t.Share)
		fmt.Println(r.LiftThrottle(t.ID))
	}
	fmt.Println(len(r.Throttles()), "left")
	// Output:
	// throttled send/out rate-limited 421 Too many connections from your address
	// send/out: 50 % of its rate
	// <nil>
	// 0 left
}

// How mail leaves now, and what went wrong last.
func ExampleRelay_Describe() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	r, _ := throttled(ctx)
	for _, s := range r.Describe(ctx).Sites {
		fmt.Printf("%s: %d connections, %.0f %% of the rate\n", s.Name, s.Connections, 100*s.Share)
		if f := s.Failure; f != nil {
			fmt.Println(f.Class, f.Enhanced, f.Text)
		}
	}
	// Output:
	// send/out: 0 connections, 50 % of the rate
	// rate-limited 4.7.28 Too many connections from your address
}
