package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// service hands messages to a service over HTTP.
type service struct{ post func(to []string) error }

// Deliver answers for each recipient.
func (s *service) Deliver(_ context.Context, a *delivery.Attempt) []delivery.Result {
	to := make([]string, len(a.Recipients))
	for i, rcpt := range a.Recipients {
		to[i] = rcpt.Address
	}
	if err := s.post(to); err != nil {
		return a.All(delivery.Failed(err)) // tried again later
	}
	return a.All(delivery.Taken("api.example.net", delivery.Reply{}))
}

// A Transport takes mail over by the application's own means. All recipients of
// a message come in one Attempt.
func ExampleTransport() {
	sent := make(chan []string)
	r, end := running(relay.Config{
		Transport: &service{post: func(to []string) error { sent <- to; return nil }},
	})
	defer end()
	submit(r, "bob@example.net", "carol@example.org")
	fmt.Println(<-sent)
	// Output: [bob@example.net carol@example.org]
}

// logged is middleware: it tells what became of each recipient.
type logged struct {
	of   delivery.Transport
	line func(string)
}

// Deliver calls the transport within.
func (l logged) Deliver(ctx context.Context, a *delivery.Attempt) []delivery.Result {
	results := l.of.Deliver(ctx, a)
	for i, rcpt := range a.Recipients {
		taken := i < len(results) && results[i].OK()
		l.line(fmt.Sprint(rcpt.Address, " taken: ", taken))
	}
	return results
}

// byDomain gives the recipients of one domain to a service, and the rest to
// other hosts. The places are kept in two lists: a map by Transport would panic
// where one is a function.
type byDomain struct {
	domain        string
	service, rest delivery.Transport
}

// Deliver parts the recipients and puts the results together.
func (b byDomain) Deliver(ctx context.Context, a *delivery.Attempt) []delivery.Result {
	var service, rest []int
	for i, rcpt := range a.Recipients {
		if to, err := domains.Parse(rcpt.Address); err == nil && to.Domain() == b.domain {
			service = append(service, i)
			continue
		}
		rest = append(rest, i)
	}
	results := make([]delivery.Result, len(a.Recipients)) // zero: "not yet"
	give := func(t delivery.Transport, places []int) {
		if len(places) == 0 {
			return
		}
		given := t.Deliver(ctx, a.For(places...))
		for i := range min(len(given), len(places)) {
			results[places[i]] = given[i]
		}
	}
	give(b.service, service)
	give(b.rest, rest)
	return results
}

// Transports may be put together: here an HTTP API takes the mail of one
// domain and SMTP the rest, and both are logged. SMTP works within, since the
// Attempt brings the relay's client along.
func ExampleTransport_middleware() {
	smart := newHost(false) // stands for smart.example.com:25
	defer smart.Close()
	posted, lines := make(chan []string, 1), make(chan string, 2)
	r, end := running(relay.Config{
		Transport: logged{line: func(s string) { lines <- s }, of: byDomain{
			domain:  "example.net",
			service: &service{post: func(to []string) error { posted <- to; return nil }},
			rest:    delivery.SMTP(connector.NextHop{Hosts: []string{smart.addr()}}),
		}},
	})
	defer end()
	submit(r, "bob@example.net", "carol@example.org")
	fmt.Println("posted", <-posted)
	fmt.Println("sent to", <-smart.mail)
	fmt.Println(<-lines)
	fmt.Println(<-lines)
	// Output:
	// posted [bob@example.net]
	// sent to carol@example.org
	// bob@example.net taken: true
	// carol@example.org taken: true
}

// Where only the domain decides, a send connector names the transport: each
// then has a schedule of its own, and a slow one holds up nobody else.
func ExampleTransport_sendConnector() {
	smart := newHost(false) // stands for smart.example.com:25
	defer smart.Close()
	posted := make(chan []string, 1)
	r, end := running(relay.Config{
		Transports: map[string]delivery.Transport{
			"api": &service{post: func(to []string) error { posted <- to; return nil }},
		},
		SendConnectors: []*connector.SendConnector{
			{
				Name: "service", Transport: "api",
				AddressSpaces: []connector.AddressSpace{{Domain: "example.net"}},
			},
			{
				Name: "rest", AddressSpaces: connector.AllDomains(),
				NextHop: connector.NextHop{Hosts: []string{smart.addr()}},
			},
		},
	})
	defer end()
	submit(r, "bob@example.net", "carol@example.org")
	fmt.Println("posted", <-posted)
	fmt.Println("sent to", <-smart.mail)
	// Output:
	// posted [bob@example.net]
	// sent to carol@example.org
}

// A function may be a Transport.
func ExampleTransportFunc() {
	var t delivery.Transport = delivery.TransportFunc(
		func(_ context.Context, a *delivery.Attempt) []delivery.Result {
			return a.All(delivery.Taken("", delivery.Reply{}))
		})
	results := t.Deliver(context.Background(), &delivery.Attempt{
		Recipients: []spool.Recipient{{Address: "bob@example.net"}},
	})
	fmt.Println(len(results), results[0].OK())
	// Output: 1 true
}

// A Result says that a copy was taken, or why not. One that says nothing means
// "not yet", so what is returned half filled loses no mail.
func ExampleResult() {
	for _, r := range []delivery.Result{
		delivery.Taken("mx.example.net", delivery.Reply{Code: 250, Text: "ok"}),
		delivery.Failed(errors.New("disk full")),
		{},
		{Delivered: true, Err: errors.New("disk full")},
	} {
		fmt.Println(r.OK())
	}
	// Output:
	// true
	// false
	// false
	// false
}

