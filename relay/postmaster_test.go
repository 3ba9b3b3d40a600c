package relay_test

import (
	"net"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay"
)

// TestPostmasterExists checks that there is one, in every authoritative domain
// and without a domain.
func TestPostmasterExists(t *testing.T) {
	w := start(t, nil)
	c, err := net.Dial("tcp", w.addr("in"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	text := textproto.NewConn(c)
	for _, step := range []struct {
		command string
		code    int
	}{
		{"", 220},
		{"EHLO client.example.test", 250},
		{"MAIL FROM:<x@elsewhere.test>", 250},
		{"RCPT TO:<Postmaster>", 250},
		{"RCPT TO:<PostMaster@example.test>", 250},
		{"RCPT TO:<postmaster@elsewhere.test>", 550},
		{"RCPT TO:<nobody@example.test>", 550},
		{"DATA", 354},
		{"Subject: help\r\n\r\nhelp\r\n.", 250},
	} {
		if step.command != "" {
			if err := text.PrintfLine("%s", step.command); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := text.ReadResponse(step.code); err != nil {
			t.Errorf("%s: %v", step.command, err)
		}
	}
	submit(t, w.relay, "", "alice@example.test")
	got := w.mailboxes.wait(t, 2) // one copy for the postmaster, by whichever name
	slices.SortFunc(got, func(a, b captured) int { return strings.Compare(a.to, b.to) })
	if got[0].to != "alice@example.test" || got[1].to != "postmaster@example.test" {
		t.Errorf("delivered to %s and %s", got[0].to, got[1].to)
	}
}

// TestSubmitLoop checks that a message which the application submits again and
// again does not go round for ever.
func TestSubmitLoop(t *testing.T) {
	w := start(t, nil)
	content := strings.Repeat(
		"Received: by relay.example.test; Mon, 2 Jan 2006 15:04:05 +0000\n", 9,
	) + text
	_, err := w.relay.Submit(
		t.Context(),
		&relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: strings.NewReader(content),
		},
	)
	if err == nil || !strings.Contains(err.Error(), "5.4.6") {
		t.Errorf("Submit of a loop: %v", err)
	}
}
