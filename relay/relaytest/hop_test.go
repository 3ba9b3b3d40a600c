package relaytest_test

import (
	"bufio"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/relaytest"
)

// A chunk that ends with the connection is not taken, whatever the server
// library makes of it.
func TestHopTakesNoPartOfAChunk(t *testing.T) {
	for size, want := range map[int]int{5: 1, 100: 0} {
		synctest.Test(t, func(t *testing.T) {
			n, from := relaytest.NewNetwork(), netip.MustParseAddr("192.0.2.7")
			h := (&relaytest.Hop{Address: "192.0.2.1:25"}).Start(t, n)
			c, err := n.DialFrom(t.Context(), from, "tcp", h.Address)
			if err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(c)
			for _, line := range []string{
				"EHLO x", "MAIL FROM:<a@x.example>", "RCPT TO:<b@x.example>",
			} {
				fmt.Fprint(c, line, "\r\n")
				for code := "220-"; strings.HasPrefix(code, "220") || code[3] == '-'; {
					if code, err = r.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
				}
			}
			fmt.Fprintf(c, "BDAT %d LAST\r\nhello", size)
			c.Close()
			time.Sleep(time.Minute)
			taken := h.Taken()
			if len(taken) != want {
				t.Fatalf("of %d octets, 5 came, and %d messages were taken", size, len(taken))
			}
			if want > 0 && taken[0].Remote.Addr() != from {
				t.Errorf("it was taken from %v", taken[0].Remote)
			}
		})
	}
}

// What comes behind a step at which the script ends the connection is neither
// seen nor taken, though it has come in the same piece.
func TestHopThatCutsTakesNothingMore(t *testing.T) {
	for name, answer := range map[string]relaytest.Answer{
		"without a reply": relaytest.Cut(), "by 421": relaytest.Reply(421, "4.7.0", "Enough"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, steps := relaytest.NewNetwork(), new(atomic.Int64)
				h := (&relaytest.Hop{
					Address: "192.0.2.1:25", Script: func(s relaytest.Step) relaytest.Answer {
						steps.Add(1)
						if s.To == "b@x.example" {
							return answer
						}
						return relaytest.Answer{}
					},
				}).Start(t, n)
				c, err := n.DialFrom(
					t.Context(), netip.MustParseAddr("192.0.2.7"), "tcp", h.Address,
				)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				fmt.Fprint(c, "EHLO x\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<a@x.example>\r\n"+
					"RCPT TO:<b@x.example>\r\nRCPT TO:<c@x.example>\r\nBDAT 5 LAST\r\nhello")
				time.Sleep(time.Minute)
				if taken := h.Taken(); len(taken) > 0 || steps.Load() != 5 {
					t.Errorf("%d messages were taken in %d steps", len(taken), steps.Load())
				}
			})
		})
	}
}
