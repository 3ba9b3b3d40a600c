package relay_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/relaytest"
)

// grave are refusals such as make the relay send less when a remote host gives
// them.
var grave = []delivery.Reply{
	{Code: 421, Enhanced: "4.7.28", Text: "Too many messages, rate limited"},
	{Code: 550, Enhanced: "5.7.1", Text: "Your IP address has a poor reputation"},
	{Code: 550, Enhanced: "5.7.26", Text: "This mail is not authenticated"},
}

// What the application answers, in whatever words, is not what a remote host
// has said.
func TestTransportsOfTheApplicationThrottleNothing(t *testing.T) {
	answers := map[string]func(delivery.Reply) error{
		"as a remote host": func(r delivery.Reply) error {
			return &delivery.Error{
				Op: delivery.OpMail, Host: "mx.example", Reply: r, Permanent: r.Code >= 500,
			}
		},
		"as a refusal": func(r delivery.Reply) error {
			if r.Code < 500 {
				return relay.Defer(r.Code, r.Enhanced, r.Text)
			}
			return relay.Reject(r.Code, r.Enhanced, r.Text)
		},
		"as an error": func(r delivery.Reply) error { return fmt.Errorf("%v", r) },
	}
	for name, answer := range answers {
		for _, route := range []string{"transport", "mailboxes", "named transport"} {
			t.Run(name+" of "+route, func(t *testing.T) {
				bubble(t, func(t *testing.T) { answersNothing(t, route, answer) })
			})
		}
	}
}

func answersNothing(t *testing.T, route string, answer func(delivery.Reply) error) {
	var n atomic.Int32
	events := new(record)
	box := delivery.Mailbox(func(context.Context, domains.Address, *delivery.Attempt) error {
		return answer(grave[int(n.Add(1))%len(grave)])
	})
	kit := relaytest.New(t, func(c *relay.Config) {
		c.Events = events.add
		switch route {
		case "transport":
			c.Transport = box
		case "mailboxes":
			c.AcceptedDomains = []domains.AcceptedDomain{{
				Domain: "a.test", Recipients: domains.StaticRecipients("x"),
			}}
			c.Mailboxes = box
		default:
			c.Transports = map[string]delivery.Transport{"box": box}
			c.SendConnectors = []*connector.SendConnector{{
				Name: "out", AddressSpaces: connector.AllDomains(), Transport: "box",
			}}
		}
	})
	for range 20 {
		submit(t, kit.Relay, "", "x@a.test")
	}
	time.Sleep(30 * time.Minute)
	synctest.Wait()
	if n.Load() < 20 || len(events.all(event.Throttled)) > 0 || len(kit.Relay.Throttles()) > 0 {
		t.Errorf("after %d answers: throttles %+v", n.Load(), kit.Relay.Throttles())
	}
}

// Two relays in a row: the second one is refused, rests, and reports that with
// the words of the refusal. The first, which hears nothing but 250, learns
// nothing from them, whichever way they pass it.
func TestRelaysDoNotFeedEachOther(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newPair(t)
		for i := range 5 {
			submit(t, w.first, "app@own.test", fmt.Sprintf("x%d@a.test", i))
			time.Sleep(time.Minute)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(w.second.Throttles()) != 1 {
			t.Errorf("the second has %+v", w.second.Throttles())
		}
		if len(w.first.Throttles()) != 0 || len(w.events.all(event.Throttled)) != 0 {
			t.Errorf("the first has %+v", w.first.Throttles())
		}
		reports := 0
		for _, m := range w.reports.Taken() {
			if strings.Contains(string(m.Content), "poor reputation") {
				reports++
			}
		}
		if reports == 0 {
			t.Error("no report passed the first")
		}
	})
}

// pair are two relays in a row, and the host that takes the mail of own.test.
type pair struct {
	first, second *relay.Relay
	events        *record // of the first
	reports       *relaytest.Hop
}

func newPair(t *testing.T) *pair {
	t.Helper()
	const first, second, reports, refuser = "192.0.2.10", "192.0.2.20", "192.0.2.30", "192.0.2.40"
	w := &pair{events: new(record)}
	kit := relaytest.New(t, func(c *relay.Config) {
		c.Events = w.events.add
		c.Connectors = []*connector.Connector{takesAll(first)}
		c.SendConnectors = []*connector.SendConnector{
			sendsTo(reports, "own.test"), sendsTo(second, "*"),
		}
	})
	other := relaytest.New(t, func(c *relay.Config) {
		c.Hostname, c.Dial, c.Listen = "second.test", kit.Net.Dial, kit.Net.Listen
		c.Connectors = []*connector.Connector{takesAll(second)}
		c.SendConnectors = []*connector.SendConnector{
			sendsTo(first, "own.test"), sendsTo(refuser, "*"),
		}
	})
	w.first, w.second = kit.Relay, other.Relay
	w.reports = (&relaytest.Hop{Address: reports + ":25"}).Start(t, kit.Net)
	(&relaytest.Hop{Address: refuser + ":25", Script: func(s relaytest.Step) relaytest.Answer {
		if s.Stage != disreputable.stage {
			return relaytest.Answer{}
		}
		return disreputable.answer
	}}).Start(t, kit.Net)
	return w
}

func takesAll(ip string) *connector.Connector {
	c := connector.AnonymousRelay("all", connector.MustParseRange("0.0.0.0/0"))
	c.Bindings = []netip.AddrPort{netip.MustParseAddrPort(ip + ":25")}
	c.OpenRelay = true
	return c
}

func sendsTo(host, domain string) *connector.SendConnector {
	return &connector.SendConnector{
		Name: host, AddressSpaces: []connector.AddressSpace{{Domain: domain}},
		NextHop: connector.NextHop{Hosts: []string{host + ":25"}, TLS: connector.TLSNone},
	}
}
