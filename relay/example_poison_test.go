package relay_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// What crashes the application's mailboxes twice is set aside. Once they are
// mended, an operator lists it and lets it be tried again.
func ExampleRelay_Poisoned() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mended atomic.Bool
	happened := make(chan event.Event, 10)
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com", Spool: memspool.New(nil),
		Retry: delivery.Retry{Schedule: []time.Duration{time.Second}},
		Transport: delivery.Mailbox(func(
			context.Context, domains.Address, *delivery.Attempt,
		) error {
			if !mended.Load() {
				panic("index out of range")
			}
			return nil
		}),
		Events: func(e event.Event) {
			if e.Kind == event.Poisoned || e.Kind == event.Delivered {
				happened <- e
			}
		},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		log.Fatal(err)
	}
	go func() { _ = r.Run(ctx) }()
	_, err = r.Submit(ctx, &relay.Message{
		To:      []string{"bob@example.net"},
		Content: strings.NewReader("From: a@example.com\nSubject: Hello\n\nHello\n"),
	})
	if err != nil {
		log.Fatal(err)
	}
	e := <-happened
	fmt.Println(e.Kind, e.To[0], "at attempt", e.Attempt)

	mended.Store(true)
	list, err := r.Poisoned(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range list {
		fmt.Println(s.Recipients[0].State, "after", s.Recipients[0].Crashes, "crashes")
		if err := r.Reschedule(ctx, s.QueueID, time.Now()); err != nil {
			log.Fatal(err)
		}
	}
	e = <-happened
	fmt.Println(e.Kind, e.To[0], "at attempt", e.Attempt)
	// Output:
	// poisoned bob@example.net at attempt 2
	// poison after 2 crashes
	// delivered bob@example.net at attempt 3
}
