package relay_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay"
)

// received is the memory for messages being received in these tests, in bytes:
// room for sixteen of them.
const received = 1 << 20

func receiving(c *relay.Config) {
	c.Pressure.Receiving = received
	for _, con := range c.Connectors {
		con.Limits.MaxConnectionsPerSource, con.Limits.MaxConnectionsPercentPerSource = -1, -1
		con.Limits.ConnectionRate, con.Limits.Tarpit = -1, -1
		con.Limits.MaxRecipients = 10000
	}
}

// Messages that are never finished take up no more memory than there is, and
// what they held is there for others afterwards.
func TestMemoryOfUnfinishedMessages(t *testing.T) {
	w := start(t, receiving)
	for round := range 3 {
		var open []*talk
		refused := ""
		for len(open) < 100 {
			c := w.dial(t, "apps")
			c.Say("MAIL FROM:<app@example.test>")
			if refused = c.reply(); !strings.HasPrefix(refused, "250 ") {
				break
			}
			c.Play("C: RCPT TO:<x@elsewhere.test>\nS: 250 \nC: DATA\nS: 354 ")
			open = append(open, c)
		}
		if len(open) != 16 || !strings.HasPrefix(refused, "452 4.3.1 ") {
			t.Fatalf("%d messages under way, then %q", len(open), refused)
		}
		_, err := w.relay.Submit(t.Context(), &relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: strings.NewReader(text),
		})
		if err == nil || !strings.Contains(err.Error(), "4.3.1") {
			t.Errorf("Submit: %v", err)
		}
		for _, c := range open {
			if round == 2 { // the clients hang up
				c.Close()
				continue
			}
			c.Send(text + ".\r\n")
			c.Expect("250 ")
			c.Play("C: QUIT\nS: 221 ")
		}
	}
	for range 1000 {
		c := w.dial(t, "apps")
		if c.Say("MAIL FROM:<app@example.test>"); strings.HasPrefix(c.reply(), "250 ") {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("the memory of clients that have hung up is not given back")
}

// A header whose fields are as short as can be takes up many times its size.
func TestMemoryOfHeaders(t *testing.T) {
	w := start(t, receiving)
	c := w.dial(t, "apps")
	short := strings.Repeat("a:\r\n", 40<<10/4)
	if got := c.transact(text[:strings.Index(text, "\r\n")+2]+short+"\r\n",
		"app@example.test", "x@elsewhere.test"); !strings.HasPrefix(got, "250 ") {
		t.Errorf("a header of 40 KiB: %q", got)
	}
	if got := c.transact(strings.Repeat(short, 4)+"\r\n",
		"app@example.test", "x@elsewhere.test"); !strings.HasPrefix(got, "452 4.3.1 ") {
		t.Errorf("a header of 160 KiB: %q", got)
	}
	big := text + strings.Repeat("0123456789\r\n", 1<<20/12)
	if got := c.transact(big,
		"app@example.test", "x@elsewhere.test"); !strings.HasPrefix(got, "250 ") {
		t.Errorf("a content of 1 MiB, most of which is in no memory: %q", got)
	}
}

// Headers that are half read and few do not keep out what is ordinary.
func TestMemoryIsLeftForOrdinaryMessages(t *testing.T) {
	w := start(t, receiving)
	for range 8 {
		c := w.dial(t, "apps")
		c.Play("C: MAIL FROM:<app@example.test>\nS: 250 \nC: RCPT TO:<x@elsewhere.test>\nS: 250 ")
		c.Play("C: DATA\nS: 354 ")
		c.Send(strings.Repeat("a:\r\n", 15<<10/4))
	}
	for range 100 {
		c := w.dial(t, "apps")
		got := c.transact(text, "app@example.test", "x@elsewhere.test")
		if !strings.HasPrefix(got, "250 ") {
			t.Fatalf("%q", got)
		}
		c.Close()
	}
}

// Recipients count as well, until the transaction has ended.
func TestMemoryOfRecipients(t *testing.T) {
	w := start(t, receiving)
	c := w.dial(t, "apps")
	for range 2 {
		c.Play("C: MAIL FROM:<app@example.test>\nS: 250 ")
		n := 0
		for ; n < 10000; n++ {
			c.Say(fmt.Sprintf("RCPT TO:<x%d@elsewhere.test>", n))
			if got := c.reply(); strings.HasPrefix(got, "452 4.3.1 ") {
				break
			}
		}
		if n < 1000 || n > received/512 {
			t.Errorf("%d recipients", n)
		}
		c.Play("C: RSET\nS: 250 ")
	}
}
