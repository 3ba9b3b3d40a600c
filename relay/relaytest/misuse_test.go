package relaytest_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/relaytest"
)

// failing is a test that may fail, and keeps why.
type failing struct {
	testing.TB
	why string
}

func (f *failing) Helper() {}

func (f *failing) Fatal(args ...any) {
	f.why = fmt.Sprint(args...)
	runtime.Goexit()
}

func (f *failing) Fatalf(format string, args ...any) { f.Fatal(fmt.Sprintf(format, args...)) }

// whyFails returns why a test fails; empty if it passes.
func whyFails(t *testing.T, test func(t testing.TB)) string {
	f := &failing{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(f)
	}()
	<-done
	return f.why
}

func toSmartHost(c *relay.Config) {
	c.SendConnectors = []*connector.SendConnector{{
		Name: "out", AddressSpaces: connector.AllDomains(),
		NextHop: connector.NextHop{Hosts: []string{"192.0.2.25"}},
	}}
}

func send(t *testing.T, r *relay.Relay, to string) {
	t.Helper()
	_, err := r.Submit(t.Context(), &relay.Message{
		From: "shop@example.com", To: []string{to},
		Content: strings.NewReader("Subject: Welcome\n\nHello\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestUnusedInboxIsNoEvidence asks the Inbox about mail that goes elsewhere.
func TestUnusedInboxIsNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kit := relaytest.New(t, toSmartHost)
		hop := (&relaytest.Hop{Address: "192.0.2.25:25"}).Start(t, kit.Net)
		send(t, kit.Relay, "anna@example.net")
		hop.Wait(t, 1)
		for name, test := range map[string]func(testing.TB){
			"RequireNotSent": func(t testing.TB) { kit.RequireNotSent(t) },
			"RequireSent":    func(t testing.TB) { kit.Inbox.RequireSent(t) },
		} {
			if why := whyFails(t, test); !strings.Contains(why, "SendConnectors") {
				t.Errorf("%s fails with %q", name, why)
			}
		}
	})
}

// TestHopThatCannotListen ends with a word about the field, and does not hang.
func TestHopThatCannotListen(t *testing.T) {
	n := relaytest.NewNetwork()
	(&relaytest.Hop{Address: "192.0.2.25:25"}).Start(t, n)
	for address, want := range map[string]string{
		"":                  "Hop.Address",
		"mx.example.com:25": `"mx.example.com:25" is not an IP address with a port`,
		"192.0.2.25:25":     "address already in use",
	} {
		why := whyFails(t, func(t testing.TB) {
			(&relaytest.Hop{Address: address}).Start(t, n)
		})
		if !strings.Contains(why, want) {
			t.Errorf("%q: %q, want %q", address, why, want)
		}
	}
	if err := n.Break("mx.example.com:25", relaytest.Fault{}); err == nil {
		t.Error("Break takes a name")
	}
}

// TestBadAddressLeavesTheZoneUsable recovers from the panic of a typing error.
func TestBadAddressLeavesTheZoneUsable(t *testing.T) {
	z := relaytest.NewZone()
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		z.Host("mx.example.com", "192.0.2")
	}()
	if _, err := z.LookupNetIP(t.Context(), "ip", "mx.example.com"); err == nil {
		t.Error("the host has addresses")
	}
}

// TestGivesUp is the example of the overview.
func TestGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kit := relaytest.New(t, func(c *relay.Config) {
			c.SendConnectors = []*connector.SendConnector{
				{Name: "out", AddressSpaces: connector.AllDomains()},
			}
		})
		kit.DNS.MX("example.net", 10, "mx.example.net")
		kit.DNS.Host("mx.example.net", "192.0.2.25")
		kit.DNS.Host("example.com", "192.0.2.26")
		home := &relaytest.Hop{Address: "192.0.2.26:25"}
		home.Start(t, kit.Net)
		send(t, kit.Relay, "anna@example.net")
		time.Sleep(49 * time.Hour)
		reports := home.Wait(t, 2)
		for i, want := range []string{"delayed", "could not be delivered"} {
			if !strings.Contains(string(reports[i].Content), want) {
				t.Errorf("report %d does not say %q:\n%s", i, want, reports[i].Content)
			}
		}
		if len(reports) != 2 {
			t.Errorf("%d reports, want 2", len(reports))
		}
	})
}
