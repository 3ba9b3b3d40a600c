package relay_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/netip"
	"net/smtp"
	"os"
	"strings"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// A relay for the hosts of one network. Real mail goes out over SendConnectors;
// here a function takes it.
func Example() {
	queue := memspool.New(nil) // filespool.Open keeps mail on disk
	defer queue.Close()

	apps := connector.AnonymousRelay("apps", connector.MustParseRange("127.0.0.0/8"))
	apps.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}

	delivered := make(chan string)
	r, err := relay.New(relay.Config{
		Hostname:   "relay.example.com",
		Spool:      queue,
		Connectors: []*connector.Connector{apps},
		Transport: delivery.Mailbox(func(
			_ context.Context, to domains.Address, a *delivery.Attempt,
		) error {
			delivered <- fmt.Sprintf("from %s to %s", a.Message.From, to)
			return nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := r.Listen(); err != nil { // to learn the port
		log.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- r.Run(ctx) }()

	err = smtp.SendMail(r.Addrs("apps")[0].String(), nil, "app@example.com", []string{
		"bob@example.net",
	},
		[]byte("From: app@example.com\r\nSubject: Hello\r\n\r\nHello Bob\r\n"))
	fmt.Println("sent:", err)
	fmt.Println(<-delivered)

	stop()
	fmt.Println("ended:", <-ended)
	// Output:
	// sent: <nil>
	// from app@example.com to bob@example.net
	// ended: <nil>
}

// New reports every fault at once, each with its field.
func ExampleNew() {
	_, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		Connectors: []*connector.Connector{
			{Name: "apps", Bindings: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:25")}},
		},
		SendConnectors: []*connector.SendConnector{
			{Name: "out", NextHop: connector.NextHop{Hosts: []string{"smart.example.com"}}},
		},
		Retry: delivery.Retry{Expires: -time.Hour},
	})
	fmt.Println(err)

	field, _ := errors.AsType[*postern.FieldError](err)
	fmt.Println("first:", field.Field)
	// Output:
	// relay: the configuration has faults:
	//   Connectors[0].RemoteIPRanges: missing; list the remote addresses the connector is for
	//   SendConnectors[0].AddressSpaces: missing; use * for all domains
	//   Retry.Expires: -1h0m0s is shorter than a second
	// first: Connectors[0].RemoteIPRanges
}

// Run serves until its context ends, and then lets messages under way finish.
func ExampleRelay_Run() {
	dir, err := os.MkdirTemp("", "spool")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	queue, err := filespool.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer queue.Close()

	r, err := relay.New(
		relay.Config{Hostname: "relay.example.com", Spool: queue, DrainTimeout: 10 * time.Second},
	)
	if err != nil {
		log.Fatal(err)
	}
	// In a real program: signal.NotifyContext(context.Background(),
	// os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	fmt.Println(r.Run(ctx))
	// Output: <nil>
}

// The application queues a message of its own. Date and Message-ID are added.
func ExampleRelay_Submit() {
	delivered := make(chan string)
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		Transport: delivery.TransportFunc(func(
			ctx context.Context, a *delivery.Attempt,
		) []delivery.Result {
			content, err := a.Open(ctx)
			if err != nil {
				return nil // no result: try again later
			}
			defer content.Close()
			text, _ := io.ReadAll(content)
			_, body, _ := bytes.Cut(text, []byte("\r\n\r\n"))
			delivered <- string(body)
			return a.All(delivery.Result{Delivered: true}) // all delivered
		}),
	})
	if err != nil {
		log.Fatal(err)
	}
	go r.Run(context.Background())
	defer r.Close()

	receipt, err := r.Submit(context.Background(), &relay.Message{
		From: "shop@example.com",
		To:   []string{"bob@example.net"},
		Content: strings.NewReader(
			"From: Shop <shop@example.com>\nTo: bob@example.net\nSubject: Your order\n\nIt is " +
				"on its way.\n",
		),
		Labels: map[string]string{"order": "1042"},
	})
	fmt.Println(err, receipt.QueueID != "")
	fmt.Printf("%q\n", <-delivered)
	// Output:
	// <nil> true
	// "It is on its way.\r\n"
}

