package event_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

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
