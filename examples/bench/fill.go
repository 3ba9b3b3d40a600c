package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// stock is what a queue holds before the gateway starts on it.
type stock struct {
	deliveries int
	perMessage int // deliveries, each of a domain of its own
	// to is the domain of a delivery, stream the stream of a message.
	to     func(delivery int) string
	stream func(message int) string
}

// fill puts stocks into the queue of a gateway whose folder is dir. It need not
// survive a loss of power.
func fill(ctx context.Context, dir string, stocks ...stock) (err error) {
	s, err := filespool.Open(
		filepath.Join(dir, "spool"), &filespool.Options{InsecureNoSync: true},
	)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, one := range stocks {
		if err := one.fill(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (k stock) fill(ctx context.Context, s spool.Store) error {
	group, ctx := errgroup.WithContext(ctx)
	var next atomic.Int64
	messages := (k.deliveries + k.perMessage - 1) / k.perMessage
	for range 64 {
		group.Go(func() error {
			for {
				i := int(next.Add(1)) - 1
				if i >= messages {
					return nil
				}
				if err := k.commit(ctx, s, i); err != nil {
					return err
				}
			}
		})
	}
	return group.Wait()
}

// content is a message of 1 KB.
func content() string {
	return "Subject: news\r\n\r\n" + strings.Repeat(strings.Repeat("n", 76)+"\r\n", 13)
}

// commit puts in a message.
func (k stock) commit(ctx context.Context, s spool.Store, message int) error {
	now, stream := time.Now(), k.stream(message)
	c := spool.Commit{Message: spool.Message{
		ID: spool.NewID(now), From: "sender@example.test", Created: now, Stream: stream,
	}}
	first := message * k.perMessage
	for i := first; i < min(first+k.perMessage, k.deliveries); i++ {
		domain := k.to(i)
		c.Deliveries = append(c.Deliveries, spool.Delivery{
			Key:        spool.Key{Route: "mx/out", Domain: domain, Stream: stream},
			Recipients: []spool.Recipient{{Address: fmt.Sprintf("r%d@%s", i, domain)}},
			Expires:    now.Add(48 * time.Hour),
		})
	}
	w, err := s.Create(ctx, c.Message.ID)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write([]byte(content())); err != nil {
		return err
	}
	return w.Commit(ctx, c)
}
