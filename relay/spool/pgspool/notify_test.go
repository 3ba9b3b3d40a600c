package pgspool_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// listen returns a connection that hears what nodes are told.
func listen(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err == nil {
		_, err = c.Exec(t.Context(), "LISTEN "+pgspool.Channel("postern"))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	return c
}

// heard counts the notifications that come until a connection has been quiet
// for a while.
func heard(t *testing.T, c *pgx.Conn) (n int) {
	t.Helper()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := c.WaitForNotification(ctx)
		cancel()
		if err != nil {
			return n
		}
		n++
	}
}

// TestNotificationsAreFew has many sessions commit: others are told, but not of
// each message, because a notification takes a lock of the whole server.
func TestNotificationsAreFew(t *testing.T) {
	url := server.Database(t)
	s := open(t, url)
	c := listen(t, url)
	begun := time.Now()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 25 {
				message(t, s, "a", "hello")
			}
		})
	}
	wg.Wait()
	most := int(time.Since(begun)/(25*time.Millisecond)) + 2
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := c.WaitForNotification(ctx); err != nil {
		t.Fatalf("nobody was told: %v", err)
	}
	if n := 1 + heard(t, c); n > most {
		t.Errorf("%d notifications of 500 messages, want %d at most", n, most)
	}
}

// TestTransactionOfTheApplicationNotifiesNobody keeps the lock of the server
// away from it.
func TestTransactionOfTheApplicationNotifiesNobody(t *testing.T) {
	url := server.Database(t)
	s := open(t, url)
	c := listen(t, url)
	err := pgx.BeginFunc(t.Context(), connect(t, url), func(tx pgx.Tx) error {
		return s.Tx(tx).Commit(t.Context(), &spool.Prepared{
			Content: []byte("Subject: x\r\n"),
			Commit: spool.Commit{
				Message: spool.Message{ID: spool.NewID(time.Now())},
				Deliveries: []spool.Delivery{{
					Key:        spool.Key{Route: "a"},
					Recipients: []spool.Recipient{{Address: "a@example.com"}},
				}},
			},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := heard(t, c); n > 0 {
		t.Errorf("%d notifications", n)
	}
}
