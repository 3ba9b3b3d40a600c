package main

import (
	"net/smtp"
	"strings"
	"testing"

	"github.com/postern-mail/postern/examples/internal/mailtest"
)

// TestStreamsAreNamedInTheHeader sees who may name a stream, and that each
// message of a session names its own.
func TestStreamsAreNamedInTheHeader(t *testing.T) {
	sink := mailtest.NewSink(t)
	config := "stream_header = \"X-Stream\"\n" + strings.ReplaceAll(base, "SINK", sink.Addr) + `
[[connector]]
name = "strangers"
usage = "Internet"
bindings = ["127.0.0.1:0"]
`
	g := startAt(t, site(t, config))
	_, addr, _ := strings.Cut(g.log("msg=listening connector=strangers"), "addresses=[")
	g.addrs["strangers"] = strings.TrimSuffix(addr, "]")
	c := g.dial("127.0.0.1", "apps")
	g.sendIn(c, "X-Stream: news", "alice@example.test")
	if e := g.event("accepted", "alice@example.test"); e["stream"] != "news" {
		t.Errorf("accepted as %v", e)
	}
	g.sendIn(c, "X-Other: news", "bob@example.test")
	if e := g.event("accepted", "bob@example.test"); e["stream"] != nil {
		t.Errorf("without the field accepted as %v", e)
	}
	err := sendField(c, "X-Stream: two words", "bob@example.test")
	mailtest.WantReply(t, err, "550 5.6.0")
	g.sendIn(g.dial("127.0.0.1", "strangers"), "X-Stream: news", "alice@example.test")
	if e := g.event("accepted", "alice@example.test"); e["stream"] != nil {
		t.Errorf("a stranger's message was accepted as %v", e)
	}
	g.stop()
}

func (g *gateway) sendIn(c *smtp.Client, field, to string) {
	g.t.Helper()
	if err := sendField(c, field, to); err != nil {
		g.t.Fatal(err)
	}
}

func sendField(c *smtp.Client, field, to string) error {
	if err := c.Mail("app@example.test"); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(field + "\r\nSubject: x\r\n\r\nx\r\n")); err != nil {
		return err
	}
	return w.Close()
}
