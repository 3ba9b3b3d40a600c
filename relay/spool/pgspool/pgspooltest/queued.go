package pgspooltest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/pgspool"
)

// Message is one that a transaction has put into a queue.
type Message struct {
	// ID is that of the receipt.
	ID spool.ID
	// From is the reverse-path without angle brackets.
	From string
	// To are the forward-paths without angle brackets, by deliveries.
	To []string
	// Stream and Labels are the application's own.
	Stream string
	Labels map[string]string
	// Content is header and body, with the fields that the relay has put in
	// front.
	Content []byte
}

// Queued returns the messages that an open transaction has put into the queue
// in the schema "postern", in their order. The transaction, a pgx.Tx or a
// *sql.Tx, may go on after that; roll it back, and the test leaves nothing.
func Queued(t testing.TB, tx any) []Message {
	t.Helper()
	return QueuedIn(t, tx, "postern")
}

// QueuedIn is Queued for a queue in another schema.
func QueuedIn(t testing.TB, tx any, schema string) []Message {
	t.Helper()
	list, err := pgspool.Queued(t.Context(), tx, schema)
	if err != nil {
		t.Fatal(err)
	}
	messages := make([]Message, len(list))
	for i := range list {
		messages[i] = messageOf(&list[i])
	}
	return messages
}

func messageOf(p *spool.Prepared) Message {
	c := &p.Commit
	m := Message{
		ID: c.Message.ID, From: c.Message.From, Stream: c.Message.Stream,
		Labels: c.Message.Labels, Content: p.Content,
	}
	for i := range c.Deliveries {
		for j := range c.Deliveries[i].Recipients {
			m.To = append(m.To, c.Deliveries[i].Recipients[j].Address)
		}
	}
	return m
}

// RequireQueued ends the test unless the open transaction has put in messages
// to exactly these recipients, in any order, each as often as it is named: none
// at all where none is named. It is about the schema "postern"; see [Queued]
// for the transaction, and for what else can be asked of it.
func RequireQueued(t testing.TB, tx any, to ...string) {
	t.Helper()
	messages := Queued(t, tx)
	var got []string
	for i := range messages {
		got = append(got, messages[i].To...)
	}
	if slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(to))) {
		return
	}
	t.Fatalf("the transaction has queued mail to %q, want %q:%s", got, to, describe(messages))
}

func describe(messages []Message) string {
	var b strings.Builder
	for i := range messages {
		m := &messages[i]
		fmt.Fprintf(&b, "\n  %v from <%s> to %q, %d bytes", m.ID, m.From, m.To, len(m.Content))
		if m.Stream != "" {
			fmt.Fprintf(&b, ", stream %q", m.Stream)
		}
	}
	return b.String()
}
