package relay_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// slowToSettle is a store that takes 25 s to settle what was delivered.
type slowToSettle struct{ *memspool.Store }

func (s slowToSettle) Settle(ctx context.Context, t spool.Settlement) error {
	time.Sleep(25 * time.Second)
	return s.Store.Settle(ctx, t)
}

// A store that takes its time to settle keeps no connection from the next
// message.
func TestSlowSettlingHoldsUpNoConnection(t *testing.T) {
	change := func(c *relay.Config) {
		c.Spool = slowToSettle{memspool.New(nil)}
		c.SendConnectors[0].NextHop.MaxConnections = 1
	}
	inRefusers(t, change, func(t *testing.T, w *refusers) {
		for range 5 {
			if _, err := w.Relay.Submit(t.Context(), &relay.Message{
				From: "shop@own.test", To: []string{"x@a.test"}, Content: strings.NewReader(text),
			}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		w.wantTaken(5, 0)
		if n := len(w.events.all(event.Delivered)); n > 0 {
			t.Errorf("%d are settled already", n)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(w.events.all(event.Delivered)); n != 5 {
			t.Errorf("%d of 5 are settled", n)
		}
	})
}
