package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// gateway hands messages to a service of the application's own.
type gateway struct{ send func(to []string) error }

// Deliver answers for each recipient.
func (g *gateway) Deliver(ctx context.Context, a *relay.Attempt) []relay.Result {
	to := make([]string, len(a.Recipients))
	for i, rcpt := range a.Recipients {
		to[i] = rcpt.Address
	}
	results := make([]relay.Result, len(a.Recipients))
	if err := g.send(to); err != nil {
		for i := range results {
			results[i].Err = &relay.DeliveryError{Op: "content", Err: err} // tried again later
		}
	}
	return results
}

// A Transport takes mail over by the application's own means. All recipients of
// a message come in one Attempt.
func ExampleTransport() {
	sent := make(chan []string)
	r, err := relay.New(relay.Config{
		Hostname:  "relay.example.com",
		Spool:     memspool.New(nil),
		Transport: &gateway{send: func(to []string) error { sent <- to; return nil }},
	})
	if err != nil {
		log.Fatal(err)
	}
	go r.Run(context.Background())
	defer r.Close()
	_, err = r.Submit(context.Background(), &relay.Message{
		To:      []string{"bob@example.net", "carol@example.org"},
		Content: strings.NewReader("From: app@example.com\nSubject: Hello\n\nHello\n"),
	})
	fmt.Println(err, <-sent)
	// Output: <nil> [bob@example.net carol@example.org]
}

// A function may be a Transport.
func ExampleTransportFunc() {
	var t relay.Transport = relay.TransportFunc(func(
		_ context.Context, a *relay.Attempt,
	) []relay.Result {
		return make([]relay.Result, len(a.Recipients))
	})
	results := t.Deliver(context.Background(), &relay.Attempt{Number: 1})
	fmt.Println(len(results))
	// Output: 0
}

// Mailbox calls a function for each recipient of an accepted domain.
func ExampleMailbox() {
	arrived := make(chan string)
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.com", Recipients: domains.StaticRecipients("tickets")},
		},
		Mailboxes: relay.Mailbox(func(
			ctx context.Context, to domains.Address, a *relay.Attempt,
		) error {
			// An error is tried again, unless it is made by Reject.
			arrived <- to.Local()
			return nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	go r.Run(context.Background())
	defer r.Close()
	_, err = r.Submit(context.Background(), &relay.Message{
		To:      []string{"tickets@example.com"},
		Content: strings.NewReader("From: app@example.com\nSubject: Printer on fire\n\nHelp\n"),
	})
	fmt.Println(err, <-arrived)
	// Output: <nil> tickets
}

// Maildir writes the mail of known recipients into directories.
func ExampleMaildir() {
	dir, err := os.MkdirTemp("", "mail")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	delivered := make(chan struct{})
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.com", Recipients: domains.StaticRecipients("alice")},
		},
		Mailboxes: relay.Maildir(dir),
		Events: func(e event.Event) {
			if e.Kind == event.Delivered {
				close(delivered)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	go r.Run(context.Background())
	defer r.Close()
	_, err = r.Submit(context.Background(), &relay.Message{
		From: "bob@example.net", To: []string{"Alice@example.com"},
		Content: strings.NewReader("Subject: Hello\n\nHello Alice\n"),
	})
	if err != nil {
		log.Fatal(err)
	}
	<-delivered
	files, _ := filepath.Glob(filepath.Join(dir, "alice@example.com", "new", "*"))
	text, _ := os.ReadFile(files[0])
	fmt.Println(strings.Join(strings.SplitN(string(text), "\r\n", 3)[:2], "\n"))
	// Output:
	// Return-Path: <bob@example.net>
	// Delivered-To: Alice@example.com
}

// All mail goes to fixed hosts by SMTP, each in turn.
func ExampleSMTP() {
	host := newSink() // stands for smart.example.com:25
	defer host.close()
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		Transport: relay.SMTP(
			connector.NextHop{Hosts: []string{host.addr()}, TLS: connector.TLSOpportunistic},
		),
	})
	if err != nil {
		log.Fatal(err)
	}
	go r.Run(context.Background())
	defer r.Close()
	_, err = r.Submit(context.Background(), &relay.Message{
		From: "app@example.com", To: []string{"bob@example.net"},
		Content: strings.NewReader("Subject: Hello\n\nHello Bob\n"),
	})
	m := <-host.mail
	fmt.Println(err, m.from, m.to)
	// Output: <nil> app@example.com [bob@example.net]
}

// The mail of known recipients goes to a mail store by LMTP, which answers for
// each of them.
func ExampleSMTP_lmtp() {
	store := newSink() // stands for a mail store on port 24
	store.lmtp = true
	defer store.close()
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.com", Recipients: domains.AnyRecipient()},
		},
		Mailboxes: relay.SMTP(connector.NextHop{Hosts: []string{store.addr()}, LMTP: true}),
	})
	if err != nil {
		log.Fatal(err)
	}
	go r.Run(context.Background())
	defer r.Close()
	_, err = r.Submit(context.Background(), &relay.Message{
		From: "app@example.net", To: []string{"alice@example.com", "bob@example.com"},
		Content: strings.NewReader("Subject: Hello\n\nHello\n"),
	})
	m := <-store.mail
	fmt.Println(err, m.to)
	// Output: <nil> [alice@example.com bob@example.com]
}

// A DeliveryError tells what the remote host said, or what went wrong here.
func ExampleDeliveryError() {
	var err error = &relay.DeliveryError{
		Op: "rcpt", Host: "mx.example.net [192.0.2.1]:25", Code: 550, Enhanced: "5.1.1",
		Text: "no such user", Permanent: true,
	}
	fmt.Println(err)
	d, _ := errors.AsType[*relay.DeliveryError](err)
	fmt.Println(d.Temporary())
	// Output:
	// rcpt mx.example.net [192.0.2.1]:25: 550 5.1.1 no such user
	// false
}
