package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	mailSize = 10 << 10
	domains  = 100 // that the mail goes to
	sessions = 100
)

// texts are bodies of mail: words, which compress as those of people do.
func texts() []string {
	random := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 2000)
	for i := range words {
		word := make([]byte, 2+random.IntN(9))
		for j := range word {
			word[j] = byte('a' + random.IntN(26))
		}
		words[i] = string(word)
	}
	list := make([]string, 64)
	for i := range list {
		var b strings.Builder
		for line := 0; b.Len() < mailSize; {
			word := words[random.IntN(len(words))]
			if line += len(word) + 1; line > 70 {
				b.WriteString("\r\n")
				line = 0
			}
			b.WriteString(word + " ")
		}
		list[i] = b.String()[:mailSize-2] + "\r\n"
	}
	return list
}

// mail makes messages.
type mail struct {
	texts  []string
	events bool // each is accepted and delivered with an event
	seq    atomic.Int64
}

func newMail(events bool) *mail { return &mail{texts: texts(), events: events} }

// event is what a relay writes of a recipient, about.
func (m *mail) event() []spool.Record {
	if !m.events {
		return nil
	}
	return []spool.Record{{Time: time.Now(), Data: make([]byte, 300)}}
}

// next is a message with one recipient.
func (m *mail) next() (text string, c spool.Commit) {
	n := m.seq.Add(1)
	now := time.Now()
	domain := fmt.Sprintf("d%d.example.net", n%domains)
	return m.texts[n%int64(len(m.texts))], spool.Commit{
		Message: spool.Message{
			ID: spool.NewID(now), From: "shop@example.com", Created: now,
			Origin: spool.Origin{Connector: "apps", Remote: "192.0.2.1:4711"},
		},
		Deliveries: []spool.Delivery{{
			Key: spool.Key{Route: "mx/out", Domain: domain}, Expires: now.Add(48 * time.Hour),
			Recipients: []spool.Recipient{{Address: "anna@" + domain}},
		}},
		Prepend: []byte("Received: from app.example.com by relay.example.com; some time ago\r\n"),
		Events:  m.event(),
	}
}

// send commits one message.
func (m *mail) send(ctx context.Context, s spool.Store) error {
	text, c := m.next()
	w, err := s.Create(ctx, c.Message.ID)
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	return w.Commit(ctx, c)
}

// sendAll commits n messages in many sessions.
func (m *mail) sendAll(ctx context.Context, s spool.Store, n int) error {
	return inParallel(ctx, sessions, n, func(ctx context.Context) error { return m.send(ctx, s) })
}

// inParallel calls f n times, a number of them at once.
func inParallel(ctx context.Context, at, n int, f func(context.Context) error) error {
	var begun atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range at {
		g.Go(func() error {
			for begun.Add(1) <= int64(n) {
				if err := f(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}
