package outbound_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/spool"
)

// A message for two recipients, one of whom the next hop does not know.
func ExampleClient_Deliver() {
	client := outbound.New(outbound.Config{
		Hostname: "relay.example.com",
		Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go follow(theirs, []string{
				"S: 220 mx.example.net",
				"C: EHLO relay.example.com",
				"S: 250-mx.example.net",
				"S: 250 PIPELINING",
				"C: MAIL FROM:<alice@example.com>",
				"C: RCPT TO:<bob@example.net>",
				"C: RCPT TO:<nobody@example.net>",
				"C: DATA",
				"S: 250 2.1.0 ok",
				"S: 250 2.1.5 ok",
				"S: 550 5.1.1 no such user",
				"S: 354 go on",
				`C> Subject: hello\r\n\r\nHello Bob.\r\n.\r\n`,
				"S: 250 2.0.0 queued as 42",
			})
			return ours, nil
		},
	})
	defer client.Close()

	results := client.Deliver(context.Background(), &outbound.Request{
		Hop: &connector.NextHop{Hosts: []string{"192.0.2.1"}},
		Attempt: &delivery.Attempt{
			Message: spool.Message{From: "alice@example.com"},
			Recipients: []spool.Recipient{
				{Address: "bob@example.net"}, {Address: "nobody@example.net"},
			},
			Open: func(context.Context) (io.ReadCloser, error) {
				const content = "Subject: hello\r\n\r\nHello Bob.\r\n"
				return io.NopCloser(strings.NewReader(content)), nil
			},
		},
	})
	for _, r := range results {
		fmt.Println(r.Delivered, r.Host, r.Reply, r.Err)
	}
	// Output:
	// true 192.0.2.1 [192.0.2.1]:25 250 2.0.0 queued as 42 <nil>
	// false 192.0.2.1 [192.0.2.1]:25  rcpt 192.0.2.1 [192.0.2.1]:25: 550 5.1.1 no such user
}