// An Error tells what the remote host said, or what went wrong here.
func ExampleError() {
	var err error = &delivery.Error{
		Op: delivery.OpRcpt, Host: "mx.example.net [192.0.2.1]:25", Permanent: true,
		Reply: delivery.Reply{Code: 550, Enhanced: "5.1.1", Text: "no such user"},
	}
	fmt.Println(err)
	e, _ := errors.AsType[*delivery.Error](err)
	fmt.Println(e.Temporary())
	// Output:
	// rcpt mx.example.net [192.0.2.1]:25: 550 5.1.1 no such user
	// false
}

// What relay.Reject and relay.Defer return is an Error too.
func ExampleError_reject() {
	e, ok := errors.AsType[*delivery.Error](relay.Reject(550, "5.1.1", "no such user"))
	fmt.Println(ok, e.Permanent, e.Reply)
	// Output: true true 5.1.1 no such user
}

// An Op is written as a word.
func ExampleOp() {
	text, _ := delivery.OpSTARTTLS.MarshalText()
	op, err := delivery.ParseOp("rcpt")
	fmt.Println(string(text), op == delivery.OpRcpt, err)
	// Output: starttls true <nil>
}

// A Reply prints as it came.
func ExampleReply() {
	fmt.Println(delivery.Reply{Code: 451, Enhanced: "4.7.1", Text: "Try again later"})
	// Output: 451 4.7.1 Try again later
}

// Maildir writes the mail of known recipients into directories.
func ExampleMaildir() {
	dir, err := os.MkdirTemp("", "mail")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	delivered := make(chan struct{})
	r, end := running(relay.Config{
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.com", Recipients: domains.StaticRecipients("alice")},
		},
		Mailboxes: delivery.Maildir(dir),
		Events: func(e event.Event) {
			if e.Kind == event.Delivered {
				close(delivered)
			}
		},
	})
	defer end()
	submit(r, "Alice@example.com")
	<-delivered
	files, _ := filepath.Glob(filepath.Join(dir, "alice@example.com", "new", "*"))
	text, _ := os.ReadFile(files[0])
	fmt.Println(strings.Join(strings.SplitN(string(text), "\r\n", 3)[:2], "\n"))
	// Output:
	// Return-Path: <app@example.com>
	// Delivered-To: Alice@example.com
}

// All mail goes to fixed hosts by SMTP, each in turn.
func ExampleSMTP() {
	smart := newHost(false) // stands for smart.example.com:25
	defer smart.Close()
	r, end := running(relay.Config{
		Transport: delivery.SMTP(connector.NextHop{Hosts: []string{smart.addr()}}),
	})
	defer end()
	submit(r, "bob@example.net")
	fmt.Println(<-smart.mail)
	// Output: bob@example.net
}

// The mail of known recipients goes to a mail store by LMTP, which answers for
// each of them.
func ExampleSMTP_lmtp() {
	store := newHost(true) // stands for a mail store on port 24
	defer store.Close()
	r, end := running(relay.Config{
		AcceptedDomains: []domains.AcceptedDomain{
			{Domain: "example.com", Recipients: domains.AnyRecipient()},
		},
		Mailboxes: delivery.SMTP(connector.NextHop{Hosts: []string{store.addr()}, LMTP: true}),
	})
	defer end()
	submit(r, "alice@example.com", "bob@example.com")
	fmt.Println(<-store.mail)
	// Output: alice@example.com bob@example.com
}

// recorder is a Sender for tests: it takes everything.
type recorder struct{}

// Send takes the message for all recipients.
func (recorder) Send(
	_ context.Context, hop *connector.NextHop, a *delivery.Attempt,
) []delivery.Result {
	return a.All(delivery.Taken(hop.Hosts[0], delivery.Reply{Code: 250}))
}

// A test of a transport made of SMTP lends the Attempt a Sender of its own.
func ExampleSender() {
	t := delivery.SMTP(connector.NextHop{Hosts: []string{"smart.example.com"}})
	results := t.Deliver(context.Background(), &delivery.Attempt{
		Recipients: []spool.Recipient{{Address: "bob@example.net"}}, Sender: recorder{},
	})
	fmt.Println(results[0].Host, results[0].OK())
	// Output: smart.example.com true
}

// An Attempt may be parted.
func ExampleAttempt_For() {
	a := &delivery.Attempt{Recipients: []spool.Recipient{
		{Address: "a@example.com"}, {Address: "b@example.com"}, {Address: "c@example.com"},
	}}
	part := a.For(0, 2)
	fmt.Println(part.Recipients[0].Address, part.Recipients[1].Address)
	// Output: a@example.com c@example.com
}

// A Retry says when a message is tried again.
func ExampleRetry() {
	retry := delivery.Retry{Schedule: []time.Duration{time.Minute, time.Hour}}.WithDefaults()
	fmt.Println(retry.Wait(1), retry.Wait(2), retry.Wait(3), retry.Expires)
	fmt.Println(retry.WaitMX(1), retry.WaitMX(2), retry.WaitMX(9), retry.Greylisted)
	// Output:
	// 1m0s 1h0m0s 1h0m0s 48h0m0s
	// 1m0s 5m0s 1h6m0s 6m0s
}
