package main

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/smtp"
	"os"
	"os/exec"
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

// TestMain runs the gateway itself when a test has started this binary as one.
func TestMain(m *testing.M) {
	if os.Getenv("GATEWAY_TEST") == "run" {
		main()
	}
	os.Exit(m.Run())
}

// gateway is a running gateway.
type gateway struct {
	t      *testing.T
	config string // file
	cmd    *exec.Cmd
	events chan map[string]any
	logs   chan string
	addrs  map[string]string // by connector
}

// base has a connector for relaying hosts and one for users.
const base = `
hostname = "relay.example.test"
spool = "spool"
users = "users.htpasswd"
[tls]
certificate = "cert.pem"
key = "key.pem"
[[connector]]
name = "apps"
bindings = ["127.0.0.1:0"]
remote_ip_ranges = ["127.0.0.1", "127.0.1.0/24"]
permission_groups = ["AnonymousUsers"]
grants = [{ principal = "anonymous", rights = ["ms-Exch-SMTP-Accept-Any-Recipient"] }]
limits = { tarpit = "0s", max_connections_per_source = -1, max_connections_percent_per_source = -1 }
[[connector]]
name = "users"
usage = "Client"
bindings = ["127.0.0.1:0"]
remote_ip_ranges = ["127.0.0.0/8"]
limits = { tarpit = "0s", auth_tarpit = "0s", message_rate = -1 }
[[accepted_domain]]
name = "example.test"
recipients = ["alice", "bob"]
[senders]
"app@example.test" = ["*@news.example.test"]
[mailboxes]
deliver = "smtp://SINK"
[[send_connector]]
name = "out"
address_spaces = ["*;1"]
smart_hosts = ["SINK"]
`

func command(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), "GATEWAY_TEST=run")
	return cmd
}

func start(t *testing.T, sink *mailtest.Sink) *gateway {
	t.Helper()
	return startAt(t, site(t, strings.ReplaceAll(base, "SINK", sink.Addr)))
}

func startAt(t *testing.T, config string) *gateway {
	t.Helper()
	g := &gateway{
		t: t, config: config,
		events: make(chan map[string]any, 1000), logs: make(chan string, 1000),
		addrs: make(map[string]string),
	}
	g.cmd = command(t, "-config", g.config)
	stdout, err := g.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := g.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(g.events)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var e map[string]any
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Errorf("event %q: %v", lines.Text(), err)
			}
			g.events <- e
		}
	}()
	go func() {
		defer close(g.logs)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			g.logs <- lines.Text()
		}
	}()
	for _, name := range []string{"apps", "users"} {
		line := g.log("msg=listening connector=" + name)
		_, addr, _ := strings.Cut(line, "addresses=[")
		g.addrs[name] = strings.TrimSuffix(addr, "]")
	}
	return g
}

// log waits for a line of the log.
func (g *gateway) log(part string) string {
	g.t.Helper()
	timeout := time.After(mailtest.Patience)
	for {
		select {
		case line, ok := <-g.logs:
			if strings.Contains(line, part) {
				return line
			}
			if !ok {
				g.t.Fatalf("the log ended without %q", part)
			}
			g.t.Log(line)
		case <-timeout:
			g.t.Fatalf("no %q in the log", part)
		}
	}
}

// event waits for an event of a type to a recipient.
func (g *gateway) event(kind, to string) map[string]any {
	g.t.Helper()
	timeout := time.After(mailtest.Patience)
	for {
		select {
		case e, ok := <-g.events:
			if e["type"] == kind && (to == "" || e["to"] == to) {
				return e
			}
			g.t.Log(e)
			if !ok {
				g.t.Fatalf("the events ended without %s to %s", kind, to)
			}
		case <-timeout:
			g.t.Fatalf("no event %s to %s", kind, to)
		}
	}
}

func (g *gateway) signal(s os.Signal) {
	g.t.Helper()
	if err := g.cmd.Process.Signal(s); err != nil {
		g.t.Fatal(err)
	}
}

// stop ends the gateway and returns the events that were left.
func (g *gateway) stop() []map[string]any {
	g.t.Helper()
	g.signal(syscall.SIGTERM)
	return g.wait()
}

func (g *gateway) wait() (left []map[string]any) {
	g.t.Helper()
	for e := range g.events {
		left = append(left, e)
	}
	for line := range g.logs {
		g.t.Log(line)
	}
	if err := g.cmd.Wait(); err != nil {
		g.t.Errorf("the gateway ended with %v", err)
	}
	return left
}

// rewrite changes the configuration.
func (g *gateway) rewrite(pairs ...string) {
	g.t.Helper()
	b, err := os.ReadFile(g.config)
	if err != nil {
		g.t.Fatal(err)
	}
	mailtest.Write(g.t, g.config, strings.NewReplacer(pairs...).Replace(string(b)))
}

func (g *gateway) dial(from, name string) *smtp.Client {
	g.t.Helper()
	c, err := mailtest.Dial(from, g.addrs[name])
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	return c
}

// login returns a session of the user of the sample site.
func (g *gateway) login(password string) (*smtp.Client, error) {
	g.t.Helper()
	c := g.dial("127.0.0.1", "users")
	// What the certificate says is of no matter here.
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		g.t.Fatal(err)
	}
	return c, c.Auth(smtp.PlainAuth("", "app@example.test", password, "localhost"))
}

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

