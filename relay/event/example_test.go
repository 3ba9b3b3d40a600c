package event_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/event"
)

func ExampleAppend() {
	e := event.Event{
		Time: time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC), Kind: event.Delivered,
		QueueID: "Q1", From: "shop@example.com", To: []string{"anna@example.net"}, Attempt: 1,
		Code: 250, Enhanced: "2.0.0", Text: "OK", Labels: map[string]string{"order": "7"},
	}
	e.Identify()
	var text bytes.Buffer
	if err := json.Indent(&text, event.Append(nil, &e), "", " "); err != nil {
		panic(err)
	}
	fmt.Println(text.String())
	// Output:
	// {
	//  "id": "A8MBN9UV2FRLJQLB0N2FSCLST4",
	//  "time": "2026-11-01T08:00:00Z",
	//  "kind": "delivered",
	//  "queue_id": "Q1",
	//  "from": "shop@example.com",
	//  "to": [
	//   "anna@example.net"
	//  ],
	//  "code": 250,
	//  "enhanced": "2.0.0",
	//  "text": "OK",
	//  "attempt": 1,
	//  "labels": {
	//   "order": "7"
	//  }
	// }
}

// A function for Config.Events or Relay.Follow: what is over, what needs an
// operator, and nothing for kinds that it does not know.
func ExampleEvent() {
	handle := func(e event.Event) {
		switch {
		case e.Kind == event.Throttled:
			fmt.Println(e.Site, "gets less until", e.Next.Format(time.TimeOnly), "for", e.Class)
		case e.Kind == event.Poisoned:
			fmt.Println("look at", e.QueueID, "and reschedule it:", e.Text)
		case e.Kind.Fate() && e.Class == bounce.UnknownRecipient:
			fmt.Println("strike out", e.To[0])
		}
	}
	for _, e := range []event.Event{
		{Kind: event.Accepted, QueueID: "Q1", To: []string{"x@example.net"}},
		{
			Kind: event.Throttled, Class: bounce.RateLimited, Site: "mx.example.net",
			Next: time.Date(2026, 11, 1, 8, 50, 0, 0, time.UTC), Throttle: "t1",
		},
		{Kind: event.Poisoned, QueueID: "Q2", To: []string{"y@example.net"}, Text: "panic"},
		{
			Kind: event.Bounced, QueueID: "Q1", To: []string{"x@example.net"},
			Class: bounce.UnknownRecipient,
		},
	} {
		handle(e)
	}
	// Output:
	// mx.example.net gets less until 08:50:00 for rate-limited
	// look at Q2 and reschedule it: panic
	// strike out x@example.net
}

func ExampleParse() {
	e, err := event.Parse([]byte(
		`{"kind":"bounced","queue_id":"Q1","from":"shop@example.com","to":["x@example.net"],` +
			`"code":550,"text":"No such user","labels":{"order":"7"},"mood":"sad"}`,
	))
	if err != nil {
		panic(err)
	}
	if e.Kind.Fate() {
		fmt.Println("order", e.Labels["order"], e.Kind, "to", e.To[0], "because:", e.Text)
	}
	// Output: order 7 bounced to x@example.net because: No such user
}

func ExampleKind_Fate() {
	for _, k := range event.Kinds() {
		fmt.Println(k, k.Fate())
	}
	// Output:
	// accepted false
	// rejected false
	// attempted false
	// delivered true
	// deferred false
	// bounced true
	// expired true
	// removed true
	// poisoned false
	// throttled false
	// lifted false
}

// A Kind reads and writes as its name.
func ExampleKind() {
	text, _ := event.Bounced.MarshalText()
	fmt.Println(string(text))
	var k event.Kind
	fmt.Println(k.UnmarshalText([]byte("expired")), k == event.Expired)
	// Output:
	// bounced
	// <nil> true
}
