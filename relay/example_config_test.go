package relay_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"io"
	"log"
	"strings"
	"time"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// Reload changes everything but the host name and the queue while the relay
// runs.
func ExampleRelay_Reload() {
	cfg := relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.com", Recipients: domains.StaticRecipients("alice")},
		},
		Mailboxes: delivery.Maildir("mail"),
	}
	r, err := relay.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	send := func(to string) error {
		_, err := r.Submit(
			context.Background(),
			&relay.Message{
				From: "app@example.com", To: []string{to},
				Content: strings.NewReader("Subject: Hello\n\nHello\n"),
			},
		)
		return err
	}
	fmt.Println(send("bob@example.com"))

	cfg.AcceptedDomains = []domains.AcceptedDomain{
		{Domain: "example.com", Recipients: domains.StaticRecipients("alice", "bob")},
	}
	fmt.Println(r.Reload(cfg))
	fmt.Println(send("bob@example.com"))

	cfg.Mailboxes = nil // a fault: the old configuration stays in force
	fmt.Println(r.Reload(cfg) != nil)
	// Output:
	// <bob@example.com>: 550 5.1.1 User unknown
	// <nil>
	// <nil>
	// true
}

// The events tell the fate of every recipient.
func ExampleConfig_events() {
	events := make(chan event.Event, 10)
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		Events:   func(e event.Event) { events <- e },
		Transport: delivery.Mailbox(func(
			_ context.Context, to domains.Address, _ *delivery.Attempt,
		) error {
			if to.Local() == "gone" {
				return relay.Reject(550, "5.1.1", "No such mailbox")
			}
			return nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	// No sender, so there is nobody to report the failure to.
	_, err = r.Submit(context.Background(), &relay.Message{
		To:      []string{"bob@example.net", "gone@example.net"},
		Content: strings.NewReader("From: app@example.com\nSubject: Hello\n\nHello\n"),
		Labels:  map[string]string{"campaign": "spring"},
	})
	if err != nil {
		log.Fatal(err)
	}
	go r.Run(context.Background())
	defer r.Close()
	for range 4 {
		e := <-events
		fmt.Println(e.Kind, e.To, e.Enhanced, e.Labels["campaign"])
	}
	// Output:
	// accepted [bob@example.net gone@example.net]  spring
	// attempted []  spring
	// delivered [bob@example.net]  spring
	// bounced [gone@example.net] 5.1.1 spring
}

// Failed attempts are repeated by a schedule until the message expires.
func ExampleConfig_retry() {
	events := make(chan event.Event, 10)
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		Retry: delivery.Retry{
			MX: []time.Duration{5 * time.Minute, time.Hour}, // to mail exchangers
			// To all others.
			Schedule: []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute},
			Expires:  24 * time.Hour,
		},
		Events: func(e event.Event) { events <- e },
		Transport: delivery.Mailbox(func(
			context.Context, domains.Address, *delivery.Attempt,
		) error {
			return relay.Defer(451, "4.2.1", "Busy")
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = r.Submit(
		context.Background(),
		&relay.Message{
			To:      []string{"bob@example.net"},
			Content: strings.NewReader("From: app@example.com\nSubject: Hello\n\nHello\n"),
		},
	)
	if err != nil {
		log.Fatal(err)
	}
	go r.Run(context.Background())
	defer r.Close()
	for e := range events {
		if e.Kind == event.Deferred {
			wait := e.Next.Sub(e.Time)
			fmt.Println(e.Text, wait > 59*time.Second && wait < 67*time.Second)
			break
		}
	}
	// Output: Busy true
}

// Messages of users, of relaying hosts and of the application are signed by the
// domain of their From field.
func ExampleConfig_dkim() {
	// msgauth.LoadKey reads one
	private := ed25519.NewKeyFromSeed([]byte("an example seed of 32 octets....."[:32]))
	signed := make(chan string)
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		DKIM:     []msgauth.Key{{Domain: "example.com", Selector: "s1", Signer: private}},
		Transport: delivery.Mailbox(func(
			ctx context.Context, _ domains.Address, a *delivery.Attempt,
		) error {
			content, err := a.Open(ctx)
			if err != nil {
				return err
			}
			defer content.Close()
			text, _ := io.ReadAll(content)
			_, field, _ := strings.Cut(string(text), "DKIM-Signature:")
			field, _, _ = strings.Cut(field, ";")
			signed <- field
			return nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	go r.Run(context.Background())
	defer r.Close()
	_, err = r.Submit(context.Background(), &relay.Message{
		From: "shop@example.com", To: []string{"bob@example.net"},
		Content: strings.NewReader("From: shop@example.com\nSubject: Signed\n\nHello\n"),
	})
	fmt.Println(err, strings.TrimSpace(<-signed))
	// Output: <nil> a=ed25519-sha256
}
