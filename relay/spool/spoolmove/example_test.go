package spoolmove_test

import (
	"context"
	"fmt"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
	"github.com/postern-mail/postern/relay/spool/spoolmove"
)

func ExampleMove() {
	ctx := context.Background()
	from, to := memspool.New(nil), memspool.New(nil) // or two that last
	err := from.Commit(ctx, &spool.Prepared{
		Content: []byte("Subject: hello\r\n\r\nworld\r\n"),
		Commit: spool.Commit{
			Message: spool.Message{ID: spool.NewID(time.Now()), From: "app@example.com"},
			Deliveries: []spool.Delivery{{
				Key:        spool.Key{Route: "example.org"},
				Recipients: []spool.Recipient{{Address: "alice@example.org"}},
			}},
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	n, err := spoolmove.Move(ctx, from, to, nil)
	fmt.Println(n.Messages, "moved,", n.Held, "held,", n.Damaged, "damaged", err)
	// Output: 1 moved, 0 held, 0 damaged <nil>
}
