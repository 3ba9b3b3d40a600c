package main

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wneessen/go-mail"

	"github.com/postern-mail/postern/examples/internal/mailtest"
)

func TestGateway(t *testing.T) {
	sink := mailtest.NewSink(t)
	g := start(t, sink)

	// Listed hosts relay to anybody.
	for _, host := range []string{"127.0.0.1", "127.0.1.200"} {
		if err := mailtest.Send(
			g.dial(host, "apps"), "app@example.test", "x@example.net", "relayed",
		); err != nil {
			t.Fatalf("from %s: %v", host, err)
		}
		e := g.event("accepted", "x@example.net")
		if !strings.HasPrefix(e["remote"].(string), host+":") || e["connector"] != "apps" ||
			e["from"] != "app@example.test" {
			t.Errorf("accepted: %v", e)
		}
		id := e["queue_id"]
		if e = g.event("delivered", "x@example.net"); e["queue_id"] != id || e["attempt"] != 1.0 ||
			e["host"] == nil {
			t.Errorf("delivered: %v", e)
		}
		if m := sink.Next(t); m.From != "app@example.test" ||
			!strings.Contains(m.Content, "Subject: relayed") {
			t.Errorf("arrived: %+v", m)
		}
	}
	if _, err := mailtest.Dial("127.0.3.9", g.addrs["apps"]); err == nil {
		t.Error("a host that is not listed was greeted")
	}

	// Mail for the accepted domain goes to the mailboxes; nobody else is known
	// there.
	c := g.dial("127.0.0.1", "apps")
	if err := mailtest.Send(c, "app@example.test", "alice@example.test", "local"); err != nil {
		t.Fatal(err)
	}
	g.event("delivered", "alice@example.test")
	sink.Next(t)
	mailtest.WantReply(
		t,
		mailtest.Send(g.dial("127.0.0.1", "apps"), "app@example.test", "nobody@example.test", "no"),
		"550 5.1.1",
	)
	if e := g.event("rejected", "nobody@example.test"); e["code"] != 550.0 ||
		e["enhanced"] != "5.1.1" || e["from"] != "app@example.test" {
		t.Errorf("rejected: %v", e)
	}

	// Users log on inside TLS and send as themselves.
	c, err := g.login("secret")
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"app@example.test", "daily@news.example.test"} {
		if err := mailtest.Send(c, from, "y@example.net", "submitted"); err != nil {
			t.Fatalf("as %s: %v", from, err)
		}
		if e := g.event("accepted", "y@example.net"); e["user"] != "app@example.test" ||
			e["connector"] != "users" {
			t.Errorf("accepted: %v", e)
		}
		sink.Next(t)
	}
	mailtest.WantReply(
		t, mailtest.Send(c, "boss@example.test", "y@example.net", "no"), "550 5.7.60",
	)
	_, err = g.login("wrong")
	mailtest.WantReply(t, err, "535 5.7.8")
	mailtest.WantReply(
		t, mailtest.Send(g.dial("127.0.0.1", "users"), "app@example.test", "y@example.net", "no"),
		"530 5.7",
	)

	// What the next hop refuses comes back as a report, here to a mailbox of
	// ours.
	if err := mailtest.Send(
		g.dial("127.0.0.1", "apps"), "bob@example.test", "refuse@example.net", "back",
	); err != nil {
		t.Fatal(err)
	}
	if e := g.event("bounced", "refuse@example.net"); e["code"] != 550.0 ||
		e["enhanced"] != "5.2.1" || e["text"] != "mailbox disabled" {
		t.Errorf("bounced: %v", e)
	}
	if m := sink.Next(t); m.From != "" || m.To[0] != "bob@example.test" ||
		!strings.Contains(m.Content, "multipart/report") {
		t.Errorf("report: %+v", m)
	}

	// What it refuses for now stays in the queue.
	if err := mailtest.Send(
		g.dial("127.0.0.1", "apps"), "bob@example.test", "later@example.net", "wait",
	); err != nil {
		t.Fatal(err)
	}
	if e := g.event("deferred", "later@example.net"); e["code"] != 451.0 {
		t.Errorf("deferred: %v", e)
	}
	g.stop()
}

