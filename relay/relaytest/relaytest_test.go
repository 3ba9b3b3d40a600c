package relaytest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/smtp"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/relaytest"
)

// shop stands for an application.
type shop struct{ relay *relay.Relay }

func (s *shop) signUp(ctx context.Context, address string) error {
	_, err := s.relay.Submit(ctx, &relay.Message{
		From: "shop@example.com", To: []string{address},
		Labels: map[string]string{"kind": "confirm"},
		Content: strings.NewReader("From: shop@example.com\r\n" +
			"To: " + address + "\r\n" +
			"Subject: =?utf-8?q?Willkommen_Gr=C3=BC=C3=9Fe?=\r\n" +
			"MIME-Version: 1.0\r\n" +
			"Content-Type: multipart/alternative; boundary=b\r\n\r\n" +
			"--b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n" +
			"\r\n" +
			"Your code is 123456, or go to https://shop.example.com/confirm?id=3D7&x=3D1 " +
			"now=\r\n.\r\n" +
			"--b\r\nContent-Type: text/html\r\n\r\n" +
			"<a href=\"https://shop.example.com/html?a=1&amp;b=2\">confirm</a>\r\n--b--\r\n"),
	})
	return err
}

func TestSignUp(t *testing.T) {
	t.Parallel()
	kit := relaytest.New(t)
	app := &shop{kit.Relay}
	if err := app.signUp(t.Context(), "anna@example.com"); err != nil {
		t.Fatal(err)
	}
	m := kit.Inbox.RequireSent(t,
		relaytest.To("Anna@example.com"), relaytest.From("shop@example.com"),
		relaytest.Subject("Grüße"), relaytest.Label("kind", "confirm"))
	if got := m.Code(t, ""); got != "123456" {
		t.Errorf("code %q", got)
	}
	if got := m.Code(t, `id=(\d)`); got != "7" {
		t.Errorf("group %q", got)
	}
	link := m.Link(t, "https://shop.example.com/confirm")
	if link != "https://shop.example.com/confirm?id=7&x=1" {
		t.Errorf("link %q", link)
	}
	if got := m.Link(t, "https://shop.example.com/html"); !strings.HasSuffix(got, "?a=1&b=2") {
		t.Errorf("link in HTML %q", got)
	}
	kit.RequireNotSent(t, relaytest.To("bob@example.com"))
}

// withHop sends everything to one next hop.
func withHop(address string) func(*relay.Config) {
	return func(c *relay.Config) {
		c.SendConnectors = []*connector.SendConnector{{
			Name: "out", NextHop: connector.NextHop{Hosts: []string{address},
				TLS: connector.TLSNone},

			AddressSpaces: []connector.AddressSpace{{Domain: "*", Cost: 1}},
		}}
	}
}

func submit(t *testing.T, r *relay.Relay, to ...string) {
	t.Helper()
	_, err := r.Submit(t.Context(), &relay.Message{
		From: "app@example.com", To: to,
		Content: strings.NewReader("From: app@example.com\r\nSubject: x\r\n\r\nhi\r\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestApplicationShutsDown lets the test of an application end the relay, as
// for having all events.
func TestApplicationShutsDown(t *testing.T) {
	var kinds []event.Kind
	kit := relaytest.New(t, func(c *relay.Config) {
		c.Events = func(e event.Event) { kinds = append(kinds, e.Kind) }
	})
	_, err := kit.Relay.Submit(t.Context(), &relay.Message{
		From: "app@example.com", To: []string{"anna@example.com"},
		Content: strings.NewReader("Subject: Hello\n\nHello.\n"),
	})
	if err != nil {
		t.Fatal(err)
	}
	kit.Inbox.RequireSent(t)
	if err := kit.Relay.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(kinds, event.Delivered) {
		t.Errorf("after Shutdown some events are missing: %v", kinds)
	}
}

func TestHoursPassInAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		kit := relaytest.New(t, withHop("192.0.2.1:25"))
		hop := (&relaytest.Hop{
			Address: "192.0.2.1:25",
			Script: func(s relaytest.Step) relaytest.Answer {
				if s.Stage == relaytest.Rcpt && time.Since(begun) < 3*time.Hour {
					return relaytest.Reply(451, "4.7.1", "Greylisted")
				}
				return relaytest.Answer{}
			},
		}).Start(t, kit.Net)
		submit(t, kit.Relay, "anna@example.net")
		time.Sleep(4 * time.Hour)
		got := hop.Wait(t, 1)[0]
		if got.From != "app@example.com" || len(got.To) != 1 || got.To[0] != "anna@example.net" {
			t.Errorf("taken: %+v", got)
		}
	})
}

func TestScriptAtEachStage(t *testing.T) {
	stages := []relaytest.Stage{
		relaytest.Connect, relaytest.Hello, relaytest.Mail, relaytest.Rcpt, relaytest.Content,
	}
	answers := map[string]relaytest.Answer{
		"4yz":   relaytest.Reply(450, "4.2.0", "Not now"),
		"421":   relaytest.Reply(421, "4.3.2", "Closing"),
		"cut":   relaytest.Cut(),
		"stall": relaytest.Stall(),
	}
	for _, stage := range stages {
		for name, answer := range answers {
			t.Run(string(stage)+" "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					kit := relaytest.New(t, withHop("192.0.2.1:25"))
					first := true
					hop := (&relaytest.Hop{
						Address: "192.0.2.1:25",
						Script: func(s relaytest.Step) relaytest.Answer {
							if s.Stage == stage && s.Attempt == 1 && first {
								first = false
								return answer
							}
							return relaytest.Answer{}
						},
					}).Start(t, kit.Net)
					submit(t, kit.Relay, "anna@example.net")
					time.Sleep(time.Hour)
					hop.Wait(t, 1)
				})
			})
		}
	}
}

