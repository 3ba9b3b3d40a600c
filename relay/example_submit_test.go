package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// The errors of Submit tell what to do next.
func ExampleRelay_Submit_errors() {
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.com", Recipients: domains.StaticRecipients("alice")},
		},
		Mailboxes: delivery.Maildir("mail"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	send := func(to string) {
		_, err := r.Submit(context.Background(), &relay.Message{
			From: "shop@example.com", To: []string{to},
			Content: strings.NewReader("Subject: Your order\n\nIt is on its way.\n"),
		})
		var fault *postern.FieldError
		var refused *relay.RecipientError
		var reply *relay.ReplyError
		switch {
		case err == nil:
			fmt.Println("queued")
		case errors.As(err, &fault): // mend the message
			fmt.Println("invalid", fault.Field)
		case errors.As(err, &refused): // nobody there: tell the user
			fmt.Println("refused", refused.Recipient)
		case errors.Is(err, relay.ErrPressure), errors.Is(err, spool.ErrFull): // later
			fmt.Println("no room now")
		case errors.Is(err, relay.ErrStore): // later, and call an operator
			fmt.Println("the spool failed")
		case errors.As(err, &reply): // the message as a whole is refused
			fmt.Println("refused", reply)
		default: // the reader of the content, or the context
			fmt.Println(err)
		}
	}
	send("alice@example.com")
	send("alcie@example.com")
	send("alice at example.com")
	// Output:
	// queued
	// refused alcie@example.com
	// invalid To[0]
}
