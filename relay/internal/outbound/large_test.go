package outbound_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// A message of 1 MB does not take a round trip for each of its 21 chunks,
// neither on a new connection nor on one that has been asked whether it skips
// refused chunks: those for the envelope, and one for the content, or three for
// chunks in a row.
func TestLargeContentInFewRoundTrips(t *testing.T) {
	for _, test := range []struct {
		extensions   string
		lmtp, runs   bool
		fresh, asked time.Duration // in round trips
	}{
		{extensions: "HELP", fresh: 4, asked: 4},
		{extensions: "CHUNKING", fresh: 4, asked: 4},
		{extensions: "PIPELINING", fresh: 2, asked: 2},
		{extensions: "PIPELINING CHUNKING", fresh: 2, asked: 4},
		{extensions: "PIPELINING CHUNKING", lmtp: true, fresh: 2, asked: 2},
		{extensions: "PIPELINING CHUNKING", runs: true, fresh: 2, asked: 2},
	} {
		name := fmt.Sprintf("%s lmtp=%v runs=%v", test.extensions, test.lmtp, test.runs)
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const trip = 50 * time.Millisecond
				s := &sink{
					extensions: strings.Fields(test.extensions), lmtp: test.lmtp, runs: test.runs,
				}
				c := newClient(t, afar(dialPipe(s.serve), trip/2))
				s.takes(t, c, test.lmtp, trip*3/2+test.fresh*trip) // with greeting and EHLO
				s.takes(t, c, test.lmtp, test.fresh*trip)
				several(t, c, 0, 20, test.lmtp)
				s.takes(t, c, test.lmtp, test.asked*trip)
				c.Close()
				time.Sleep(time.Second) // for the good-byes to arrive
			})
		})
	}
}

// takes delivers a message of 1 MB, in exactly that time.
func (s *sink) takes(t *testing.T, c *outbound.Client, lmtp bool, want time.Duration) {
	t.Helper()
	content := "Subject: large\r\n\r\n" + strings.Repeat("Twenty-five octets here\r\n", 40_000)
	r := newRequest(content)
	r.Hop.MaxConnections, r.Hop.MessagesPerConnection, r.Hop.LMTP = 1, -1, lmtp
	begin := time.Now()
	expect(t, c.Deliver(context.Background(), r), taken)
	if got := time.Since(begin); got != want {
		t.Errorf("took %v, want %v", got, want)
	}
	if string(s.last()) != content {
		t.Error("it arrived changed")
	}
}
