package relaytest

import (
	"context"
	"errors"
	"testing"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// Kit is a running relay with all that is around it, in memory.
type Kit struct {
	// Relay is running until the test ends.
	Relay *relay.Relay
	// Inbox takes all mail, unless the configuration has a Transport or send
	// connectors of its own: then those take it, and asking the Inbox about it
	// fails the test.
	Inbox *Inbox
	// Net is the network that the relay listens on and dials to.
	Net *Network
	// DNS is what the relay knows of other hosts.
	DNS *Zone
}

// New runs a relay with a queue in memory until the test ends. Without
// configure it has no connectors, and whatever is submitted lands in the
// Inbox. Functions that are given change the configuration before the relay is
// made. The application may shut the relay down itself.
func New(t testing.TB, configure ...func(*relay.Config)) *Kit {
	t.Helper()
	k := &Kit{Inbox: NewInbox(), Net: NewNetwork(), DNS: NewZone()}
	cfg := relay.Config{
		Hostname: "relay.test",
		Spool:    memspool.New(nil),
		Resolver: k.DNS,
		Dial:     k.Net.Dial,
		Listen:   k.Net.Listen,
	}
	for _, f := range configure {
		if f == nil {
			t.Fatal("relaytest: a function that changes the configuration is nil")
		}
		f(&cfg)
	}
	if cfg.Transport == nil && len(cfg.SendConnectors) == 0 {
		cfg.Transport = k.Inbox
	} else {
		k.Inbox.bypassed = true
	}
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Listen(); err != nil {
		t.Fatal(err)
	}
	k.Relay = r
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, relay.ErrClosed) {
			t.Errorf("the relay ended: %v", err)
		}
		if err := cfg.Spool.Close(); err != nil {
			t.Errorf("the queue was not closed: %v", err)
		}
	})
	return k
}

// RequireNotSent waits until the queue is empty and fails the test if the
// Inbox then holds a message that all matches choose. It also fails it if the
// queue does not become empty within [Patience], and if the Inbox was given
// nothing because the configuration sends mail elsewhere.
func (k *Kit) RequireNotSent(t testing.TB, matches ...Match) {
	t.Helper()
	_, ok := await(func() (struct{}, <-chan struct{}, bool) {
		s, err := k.Relay.Stats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return struct{}{}, soon(), s.Deliveries == 0
	})
	if !ok {
		t.Fatalf("mail still waits in the queue after %v", Patience)
	}
	if k.Inbox.isBypassed() {
		t.Fatal(bypassed)
	}
	if list := k.Inbox.Messages(matches...); len(list) > 0 {
		m := list[0]
		t.Fatalf(
			"%d matching messages were sent, the first to %q: %s", len(list), m.To, m.Subject(),
		)
	}
}