func TestLMTPAnswersForEachRecipient(t *testing.T) {
	t.Parallel()
	kit := relaytest.New(t, func(c *relay.Config) {
		c.Transport = delivery.SMTP(connector.NextHop{Hosts: []string{"192.0.2.1:24"}, LMTP: true})
		c.Retry.Schedule = []time.Duration{time.Second}
	})
	hop := (&relaytest.Hop{
		Address: "192.0.2.1:24", LMTP: true,
		Script: func(s relaytest.Step) relaytest.Answer {
			if s.Stage == relaytest.Content && s.To == "b@example.net" && s.Attempt == 1 {
				return relaytest.Reply(452, "4.2.2", "Full")
			}
			return relaytest.Answer{}
		},
	}).Start(t, kit.Net)
	submit(t, kit.Relay, "a@example.net", "b@example.net")
	for _, m := range hop.Wait(t, 2) {
		if len(m.To) != 1 {
			t.Errorf("taken for %q", m.To)
		}
	}
}

func TestNetworkFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := relaytest.NewNetwork()
		l, err := n.Listen(t.Context(), "tcp4", "192.0.2.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		address := l.Addr().String()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					io.WriteString(c, "0123456789")
					c.Close()
				}()
			}
		}()
		read := func(f relaytest.Fault) (string, time.Duration, error) {
			if err := n.Break(address, f); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			c, err := n.Dial(ctx, "tcp", address)
			if err != nil {
				return "", time.Since(begun), err
			}
			defer c.Close()
			c.SetReadDeadline(time.Now().Add(time.Minute))
			b, err := io.ReadAll(c)
			return string(b), time.Since(begun), err
		}
		for _, test := range []struct {
			name  string
			fault relaytest.Fault
			text  string
			took  time.Duration
			err   error
		}{
			{"none", relaytest.Fault{}, "0123456789", 0, nil},
			{"refuse", relaytest.Fault{Refuse: true}, "", 0, syscall.ECONNREFUSED},
			{"silent", relaytest.Fault{Silent: true}, "", time.Minute, context.DeadlineExceeded},
			{"latency", relaytest.Fault{Latency: time.Second}, "0123456789", time.Second, nil},
			{"cut", relaytest.Fault{CutAfter: 4}, "0123", 0, nil},
			{"stall", relaytest.Fault{StallAfter: 4}, "0123", 0, nil},
		} {
			text, took, err := read(test.fault)
			if text != test.text || took != test.took || !errors.Is(err, test.err) {
				t.Errorf("%s: %q, %v, %v", test.name, text, took, err)
			}
		}
		if _, err := n.Listen(t.Context(), "tcp", address); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second listener: %v", err)
		}
		if _, err := n.Dial(
			t.Context(), "tcp", "192.0.2.9:25",
		); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nothing listens: %v", err)
		}
	})
}

func TestConnectionKeepsDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := relaytest.NewNetwork()
		l, err := n.Listen(t.Context(), "tcp", "192.0.2.1:25")
		if err != nil {
			t.Fatal(err)
		}
		c, err := n.Dial(t.Context(), "tcp", "192.0.2.1:25")
		if err != nil {
			t.Fatal(err)
		}
		peer, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v", err)
		}
		// Nobody reads: the buffers fill, then the writer waits.
		if n, err := c.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write after the deadline: %d, %v", n, err)
		}
		c.SetDeadline(time.Now().Add(time.Second))
		n1, err := c.Write(make([]byte, 1<<20))
		if !errors.Is(err, os.ErrDeadlineExceeded) || n1 == 0 || n1 == 1<<20 {
			t.Errorf("write to a reader that does not: %d, %v", n1, err)
		}
		peer.Close()
		if _, err := c.Write([]byte("x")); err == nil {
			t.Error("write to a peer that has closed")
		}
		c.Close()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after close: %v", err)
		}
		l.Close()
	})
}

// TestAllAddresses reaches a connector on all addresses at those of this host,
// and at no other, where a next hop may be.
func TestAllAddresses(t *testing.T) {
	kit := relaytest.New(t, func(c *relay.Config) {
		c.Connectors = []*connector.Connector{
			connector.AnonymousRelay("apps", connector.MustParseRange("10.0.5.20")),
		}
	})
	for address, reached := range map[string]bool{
		"127.0.0.1:25": true, "127.0.0.9:25": true, "[::1]:25": true, "0.0.0.0:25": true,
		"192.0.2.7:25": false, "[2001:db8::1]:25": false, "127.0.0.1:26": false,
	} {
		conn, err := kit.Net.DialFrom(t.Context(), netip.MustParseAddr("10.0.5.20"), "tcp", address)
		if reached != (err == nil) {
			t.Errorf("%s: %v", address, err)
		}
		if err != nil {
			continue
		}
		client, err := smtp.NewClient(conn, "localhost")
		if reached != (err == nil) {
			t.Errorf("%s: %v", address, err)
		}
		if err == nil {
			client.Close()
		}
	}
}

// TestClientsOfTheKit speaks SMTP to a connector over the kit's network, as a
// listed host and as a stranger, and sees in the events what was refused.
func TestClientsOfTheKit(t *testing.T) {
	events := make(chan event.Event, 10)
	kit := relaytest.New(t, func(c *relay.Config) {
		apps := connector.AnonymousRelay("apps", connector.MustParseRange("10.0.5.20"))
		apps.Bindings = []netip.AddrPort{netip.MustParseAddrPort("10.0.5.1:25")}
		apps.Limits.Tarpit = -1
		c.Connectors = []*connector.Connector{apps}
		c.Events = func(e event.Event) { events <- e }
	})
	dial := func(from string) (*smtp.Client, error) {
		conn, err := kit.Net.DialFrom(t.Context(), netip.MustParseAddr(from), "tcp", "10.0.5.1:25")
		if err != nil {
			t.Fatal(err)
		}
		return smtp.NewClient(conn, "10.0.5.1")
	}
	if _, err := dial("10.0.5.99"); err == nil {
		t.Error("a stranger got a banner")
	}
	client, err := dial("10.0.5.20")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Mail("app@example..com"); err == nil {
		t.Error("a malformed sender was taken")
	}
	for _, want := range []event.Event{
		{Stage: "connect"},
		{Stage: "mail", Code: 501, Command: "MAIL FROM:<app@example..com> BODY=8BITMIME SMTPUTF8"},
	} {
		e := <-events
		if e.Kind != event.Rejected || e.Stage != want.Stage || e.Code != want.Code ||
			e.Command != want.Command {
			t.Errorf("%+v", e)
		}
	}
}

func ExampleNetwork() {
	network := relaytest.NewNetwork()
	l, _ := network.Listen(context.Background(), "tcp", "192.0.2.1:25")
	go func() {
		c, _ := l.Accept()
		io.WriteString(c, "220 hop.test\r\n")
		c.Close()
	}()
	c, _ := network.Dial(context.Background(), "tcp", "192.0.2.1:25")
	banner, _ := io.ReadAll(c)
	fmt.Printf("%s", banner)
	// Output:
	// 220 hop.test
}
