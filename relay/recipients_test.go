package relay_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// commits makes a world and tells what is queued, "address notify original" in
// a line each: of messages, and of reports.
func commits(t *testing.T) (w *world, queued, reports chan string) {
	queued, reports = make(chan string, 100), make(chan string, 100)
	w = start(t, func(c *relay.Config) {
		c.Spool = &hooked{Store: memspool.New(nil), after: func(c spool.Commit) {
			var all []string
			for _, d := range c.Deliveries {
				for _, r := range d.Recipients {
					all = append(all, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Address,
						r.Notify, r.Original)))
				}
			}
			if c.Message.From == "" {
				reports <- strings.Join(all, "\n")
				return
			}
			queued <- strings.Join(all, "\n")
		}}
	})
	return w, queued, reports
}

// TestRecipientNamedTwice queues one copy for a recipient however often, and in
// whatever spelling, it is named.
func TestRecipientNamedTwice(t *testing.T) {
	w, queued, _ := commits(t)
	for _, tt := range []struct{ rcpts, want string }{
		{"<x@elsewhere.test>\n<x@elsewhere.test>\n<x@ELSEWHERE.test>\n<X@elsewhere.test>\n" +
			"<\"x\"@elsewhere.test>\n<@a.test:x@elsewhere.test>",
			"x@elsewhere.test"},
		{"<alice@example.test>\n<x@elsewhere.test>\n<Alice@example.test>\n" +
			"<y@elsewhere.test>\n<X@elsewhere.test>",
			"alice@example.test\nx@elsewhere.test\ny@elsewhere.test"},
		{"<\"a b\"@elsewhere.test>\n<\"A b\"@elsewhere.test>\n<\"a\\ b\"@elsewhere.test>",
			"\"a b\"@elsewhere.test"},
		{"<x@elsewhere.test>\n<x@sub.elsewhere.test>\n<x+y@elsewhere.test>",
			"x@elsewhere.test\nx@sub.elsewhere.test\nx+y@elsewhere.test"},
		// What was asked for at either place is asked for, and NEVER asks for
		// nothing.
		{"<x@a.test> NOTIFY=SUCCESS\n<X@a.test> NOTIFY=DELAY", "x@a.test SUCCESS,DELAY"},
		{"<x@a.test> NOTIFY=NEVER\n<x@A.test> NOTIFY=FAILURE", "x@a.test FAILURE"},
		{"<x@a.test> NOTIFY=FAILURE\n<x@a.test> NOTIFY=NEVER", "x@a.test FAILURE"},
		{"<x@a.test> NOTIFY=NEVER\n<x@a.test>\n<x@a.test> NOTIFY=NEVER", "x@a.test"},
		{"<x@a.test>\n<x@a.test> NOTIFY=SUCCESS", "x@a.test SUCCESS,FAILURE,DELAY"},
		{"<x@a.test> NOTIFY=SUCCESS\n<x@a.test>", "x@a.test SUCCESS,FAILURE,DELAY"},
		{"<x@a.test> NOTIFY=NEVER\n<x@a.test> NOTIFY=NEVER", "x@a.test NEVER"},
		{"<x@a.test>\n<x@a.test> ORCPT=rfc822;b@a.test\n<x@a.test> ORCPT=rfc822;c@a.test",
			"x@a.test  rfc822;b@a.test"},
	} {
		c := w.dial(t, "apps")
		c.Play("C: MAIL FROM:<app@example.test>\nS: 250")
		for r := range strings.SplitSeq(tt.rcpts, "\n") {
			c.Play("C: RCPT TO:" + r + "\nS: 250")
		}
		c.Play(message + "S: 250\nC: QUIT\nS: 221\nclose")
		if got := <-queued; got != tt.want {
			t.Errorf("%s\nqueued\n%s\nwant\n%s", tt.rcpts, got, tt.want)
		}
	}
	e := w.events.wait(t, kind(event.Accepted))
	if len(e.To) != 1 || e.To[0] != "x@elsewhere.test" {
		t.Errorf("event %+v", e)
	}

	// <postmaster> without a domain is somebody else's name for the same
	// mailbox.
	c := w.dial(t, "in")
	c.Play("C: MAIL FROM:<x@elsewhere.test>\nS: 250\n" +
		"C: RCPT TO:<postmaster@example.test>\nS: 250\n" +
		"C: RCPT TO:<postmaster>\nS: 250\nC: RCPT TO:<Postmaster@EXAMPLE.test>\nS: 250\n" +
		message + "S: 250")
	if got := <-queued; got != "postmaster@example.test" {
		t.Errorf("queued %q", got)
	}
	submit(t, w.relay, "app@example.test", "x@m\u00fcnchen.test", "X@xn--mnchen-3ya.test",
		"alice@example.test", "ALICE@example.test")
	if got := <-queued; got != "x@m\u00fcnchen.test\nalice@example.test" &&
		got != "alice@example.test\nx@m\u00fcnchen.test" {
		t.Errorf("queued %q", got)
	}
}

// TestNotifyOfStranger makes no report of success to whom a stranger names as
// the sender.
func TestNotifyOfStranger(t *testing.T) {
	w, queued, reports := commits(t)
	for _, tt := range []struct{ connector, notify, want string }{
		{"in", " NOTIFY=SUCCESS", "alice@example.test NEVER"},
		{"in", " NOTIFY=SUCCESS,FAILURE", "alice@example.test FAILURE"},
		{"in", " NOTIFY=SUCCESS,FAILURE,DELAY", "alice@example.test FAILURE,DELAY"},
		{"in", " NOTIFY=NEVER", "alice@example.test NEVER"},
		{"in", "", "alice@example.test"},
		{"apps", " NOTIFY=SUCCESS", "alice@example.test SUCCESS"},
		{"users", " NOTIFY=SUCCESS,FAILURE", "alice@example.test SUCCESS,FAILURE"},
	} {
		c := w.dial(t, tt.connector)
		if tt.connector == "users" {
			c.Play(login)
		}
		c.Play("C: MAIL FROM:<app@example.test>\nS: 250\nC: RCPT TO:<alice@example.test>" +
			tt.notify + "\nS: 250\n" +
			message + "S: 250\nC: QUIT\nS: 221\nclose")
		if got := <-queued; got != tt.want {
			t.Errorf("%s%s: %q, want %q", tt.connector, tt.notify, got, tt.want)
		}
		if strings.Contains(tt.want, "SUCCESS") {
			if got := <-reports; got != "app@example.test NEVER" {
				t.Errorf("%s%s: report %q", tt.connector, tt.notify, got)
			}
		}
	}
	w.mailboxes.wait(t, 7+2)
	if len(reports) > 0 {
		t.Errorf("report %q", <-reports)
	}
}
