package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// shop stands for the application's database.
type shop struct {
	mu     sync.Mutex
	place  uint64         // a row for each consumer
	events map[string]int // by order
}

// note is one transaction: it does the work for events that were not done yet,
// and keeps the place with it.
func (s *shop) note(events []event.Event) {
	s.mu.Lock() // SELECT place … FOR UPDATE
	defer s.mu.Unlock()
	for _, e := range events {
		if e.Cursor <= s.place {
			continue // done before
		}
		s.events[e.Labels["order"]]++
		s.place = e.Cursor
	}
}

// Follow gives each event at least once. The work is done exactly once where it
// lies in one transaction with the place in the log: also when nobody hears
// that the transaction went through, or two processes do it at the same time. A
// store in the application's database has a place to move in the same
// transaction, and needs no row of the application's.
func ExampleRelay_Follow_once() {
	queue := memspool.New(nil)
	defer queue.Close()
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com", Spool: queue,
		EventLog: relay.EventLog{Retention: 30 * 24 * time.Hour},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	for _, order := range []string{"1042", "1043"} {
		_, err := r.Submit(context.Background(), &relay.Message{
			From: "shop@example.com", To: []string{"anna@example.net"},
			Labels:  map[string]string{"order": order},
			Content: strings.NewReader("From: shop@example.com\nSubject: Yours\n\nThanks.\n"),
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	db := &shop{events: map[string]int{}}
	for _, answer := range []error{errors.New("the answer to COMMIT was lost"), nil} {
		ctx, cancel := context.WithCancel(context.Background())
		err := r.Follow(ctx, "orders", func(_ context.Context, events []event.Event) error {
			defer cancel() // as a process that ends
			db.note(events)
			fmt.Println(len(events), "events:", db.events)
			return answer
		})
		if err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 2 events: map[1042:1 1043:1]
	// 2 events: map[1042:1 1043:1]
}