// TestReload changes everything that may change while a session goes on.
func TestReload(t *testing.T) {
	sink := mailtest.NewSink(t)
	g := start(t, sink)
	old := g.dial("127.0.0.1", "apps")
	if err := old.Noop(); err != nil {
		t.Fatal(err)
	}
	serial := g.serial()

	mailtest.Certificate(t, filepath.Dir(g.config))
	mailtest.Htpasswd(
		t, filepath.Join(filepath.Dir(g.config), "users.htpasswd"), "app@example.test", "changed",
	)
	g.rewrite(
		`"127.0.1.0/24"`, `"127.0.3.9"`, `recipients = ["alice", "bob"]`, `recipients = ["carol"]`,
	)
	g.signal(syscall.SIGHUP)
	g.log(`msg="configuration reloaded"`)

	if err := mailtest.Send(old, "app@example.test", "x@example.net", "old"); err != nil {
		t.Errorf("the session under way: %v", err)
	}
	sink.Next(t)
	if _, err := mailtest.Dial("127.0.1.1", g.addrs["apps"]); err == nil {
		t.Error("a host that is no longer listed was greeted")
	}
	mailtest.WantReply(
		t,
		mailtest.Send(g.dial("127.0.3.9", "apps"), "app@example.test", "alice@example.test", "no"),
		"550 5.1.1",
	)
	if err := mailtest.Send(
		g.dial("127.0.3.9", "apps"), "app@example.test", "carol@example.test", "new",
	); err != nil {
		t.Error(err)
	}
	sink.Next(t)
	if g.serial() == serial {
		t.Error("the certificate is the old one")
	}
	if _, err := g.login("changed"); err != nil {
		t.Error(err)
	}
	_, err := g.login("secret")
	mailtest.WantReply(t, err, "535 5.7.8")

	// A faulty file changes nothing, and the log has every fault.
	g.rewrite(`"127.0.3.9"`, `"127.0.3.999"`, `hostname =`, `hostnam =`)
	g.signal(syscall.SIGHUP)
	g.log(`field=connector[0].remote_ip_ranges[1]`)
	g.log(`field=hostnam `)
	if err := mailtest.Send(
		g.dial("127.0.3.9", "apps"), "app@example.test", "carol@example.test", "still",
	); err != nil {
		t.Error(err)
	}
	sink.Next(t)
	g.stop()
}

// TestReloadKeepsGuard: a reload forgets nobody who guesses, and unknown users
// still look like those there are.
func TestReloadKeepsGuard(t *testing.T) {
	var keys strings.Builder
	if code := run(
		[]string{"-password"}, strings.NewReader("secret\n"), &keys, io.Discard,
	); code != 0 {
		t.Fatal(code)
	}
	config := site(t, "scram = true\n"+strings.ReplaceAll(base, "SINK", mailtest.NewSink(t).Addr))
	mailtest.Write(
		t, filepath.Join(filepath.Dir(config), "users.htpasswd"), "app@example.test:"+keys.String(),
	)
	last := newLasting()
	first, _, found := load(config, last, slog.New(slog.DiscardHandler))
	second, _, more := load(config, last, slog.New(slog.DiscardHandler))
	if len(found)+len(more) > 0 || first.Auth == second.Auth || first.Auth.Throttle == nil ||
		first.Auth.Throttle != second.Auth.Throttle {
		t.Errorf("%v, %v: the Throttle is another one", found, more)
	}
	g := startAt(t, config)
	salts := func() (all []string) {
		for _, user := range []string{"app@example.test", "nobody@example.test"} {
			all = append(all, g.salt(user))
		}
		return all
	}
	before := salts()
	g.rewrite(`recipients = ["alice", "bob"]`, `recipients = ["carol"]`)
	g.signal(syscall.SIGHUP)
	g.log(`msg="configuration reloaded"`)
	if after := salts(); !slices.Equal(before, after) || after[0] == after[1] {
		t.Errorf("salts of a user and of nobody: %q, then %q", before, after)
	}
	g.stop()
}

// salt asks for that of a user (RFC 5802 section 5.1).
func (g *gateway) salt(user string) string {
	g.t.Helper()
	c := g.dial("127.0.0.1", "users")
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		g.t.Fatal(err)
	}
	id, err := c.Text.Cmd(
		"AUTH SCRAM-SHA-256 %s", base64.StdEncoding.EncodeToString([]byte("n,,n="+user+",r=nonce")),
	)
	if err != nil {
		g.t.Fatal(err)
	}
	c.Text.StartResponse(id)
	defer c.Text.EndResponse(id)
	_, text, err := c.Text.ReadResponse(334)
	if err != nil {
		g.t.Fatalf("%s: %v", user, err)
	}
	first, err := base64.StdEncoding.DecodeString(text)
	_, salt, _ := strings.Cut(string(first), ",s=")
	if salt, _, _ = strings.Cut(salt, ","); err != nil || salt == "" {
		g.t.Fatalf("%s: %q, %v", user, text, err)
	}
	return salt
}

// serial returns that of the certificate shown.
func (g *gateway) serial() string {
	g.t.Helper()
	c := g.dial("127.0.0.1", "users")
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		g.t.Fatal(err)
	}
	state, _ := c.TLSConnectionState()
	return state.PeerCertificates[0].SerialNumber.String()
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
	g.signal(syscall.SIGTERM)
	for { // until the gateway takes no more connections
		c, err := mailtest.Dial("127.0.0.1", g.addrs["apps"])
		if err != nil {
			break
		}
		c.Close()
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
