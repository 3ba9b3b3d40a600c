package relaytest_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/relaytest"
)

// The relay reads the reply that the script has given, whoever writes it.
func TestReplyOfTheScriptIsTheOneOnTheWire(t *testing.T) {
	for _, stage := range []relaytest.Stage{
		relaytest.Connect, relaytest.Hello, relaytest.Mail, relaytest.Rcpt, relaytest.Content,
	} {
		t.Run(string(stage), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []string
				kit := relaytest.New(t, withHop("192.0.2.1:25"), func(c *relay.Config) {
					c.Events = func(e event.Event) {
						if e.Kind == event.Deferred {
							got = append(got, fmt.Sprint(e.Code, " ", e.Enhanced, " ", e.Text))
						}
					}
				})
				(&relaytest.Hop{
					Address: "192.0.2.1:25",
					Script: func(s relaytest.Step) relaytest.Answer {
						if s.Stage != stage {
							return relaytest.Answer{}
						}
						return relaytest.Reply(421, "4.7.28", "Too fast")
					},
				}).Start(t, kit.Net)
				submit(t, kit.Relay, "anna@example.net")
				time.Sleep(30 * time.Second)
				if synctest.Wait(); fmt.Sprint(got) != "[421 4.7.28 Too fast]" {
					t.Errorf("deferred by %q", got)
				}
			})
		})
	}
}
