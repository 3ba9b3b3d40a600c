package relay_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
)

// TestEventsOfAwkwardWordsFit takes messages whose events are several times as
// long when they are stored: nothing is refused, and nobody is left out.
func TestEventsOfAwkwardWordsFit(t *testing.T) {
	long := strings.Repeat("<", 100<<10)
	for name, local := range map[string]string{
		"plain":  "recipient-of-a-message-with-a-rather-long-address-%d",
		"quoted": `"` + strings.Repeat("<", 55) + `%d"`,
		"utf8":   strings.Repeat("\u00e9", 25) + "%d",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := logged(t, nil)
				cfg.Transport = delivery.TransportFunc(
					func(_ context.Context, a *delivery.Attempt) []delivery.Result {
						res := delivery.Taken(long, delivery.Reply{
							Code: 250, Enhanced: long, Text: long,
						})
						return a.All(res)
					})
				r := run(t, cfg)
				m := keyed("", func(m *relay.Message) {
					m.To, m.Labels = nil, map[string]string{"x": strings.Repeat("<", 1000)}
				})
				for i := range 1200 {
					m.To = append(m.To, fmt.Sprintf(local, i)+"@elsewhere.test")
				}
				if _, err := r.Submit(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute)
				told := map[event.Kind]map[string]int{
					event.Accepted: {}, event.Delivered: {},
				}
				for _, e := range readLog(t, r, "c") {
					for _, to := range e.To {
						told[e.Kind][to]++
					}
				}
				for kind, list := range told {
					if len(list) != len(m.To) {
						t.Errorf("%s of %d, want %d", kind, len(list), len(m.To))
					}
					for to, n := range list {
						if n != 1 {
							t.Errorf("%s of %s %d times", kind, to, n)
						}
					}
				}
			})
		})
	}
}
