package relaytest

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// Patience is how long the Wait and Require functions wait before they fail
// the test. Inside a bubble of testing/synctest it passes at once when nothing
// else happens; it is shorter than the first wait of a retry, so sleep until
// that is over before you call them.
const Patience = 10 * time.Second

// await looks until it is content or [Patience] has ended. look also returns
// what ends when it is worth looking again.
func await[T any](look func() (T, <-chan struct{}, bool)) (T, bool) {
	end := time.NewTimer(Patience)
	defer end.Stop()
	for {
		seen, more, ok := look()
		if ok {
			return seen, true
		}
		select {
		case <-more:
		case <-end.C:
			return seen, false
		}
	}
}

// Inbox is a transport that keeps what it is given: every recipient of every
// message. Its methods may be called from many goroutines. Make one with
// [NewInbox].
type Inbox struct {
	mu   sync.Mutex
	mail []*Message
	more chan struct{} // closed and replaced when mail grows
	// bypassed tells that a Kit has another transport. It is set once.
	bypassed bool
}

const bypassed = "the Inbox takes no mail: " +
	"the Transport or the SendConnectors of the configuration take it"

// isBypassed reports whether the Inbox has nothing because mail goes elsewhere.
func (b *Inbox) isBypassed() bool { return b.bypassed && len(b.Messages()) == 0 }

// NewInbox returns an empty Inbox.
func NewInbox() *Inbox { return &Inbox{more: make(chan struct{})} }

// Deliver takes the message. It implements delivery.Transport.
func (b *Inbox) Deliver(ctx context.Context, a *delivery.Attempt) []delivery.Result {
	m, err := read(ctx, a)
	if err != nil {
		return a.All(delivery.Failed(err))
	}
	for _, r := range a.Recipients {
		m.To = append(m.To, r.Address)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mail = append(b.mail, m)
	close(b.more)
	b.more = make(chan struct{})
	return a.All(delivery.Result{Delivered: true})
}

func read(ctx context.Context, a *delivery.Attempt) (*Message, error) {
	r, err := a.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return &Message{
		From: a.Message.From, QueueID: a.QueueID, Labels: a.Message.Labels, Content: content,
	}, nil
}

// Match chooses messages.
type Match func(*Message) bool

// To chooses the messages that went to an address, in any case of its letters.
func To(address string) Match {
	return func(m *Message) bool {
		return slices.ContainsFunc(m.To, func(to string) bool {
			return strings.EqualFold(to, address)
		})
	}
}

// From chooses the messages with a reverse-path, in any case of its letters.
// The empty one is that of reports.
func From(address string) Match {
	return func(m *Message) bool { return strings.EqualFold(m.From, address) }
}

// Subject chooses the messages whose decoded subject holds a text.
func Subject(text string) Match {
	return func(m *Message) bool { return strings.Contains(m.Subject(), text) }
}

// Label chooses the messages that bear a label of the application.
func Label(key, value string) Match {
	return func(m *Message) bool { return m.Labels[key] == value }
}

// Messages returns the messages taken so far that all matches choose.
func (b *Inbox) Messages(matches ...Match) []*Message {
	list, _ := b.choose(matches)
	return list
}

func (b *Inbox) choose(matches []Match) ([]*Message, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []*Message
	for _, m := range b.mail {
		if !slices.ContainsFunc(matches, func(ok Match) bool { return !ok(m) }) {
			list = append(list, m)
		}
	}
	return list, b.more
}

// Wait waits until n messages that all matches choose have come, and returns
// those that have. After [Patience] the test fails.
func (b *Inbox) Wait(t testing.TB, n int, matches ...Match) []*Message {
	t.Helper()
	list, ok := await(func() ([]*Message, <-chan struct{}, bool) {
		list, more := b.choose(matches)
		return list, more, len(list) >= n
	})
	if !ok {
		t.Fatalf(
			"%d matching messages have come in %v, want %d; there are:%s",
			len(list), Patience, n, b.overview(),
		)
	}
	return list
}

// RequireSent waits for one message that all matches choose, and returns it.
// After [Patience] the test fails.
func (b *Inbox) RequireSent(t testing.TB, matches ...Match) *Message {
	t.Helper()
	return b.Wait(t, 1, matches...)[0]
}

// overview lists what has come, for a test that fails.
func (b *Inbox) overview() string {
	var s strings.Builder
	for _, m := range b.Messages() {
		s.WriteString(
			"\n  from <" + m.From + "> to " + strings.Join(m.To, ", ") + ": " + m.Subject(),
		)
	}
	switch {
	case s.Len() == 0 && b.bypassed:
		return " none, since " + bypassed
	case s.Len() == 0:
		return " none"
	}
	return s.String()
}

// soon ends after a moment.
func soon() <-chan struct{} {
	c := make(chan struct{})
	time.AfterFunc(5*time.Millisecond, func() { close(c) })
	return c
}
