package bounce_test

import (
	"fmt"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/event"
)

func ExampleClassify() {
	for _, r := range []bounce.Reply{
		{Code: 550, Enhanced: "5.1.1", Text: "No such user", Step: bounce.StepRcpt},
		{Code: 450, Text: "Greylisted, come back later", Step: bounce.StepRcpt},
		{
			Code: 421, Enhanced: "4.7.0", Step: bounce.StepMail, Host: "mta5.am0.yahoodns.net",
			Text: "[TSS04] Messages from 192.0.2.1 temporarily deferred",
		},
		{Step: bounce.StepDial}, // nobody has replied
	} {
		fmt.Println(bounce.Classify(r))
	}
	// Output:
	// unknown-recipient
	// greylisted
	// rate-limited
	// network
}

// An application reads the class of its events and does what helps.
func ExampleClass() {
	act := func(e event.Event) string {
		switch e.Class {
		case bounce.UnknownRecipient, bounce.InactiveRecipient, bounce.UnknownDomain:
			return "strike out " + e.To[0]
		case bounce.MailboxFull:
			return "try " + e.To[0] + " again next week"
		case bounce.Authentication, bounce.Reputation, bounce.Access:
			return "call the operator: " + e.Text
		}
		return "show the user: " + e.Text
	}
	for _, e := range []event.Event{
		{
			Kind: event.Bounced, To: []string{"gone@example.net"}, Text: "User unknown",
			Class: bounce.UnknownRecipient,
		},
		{
			Kind: event.Bounced, To: []string{"anna@example.org"}, Text: "DMARC policy of reject",
			Class: bounce.Authentication,
		},
		{
			Kind: event.Expired, To: []string{"bob@example.com"}, Text: "Try again later",
			Class: bounce.System,
		},
	} {
		fmt.Println(act(e))
	}
	// Output:
	// strike out gone@example.net
	// call the operator: DMARC policy of reject
	// show the user: Try again later
}

func ExampleClasses() {
	for _, c := range bounce.Classes()[:3] {
		fmt.Println(c)
	}
	// Output:
	// unknown-recipient
	// inactive-recipient
	// mailbox-full
}
