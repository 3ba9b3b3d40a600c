package outbound_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

// longEnvelope has so many octets of MAIL and RCPT.
func longEnvelope(octets int) (to []spool.Recipient) {
	const most = 900 // of a recipient
	for left := octets - len("MAIL FROM:<alice@example.com>\r\n"); left > 0; {
		line := min(left, most)
		if rest := left - line; 0 < rest && rest < most/2 {
			line = left / 2
		}
		left -= line
		local := strings.Repeat("x", line-len("RCPT TO:<@example.net>\r\n"))
		to = append(to, spool.Recipient{Address: local + "@example.net"})
	}
	return to
}

// An envelope that is about as long as what goes out at once with the content
// goes ahead, or is sent by itself: it arrives whole.
func TestLongEnvelopesAhead(t *testing.T) {
	const most = 16 << 10
	synctest.Test(t, func(t *testing.T) {
		s := &sink{extensions: []string{"PIPELINING", "CHUNKING"}}
		c := newClient(t, afar(dialPipe(s.serve), 25*time.Millisecond))
		n := 20
		several(t, c, 0, n, false)
		for octets := most - 48; octets < most+4; octets++ {
			var wg sync.WaitGroup
			for k := range 3 {
				r := numbered(n + k)
				if k > 0 {
					r.Recipients = longEnvelope(octets)
				}
				want := strings.Fields(strings.Repeat("x ", len(r.Recipients)))
				for i := range want {
					want[i] = taken
				}
				wg.Go(func() { expect(t, c.Deliver(context.Background(), r), want...) })
			}
			n += 3
			wg.Wait()
		}
		s.has(t, n)
		if got := s.conns.Load(); got != 1 {
			t.Errorf("%d connections", got)
		}
		c.Close()
		time.Sleep(time.Second)
	})
}