// Submit is all or nothing: a refused recipient is told by a RecipientError,
// and nothing is queued.
func ExampleRecipientError() {
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com",
		Spool:    memspool.New(nil),
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.com", Recipients: domains.StaticRecipients("alice")},
		},
		Mailboxes: delivery.Maildir("mail"),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	_, err = r.Submit(context.Background(), &relay.Message{
		From:    "shop@example.com",
		To:      []string{"alice@example.com", "alcie@example.com"},
		Content: strings.NewReader("Subject: Hello\n\nHello\n"),
	})
	if refused, ok := errors.AsType[*relay.RecipientError](err); ok {
		fmt.Println(refused.Recipient)
	}
	if reply, ok := errors.AsType[*relay.ReplyError](err); ok {
		fmt.Println(reply.Code, reply.Enhanced, reply.Temporary())
	}
	stats, _ := r.Stats(context.Background())
	fmt.Println(stats.Messages, "queued")
	// Output:
	// alcie@example.com
	// 550 5.1.1 false
	// 0 queued
}

// With an Identity the application sends on behalf of a user, who is held to
// the user's own addresses.
func ExampleMessage_identity() {
	r, err := relay.New(relay.Config{Hostname: "relay.example.com", Spool: memspool.New(nil)})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	tenant := &auth.Identity{User: "tenant7", Senders: []string{"*@tenant7.example.com"}}
	for _, from := range []string{"news@tenant7.example.com", "ceo@example.com"} {
		_, err := r.Submit(context.Background(), &relay.Message{
			From: from, To: []string{"bob@example.net"}, Identity: tenant,
			Content: strings.NewReader("From: " + from + "\nSubject: News\n\nNews\n"),
		})
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// 550 5.7.60 Client does not have permissions to send as this sender
}

// Listen opens the sockets, so that the addresses are known before Run.
func ExampleRelay_Listen() {
	in := connector.New("in", connector.Internet)
	in.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com", Spool: memspool.New(nil),
		Connectors: []*connector.Connector{in},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	if err := r.Listen(); err != nil {
		log.Fatal(err)
	}
	a := r.Addrs("in")[0]
	fmt.Println(a.Addr(), a.Port() != 0)
	// Output: 127.0.0.1 true
}

// Serve takes connections from a listener of the application, such as one made
// by systemd.
func ExampleRelay_Serve() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	apps := connector.AnonymousRelay("apps", connector.MustParseRange("127.0.0.1"))
	apps.Bindings = []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())}
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.com", Spool: memspool.New(nil),
		Connectors: []*connector.Connector{apps},
	})
	if err != nil {
		log.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- r.Serve(l) }()

	c, err := smtp.Dial(l.Addr().String())
	fmt.Println(err)
	c.Close()
	r.Close()
	fmt.Println(<-served)
	// Output:
	// <nil>
	// <nil>
}

// Shutdown is for programs that do without Run's context.
func ExampleRelay_Shutdown() {
	r, err := relay.New(relay.Config{Hostname: "relay.example.com", Spool: memspool.New(nil)})
	if err != nil {
		log.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- r.Run(context.Background()) }()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Println(r.Shutdown(ctx))
	_, err = r.Submit(
		ctx,
		&relay.Message{
			To:      []string{"bob@example.net"},
			Content: strings.NewReader("From: app@example.com\nSubject: Late\n\n"),
		},
	)
	fmt.Println(errors.Is(err, relay.ErrClosed))
	r.Close()
	<-ended
	// Output:
	// <nil>
	// true
}

// Stats are the totals of the queue.
func ExampleRelay_Stats() {
	r, err := relay.New(relay.Config{Hostname: "relay.example.com", Spool: memspool.New(nil)})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	_, err = r.Submit(context.Background(), &relay.Message{
		To:      []string{"bob@example.net", "carol@example.org"},
		Content: strings.NewReader("From: app@example.com\nSubject: Hello\n\nHello\n"),
		Notify:  spool.NotifyNever,
	})
	if err != nil {
		log.Fatal(err)
	}
	stats, err := r.Stats(context.Background())
	fmt.Println(stats.Messages, stats.Leased, err)
	// Output: 1 0 <nil>
}
