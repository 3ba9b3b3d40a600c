package delivery_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// Mailbox calls a function for each recipient of an accepted domain. Both it
// and Recipients ask the application's own table.
func ExampleMailbox() {
	users := map[string]int{"anna@example.com": 1, "root@example.com": 2} // by FoldedKey
	arrived := make(chan string)
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		AcceptedDomains: []domains.AcceptedDomain{{
			Domain: "example.com",
			Recipients: domains.ResolverFunc(func(
				_ context.Context, a domains.Address,
			) (bool, error) {
				_, known := users[a.FoldedKey()]
				return known, nil
			}),
		}},
		Mailboxes: delivery.Mailbox(func(
			_ context.Context, to domains.Address, a *delivery.Attempt,
		) error {
			user, known := users[to.FoldedKey()]
			switch {
			case to.IsPostmaster():
				user = users["root@example.com"] // whom no table needs to list
			case !known:
				return relay.Reject(550, "5.1.1", "No such user")
			}
			// Store a.Open's content here. An error is tried again, unless it
			// is made by relay.Reject.
			arrived <- fmt.Sprint(to, " for user ", user)
			return nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()
	for _, to := range []string{"Anna@example.com", "postmaster@example.com"} {
		_, err = r.Submit(ctx, &relay.Message{
			From: "app@example.com", To: []string{to},
			Content: strings.NewReader("Subject: hello\n\n"),
		})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(<-arrived)
	}
	stop()
	fmt.Println(<-ended)
	// Output:
	// Anna@example.com for user 1
	// postmaster@example.com for user 2
	// <nil>
}
