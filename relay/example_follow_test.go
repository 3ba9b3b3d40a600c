package relay_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// Follow tells an application what became of its mail, also what happened while
// it did not run. The ids of events let it do everything once.
func ExampleRelay_Follow() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	queue, err := filespool.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com", Spool: queue,
		EventLog: relay.EventLog{Retention: 30 * 24 * time.Hour},
		Transport: delivery.TransportFunc(
			func(_ context.Context, a *delivery.Attempt) []delivery.Result {
				return []delivery.Result{{Delivered: true}}
			}),
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()

	_, err = r.Submit(ctx, &relay.Message{
		From: "shop@example.com", To: []string{"anna@example.net"},
		Labels:  map[string]string{"order": "1042"},
		Content: strings.NewReader("From: shop@example.com\nSubject: Your order\n\nThank you.\n"),
	})
	if err != nil {
		log.Fatal(err)
	}
	done := map[string]bool{} // in a database: in one transaction with the work
	err = r.Follow(ctx, "orders", func(_ context.Context, events []event.Event) error {
		for _, e := range events {
			if done[e.ID] {
				continue
			}
			done[e.ID] = true
			fmt.Println("order", e.Labels["order"], e.Kind, e.To)
			if e.Kind.Fate() {
				cancel() // enough for an example
			}
		}
		return nil
	})
	fmt.Println(err, <-ended)
	// Output:
	// order 1042 accepted [anna@example.net]
	// order 1042 delivered [anna@example.net]
	// <nil> <nil>
}

// A Key makes a message that is submitted again, such as after a time-out,
// queued once.
func ExampleRelay_Submit_key() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	queue, err := filespool.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	r, err := relay.New(relay.Config{Hostname: "relay.example.com", Spool: queue})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	send := func(text string) {
		receipt, err := r.Submit(context.Background(), &relay.Message{
			From: "shop@example.com", To: []string{"anna@example.net"}, Key: "order-1042",
			Content: strings.NewReader("From: shop@example.com\nSubject: Your order\n\n" + text),
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("queued before:", receipt.Duplicate)
	}
	send("Thank you.\n")
	send("Thank you.\n")
	send("Something else.\n")
	stats, err := r.Stats(context.Background())
	fmt.Println(stats.Messages, err)
	// Output:
	// queued before: false
	// queued before: true
	// 550 5.5.4 Idempotency-Key was used for another message
	// 1 <nil>
}

// A message may wait for its time, be looked at, be sent sooner, and be taken
// back.
func ExampleRelay_Status() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	queue, err := filespool.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	r, err := relay.New(relay.Config{Hostname: "relay.example.com", Spool: queue})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	ctx, now := context.Background(), time.Now()
	receipt, err := r.Submit(ctx, &relay.Message{
		From: "shop@example.com", To: []string{"anna@example.net"}, Stream: "newsletter",
		NotBefore: now.Add(24 * time.Hour), Expires: now.Add(72 * time.Hour),
		Content: strings.NewReader("From: shop@example.com\nSubject: News\n\nNews.\n"),
	})
	if err != nil {
		log.Fatal(err)
	}
	show := func() {
		s, err := r.Status(ctx, receipt.QueueID)
		if err != nil {
			log.Fatal(err)
		}
		w := s.Recipients[0]
		fmt.Println(s.Stream, w.Address, w.State, "attempts:", w.Attempts,
			"in", w.Next.Sub(now).Round(time.Hour))
	}
	show()
	if err := r.Reschedule(ctx, receipt.QueueID, now.Add(time.Hour)); err != nil {
		log.Fatal(err)
	}
	show()
	fmt.Println(r.Cancel(ctx, receipt.QueueID))
	// Output:
	// newsletter anna@example.net waiting attempts: 0 in 24h0m0s
	// newsletter anna@example.net waiting attempts: 0 in 1h0m0s
	// 1 <nil>
}

// SubmitIn leaves the commit to another, so that a message is queued if and
// only if a step of the application's happens. Stores over a database make a
// Committer of a transaction; a filespool is one itself.
func ExampleRelay_SubmitIn() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	queue, err := filespool.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()
	r, err := relay.New(relay.Config{Hostname: "relay.example.com", Spool: queue})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	_, err = r.SubmitIn(context.Background(), queue, &relay.Message{
		From: "shop@example.com", To: []string{"anna@example.net"},
		Content: strings.NewReader("From: shop@example.com\nSubject: Your order\n\nThank you.\n"),
	})
	stats, _ := r.Stats(context.Background())
	fmt.Println(stats.Messages, err)
	// Output: 1 <nil>
}