// TestSCRAM: the keys that the gateway prints serve its users, who send as
// themselves and as the addresses listed for them.
func TestSCRAM(t *testing.T) {
	var keys, complaint strings.Builder
	if code := run(
		[]string{"-password"}, strings.NewReader("secret\n"), &keys, &complaint,
	); code != 0 {
		t.Fatal(complaint.String())
	}
	if code := run(
		[]string{"-password"}, strings.NewReader("\n"), io.Discard, &complaint,
	); code != 2 {
		t.Errorf("empty password: exit code %d", code)
	}
	sink := mailtest.NewSink(t)
	config := site(t, "scram = true\n"+strings.ReplaceAll(base, "SINK", sink.Addr))
	if _, _, found := load(config, newLasting(), slog.New(slog.DiscardHandler)); len(found) != 1 ||
		found[0].field != "users" {
		t.Errorf("users without keys: %v", found)
	}
	mailtest.Write(
		t, filepath.Join(filepath.Dir(config), "users.htpasswd"), "app@example.test:"+keys.String(),
	)
	g := startAt(t, config)
	host, port, _ := strings.Cut(g.addrs["users"], ":")
	number, _ := strconv.Atoi(port)
	for _, c := range []struct {
		mechanism      mail.SMTPAuthType
		password, from string
		want           string // of the error
	}{
		{mail.SMTPAuthSCRAMSHA256, "secret", "app@example.test", ""},
		{mail.SMTPAuthSCRAMSHA256PLUS, "secret", "daily@news.example.test", ""},
		{mail.SMTPAuthPlain, "secret", "app@example.test", ""},
		{mail.SMTPAuthSCRAMSHA256, "wrong", "app@example.test", "535"},
		{mail.SMTPAuthSCRAMSHA256, "secret", "boss@example.test", "550"},
	} {
		client,
			err := mail.NewClient(host, mail.WithPort(number), mail.WithTLSPolicy(
			mail.TLSMandatory,
		), mail.WithTLSConfig(&tls.Config{InsecureSkipVerify: true}),
			mail.WithSMTPAuth(c.mechanism), mail.WithUsername(
				"app@example.test",
			), mail.WithPassword(c.password))
		if err != nil {
			t.Fatal(err)
		}
		m := mail.NewMsg()
		if err := errors.Join(m.From(c.from), m.To("x@example.net")); err != nil {
			t.Fatal(err)
		}
		m.SetBodyString(mail.TypeTextPlain, "hello")
		switch err := client.DialAndSend(m); {
		case c.want == "" && err != nil, c.want != "" &&
			(err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s, %q, as %s: %v", c.mechanism, c.password, c.from, err)
		case c.want == "":
			if got := sink.Next(t); got.From != c.from {
				t.Errorf("%s: arrived from %s", c.mechanism, got.From)
			}
		}
	}
}

// TestDrain ends the gateway in the middle of a message.
func TestDrain(t *testing.T) {
	sink := mailtest.NewSink(t)
	g := start(t, sink)
	c := g.dial("127.0.0.1", "apps")
	if err := c.Mail("app@example.test"); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt("x@example.net"); err != nil {
		t.Fatal(err)
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("Subject: drained\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	idle := g.dial("127.0.0.1", "apps")
	g.signal(syscall.SIGTERM)
	// Not dialled until it fails: what connects at the very moment in which a
	// listener closes may, in Linux, hear nothing from then on.
	if _, _, err := idle.Text.ReadResponse(421); err != nil {
		t.Fatalf("a session without a message: %v", err)
	}
	if c, err := net.Dial("tcp4", g.addrs["apps"]); err == nil {
		c.Close()
		t.Error("a gateway that drains takes connections")
	}
	if _, err := w.Write([]byte("the rest\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("the message under way: %v", err)
	}
	if !slices.ContainsFunc(g.wait(), func(e map[string]any) bool {
		return e["type"] == "accepted"
	}) {
		t.Error("the last event is missing")
	}
}

// TestSecondSignal does not wait for a client that has stalled.
func TestSecondSignal(t *testing.T) {
	g := start(t, mailtest.NewSink(t))
	c := g.dial("127.0.0.1", "apps")
	if err := c.Mail("app@example.test"); err != nil {
		t.Fatal(err)
	}
	if err := c.Rcpt("x@example.net"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = g.cmd.Wait()
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for running := true; running; {
		_ = g.cmd.Process.Signal(syscall.SIGTERM) // signals sent at once may come as one
		select {
		case <-tick.C:
		case <-done:
			running = false
		}
	}
	if by := g.cmd.ProcessState.Sys().(syscall.WaitStatus); !by.Signaled() ||
		by.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v", g.cmd.ProcessState)
	}
}

func TestExitCodes(t *testing.T) {
	sink := mailtest.NewSink(t)
	good := site(t, strings.ReplaceAll(base, "SINK", sink.Addr))
	bad := site(t, base+"speed = 1\n") // SINK is no host:port either
	taken := site(t, strings.NewReplacer("SINK", sink.Addr, "127.0.0.1:0", sink.Addr).Replace(base))
	for _, test := range []struct {
		args []string
		code int
		want []string // parts of the output
	}{
		{[]string{"-config", good, "-check"}, 0, nil},
		{[]string{"-config", bad, "-check"}, 2, []string{"send_connector[0].speed: unknown key"}},
		{[]string{"-config", bad}, 2, []string{"send_connector[0].speed: unknown key"}},
		{[]string{"-config", filepath.Join(t.TempDir(), "none")}, 2, []string{"no such file"}},
		{[]string{"-fly"}, 2, []string{"Usage"}},
		{[]string{"-h"}, 0, []string{"Usage"}},
		{[]string{"-check", "more"}, 2, []string{"Usage"}},
		{[]string{"-config", good, "-server", "EX01"}, 2, []string{"Usage"}}, // for a dump only
		{
			[]string{"-config", taken}, 1,
			[]string{"field=connector[0].bindings[0]", "address already in use"},
		},
	} {
		cmd := command(t, test.args...)
		out, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != test.code {
			t.Errorf("%v: exit code %d, want %d\n%s", test.args, code, test.code, out)
		}
		for _, part := range test.want {
			if !strings.Contains(string(out), part) {
				t.Errorf("%v: no %q in\n%s", test.args, part, out)
			}
		}
		if n := strings.Count(string(out), "Usage of"); n > 1 {
			t.Errorf("%v: the usage %d times", test.args, n)
		}
		if test.want == nil && len(out) > 0 {
			t.Errorf("%v: %s", test.args, out)
		}
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(good), "spool")); err == nil {
		t.Error("-check made the spool")
	}
}
