package filespool_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

func tempDir() string {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	return dir
}

// A new process starts while the old one still drains: it waits in Open until
// the old one has closed the store.
func ExampleOptions_handOver() {
	dir := tempDir()
	defer os.RemoveAll(dir)

	old, err := filespool.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		time.Sleep(50 * time.Millisecond) // the old relay drains
		fmt.Println("old: closed")
		old.Close()
	}()

	next, err := filespool.Open(dir, &filespool.Options{Wait: 5 * time.Minute})
	if err != nil {
		log.Fatal(err) // filespool.ErrLocked: the old one still has it
	}
	defer next.Close()
	fmt.Println("new: opened")
	// Output:
	// old: closed
	// new: opened
}

// A consumer reads events from its own place, and goes on from there after the
// next start.
func ExampleStore_Records() {
	ctx := context.Background()
	dir := tempDir()
	defer os.RemoveAll(dir)
	store, err := filespool.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()

	// A relay does this: the message and its event are stored in one step.
	w, err := store.Create(ctx, spool.NewID(time.Now()))
	if err != nil {
		log.Fatal(err)
	}
	io.WriteString(w, "Subject: hello\r\n\r\n")
	err = w.Commit(ctx, spool.Commit{
		Deliveries: []spool.Delivery{{Key: spool.Key{Route: "out"}, Due: time.Now()}},
		Events:     []spool.Record{{Time: time.Now(), Data: []byte("accepted")}},
	})
	if err != nil {
		log.Fatal(err)
	}

	after, err := store.Cursor(ctx, "printer")
	if err != nil {
		log.Fatal(err)
	}
	records, err := store.Records(ctx, after, 100)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range records {
		fmt.Printf("%s\n", r.Data)
		if err := store.Advance(ctx, "printer", r.At); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// accepted
}

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := filespool.Open(dir, &filespool.Options{MaxBytes: 10 << 30})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	r := s.Recovery()
	fmt.Println(r.Messages, "messages,", len(r.Damage), "places damaged")
	// Output: 0 messages, 0 places damaged
}
