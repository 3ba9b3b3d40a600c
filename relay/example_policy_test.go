package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"strings"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// newApps is the connector of the examples that follow: an anonymous relay for
// this host.
func newApps() *connector.Connector {
	apps := connector.AnonymousRelay("apps", connector.MustParseRange("127.0.0.1"))
	apps.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	apps.Limits.Tarpit = -1 // do not hold refusals back
	return apps
}

// The application is asked at every stage.
func ExamplePolicy() {
	events := make(chan event.Event, 2)
	r, err := relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      memspool.New(nil),
		Connectors: []*connector.Connector{newApps()},
		Policy: relay.Policy{
			Connect: func(_ context.Context, s *relay.Session) error {
				s.Labels = map[string]string{"client": s.Remote.Addr().String()}
				return nil
			},
			Mail: func(_ context.Context, s *relay.Session, from domains.Address) error {
				if from.Domain() != "example.com" {
					return relay.Reject(550, "5.7.1", "Only mail of example.com is sent here")
				}
				return nil
			},
			Rcpt: func(_ context.Context, s *relay.Session, from, to domains.Address) error {
				if to.Domain() == "busy.example.net" {
					return relay.Defer(450, "4.2.0", "Later, please")
				}
				return nil
			},
		},
		Events: func(e event.Event) { events <- e },
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := r.Listen(); err != nil {
		log.Fatal(err)
	}
	go r.Run(context.Background())
	defer r.Close()

	addr, text := r.Addrs("apps")[0].String(), []byte("Subject: Hello\r\n\r\nHello\r\n")
	for _, m := range [][2]string{
		{"eve@example.org", "bob@example.net"}, {"app@example.com", "bob@busy.example.net"},
	} {
		err := smtp.SendMail(addr, nil, m[0], m[1:], text)
		if reply, ok := errors.AsType[*textproto.Error](err); ok {
			fmt.Println(reply.Code, reply.Msg)
		}
		e := <-events // soon after the reply
		fmt.Println(e.Kind, e.Stage, e.Labels["client"])
	}
	// Output:
	// 550 5.7.1 Only mail of example.com is sent here
	// rejected mail 127.0.0.1
	// 450 4.2.0 Later, please
	// rejected rcpt 127.0.0.1
}

// The application sees the header of a message before its body arrives, and may
// put fields on top.
func ExampleIncoming_AddField() {
	delivered := make(chan string)
	r, err := relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      memspool.New(nil),
		Connectors: []*connector.Connector{newApps()},
		Policy: relay.Policy{
			Message: func(_ context.Context, s *relay.Session, m *relay.Incoming) error {
				if strings.Contains(string(m.Header), "\r\nX-Test: ") {
					return relay.Reject(554, "5.7.0", "No test messages")
				}
				return m.AddField("X-Recipients", fmt.Sprint(len(m.Recipients)))
			},
		},
		Transport: delivery.TransportFunc(func(
			ctx context.Context, a *delivery.Attempt,
		) []delivery.Result {
			content, err := a.Open(ctx)
			if err != nil {
				return nil
			}
			defer content.Close()
			text, _ := io.ReadAll(content)
			_, rest, _ := strings.Cut(string(text), "X-Recipients: ")
			count, _, _ := strings.Cut(rest, "\r\n")
			delivered <- count
			return a.All(delivery.Result{Delivered: true})
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := r.Listen(); err != nil {
		log.Fatal(err)
	}
	go r.Run(context.Background())
	defer r.Close()

	addr, to := r.Addrs("apps")[0].String(), []string{"bob@example.net", "carol@example.net"}
	fmt.Println(
		smtp.SendMail(addr, nil, "app@example.com", to, []byte("Subject: Hello\r\n\r\nHello\r\n")),
	)
	fmt.Println(<-delivered)
	err = smtp.SendMail(
		addr, nil, "app@example.com", to, []byte("Subject: Hello\r\nX-Test: 1\r\n\r\nHello\r\n"),
	)
	if reply, ok := errors.AsType[*textproto.Error](err); ok {
		fmt.Println(reply.Code, reply.Msg)
	}
	// Output:
	// <nil>
	// 2
	// 554 5.7.0 No test messages
}

// Reject chooses the reply of a refusal for good. Errors that wrap it keep the
// reply; their text goes to the log only.
func ExampleReject() {
	err := relay.Reject(550, "5.7.1", "This address is blocked")
	fmt.Println(err)
	fmt.Println(err.(*relay.ReplyError).Temporary())
	// Output:
	// 550 5.7.1 This address is blocked
	// false
}

// Defer asks the client to come again.
func ExampleDefer() {
	err := relay.Defer(450, "4.7.1", "Try again in five minutes")
	fmt.Println(err)
	fmt.Println(err.(*relay.ReplyError).Temporary())
	// Output:
	// 450 4.7.1 Try again in five minutes
	// true
}
