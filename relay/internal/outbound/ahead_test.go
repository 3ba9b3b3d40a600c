package outbound_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// numbered is a request the content of which tells it from others.
func numbered(n int) *outbound.Request {
	r := newRequest(fmt.Sprintf("Subject: %d\r\n\r\n.hi\r\n", n))
	r.Hop.MaxConnections, r.Hop.MessagesPerConnection = 1, -1
	return r
}

// A message on a busy connection costs one round trip, and less where the peer
// skips the chunks that it refuses.
func TestOneRoundTripForEachMessage(t *testing.T) {
	const messages, trip = 80, 50 * time.Millisecond
	for _, test := range []struct {
		extensions string
		lmtp, runs bool
		encrypted  bool
		trips      int
		depth      int
	}{
		{extensions: "HELP", trips: 4 * messages, depth: 1},
		{extensions: "PIPELINING", trips: messages + 2, depth: 2},
		{extensions: "PIPELINING", lmtp: true, trips: messages + 2, depth: 2},
		{extensions: "PIPELINING CHUNKING", trips: messages / 6, depth: 8},
		{
			extensions: "STARTTLS PIPELINING CHUNKING", encrypted: true, trips: messages / 6,
			depth: 8,
		},
		{extensions: "PIPELINING CHUNKING", lmtp: true, trips: messages + 2, depth: 2},
		{extensions: "PIPELINING CHUNKING", runs: true, trips: messages + 2, depth: 2},
	} {
		name := fmt.Sprintf("%s lmtp=%v runs=%v", test.extensions, test.lmtp, test.runs)
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{
					extensions: strings.Fields(test.extensions), lmtp: test.lmtp, runs: test.runs,
				}
				if test.encrypted {
					s.tls = selfSigned()
				}
				c := newClient(t, afar(dialPipe(s.serve), trip/2))
				several(t, c, 0, 20, test.lmtp)
				begin := time.Now()
				several(t, c, 20, messages, test.lmtp)
				if got := int(time.Since(begin) / trip); got > test.trips {
					t.Errorf("%d round trips for %d messages, want %d", got, messages, test.trips)
				}
				r := numbered(0)
				r.Hop.LMTP = test.lmtp
				if got := c.Limit(r.Hop, r.Domain); got != test.depth {
					t.Errorf("room for %d, want %d", got, test.depth)
				}
				s.has(t, 20+messages)
				c.Close()
				time.Sleep(time.Second) // for the good-byes to arrive
			})
		})
	}
}

// several delivers so many messages at once, from a number on.
func several(t *testing.T, c *outbound.Client, from, n int, lmtp bool) {
	t.Helper()
	var wg sync.WaitGroup
	for k := range n {
		wg.Go(func() {
			r := numbered(from + k)
			r.Hop.LMTP = lmtp
			expect(t, c.Deliver(context.Background(), r), taken)
		})
	}
	wg.Wait()
}

// has checks that each of the numbered messages has arrived once.
func (s *sink) has(t *testing.T, n int) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := make(map[string]int)
	for _, m := range s.messages {
		seen[string(m)]++
	}
	for k := range n {
		if got := seen[fmt.Sprintf("Subject: %d\r\n\r\n.hi\r\n", k)]; got != 1 {
			t.Errorf("message %d has arrived %d times", k, got)
		}
	}
	if len(s.messages) != n {
		t.Errorf("%d messages, want %d", len(s.messages), n)
	}
}
