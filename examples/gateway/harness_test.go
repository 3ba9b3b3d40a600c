package main

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"net/smtp"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

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
