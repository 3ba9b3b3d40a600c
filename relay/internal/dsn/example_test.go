package dsn_test

import (
	"fmt"
	"strings"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/dsn"
	"github.com/postern-mail/postern/relay/spool"
)

func ExampleReport_Write() {
	r := dsn.Report{
		ID: "1", Hostname: "relay.example.com", To: "app@example.com", Date: at, Arrival: at,
		Size: int64(len(original)),
		Recipients: []dsn.Recipient{{
			Address: "bob@example.net", Action: dsn.Failed, Status: "5.1.1",
			Host:  "mx.example.net [192.0.2.7]:25",
			Reply: delivery.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such user"},
		}},
	}
	var b strings.Builder
	body, err := r.Write(&b, strings.NewReader(original))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, text, _ := strings.Cut(b.String(), "Content-Transfer-Encoding: 7bit\r\n\r\n--")
	_, text, _ = strings.Cut(text, "\r\n\r\n")
	text, _, _ = strings.Cut(text, "\r\n--")
	fmt.Println("BODY=" + body)
	fmt.Println(strings.ReplaceAll(text, "\r\n", "\n"))
	// Output:
	// BODY=7BIT
	// This is the mail system at relay.example.com.
	//
	// Your message could not be delivered to:
	//
	//   <bob@example.net>
	//     mx.example.net [192.0.2.7]:25 said: 550 5.1.1 No such user
	//     Check the address for mistakes, then send the message again.
}

func ExampleWanted() {
	fmt.Println(dsn.Wanted("app@example.com", 0, dsn.Failed))
	fmt.Println(dsn.Wanted("app@example.com", spool.NotifyNever, dsn.Failed))
	fmt.Println(dsn.Wanted("", 0, dsn.Failed)) // a bounce is never bounced
	// Output:
	// true
	// false
	// false
}
