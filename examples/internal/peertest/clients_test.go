package peertest_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-mail/postern/examples/internal/mailtest"
)

// client is a program or a library that sends mail.
type client struct {
	name       string
	mechanisms []string
	scram      []string // more mechanisms, for users with SCRAM keys
	unix       bool     // wants lines that end with LF
	composes   bool     // writes the header itself
	// send returns what the client shows, a refusal among it.
	send func(context.Context, *job) (string, error)
}

// What the gateway and the client know both.
var clients = []client{
	{name: "swaks", mechanisms: []string{"PLAIN", "LOGIN"}, unix: true, send: swaks},
	{name: "msmtp", mechanisms: []string{"PLAIN", "LOGIN"}, scram: []string{"SCRAM-SHA-256"}, unix: true, send: msmtp},
	{name: "curl", mechanisms: []string{"PLAIN", "LOGIN"}, send: curl},
	{name: "smtplib", mechanisms: []string{"PLAIN", "LOGIN"}, send: script("python3", "testdata/send.py")},
	{name: "nodemailer", mechanisms: []string{"PLAIN", "LOGIN"}, send: script("node", "node/send.js")},
	{name: "Net-SMTP", mechanisms: []string{"PLAIN", "LOGIN"}, unix: true, send: script("perl", "testdata/send.pl")},
	{name: "net-smtp", mechanisms: []string{"PLAIN"}, send: goStandard},
	{name: "go-smtp", mechanisms: []string{"PLAIN", "LOGIN"}, send: goSMTP},
	{name: "go-mail", mechanisms: []string{"PLAIN", "LOGIN"}, scram: []string{"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}, composes: true, send: goMail},
}

var sizes = []int{1, 10 << 10, 1 << 20, 20 << 20}

func TestClients(t *testing.T) {
	t.Parallel()
	next := newSink(t)
	g := start(t, next, "")
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			testClient(t, c, g, next, sizes)
		})
	}
}

func testClient(t *testing.T, c client, g *gateway, next *sink, sizes []int) {
	other := t.TempDir()
	mailtest.Certificate(t, other)
	var serial int
	newJob := func(t *testing.T, security string, size int) *job {
		serial++
		j := &job{
			Host: "localhost", Security: security, From: user, To: fmt.Sprintf("%s.%d@example.net", c.name, serial),
			User: user, Password: password, CA: g.path("ca.pem"), File: filepath.Join(t.TempDir(), "message"), Initial: serial%2 == 0,
		}
		connector := security
		if security == "none" {
			connector = "relay"
		}
		j.Port, _ = strconv.Atoi(g.ports[connector])
		j.message = message(j.From, j.To, size)
		text := j.message
		if c.unix {
			text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		}
		if err := os.WriteFile(j.File, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return j
	}
	send := func(t *testing.T, j *job) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return c.send(ctx, j)
	}
	accepted := func(t *testing.T, j *job, connector, with string) {
		t.Helper()
		if text, err := send(t, j); err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		e := g.next(t, "accepted "+j.To)
		logon := user
		if j.Mechanism == "" {
			logon = ""
		}
		if e.User != logon || e.Connector != connector || e.From != user {
			t.Errorf("accepted: %+v", e)
		}
		m := next.next(t, j.To)
		sent := append(j.message, '\r', '\n')
		if c.composes {
			sent = sent[bytes.Index(sent, []byte("\r\n\r\n")):]
		}
		wantContent(t, m.content, sent)
		head, _, _ := strings.Cut(string(m.content), "From: ")
		if trace := strings.Join(strings.Fields(head), " "); !strings.Contains(trace, with+" id ") {
			t.Errorf("not %s: %s", with, trace)
		}
	}
	refused := func(t *testing.T, j *job, reply string) {
		t.Helper()
		text, err := send(t, j)
		if err == nil || !strings.Contains(text, reply) {
			t.Errorf("want %s: %v\n%s", reply, err, text)
		}
	}

	type way struct{ security, mechanism string }
	var ways []way
	for _, m := range c.mechanisms {
		ways = append(ways, way{"STARTTLS", m}, way{"implicit", m})
	}
	for i := range max(len(ways), len(sizes)) {
		w, size := ways[i%len(ways)], sizes[i%len(sizes)]
		t.Run(fmt.Sprint(w.security, " ", w.mechanism, " ", size), func(t *testing.T) {
			j := newJob(t, w.security, size)
			j.Mechanism = w.mechanism
			accepted(t, j, w.security, "SMTPSA")
		})
	}
	for _, w := range ways {
		t.Run(fmt.Sprint(w.security, " ", w.mechanism, " wrong password"), func(t *testing.T) {
			j := newJob(t, w.security, 1)
			j.Mechanism, j.Password = w.mechanism, "wrong"
			refused(t, j, "535")
		})
	}
	for _, security := range []string{"STARTTLS", "implicit"} {
		t.Run(security+" without logon", func(t *testing.T) { refused(t, newJob(t, security, 1), "530") })
		t.Run(security+" unknown issuer", func(t *testing.T) {
			j := newJob(t, security, 1)
			j.Mechanism = c.mechanisms[0]
			j.CA = filepath.Join(other, "ca.pem")
			text, err := send(t, j)
			if err == nil || !strings.Contains(strings.ToLower(text), "certificate") {
				t.Errorf("want a complaint about the certificate: %v\n%s", err, text)
			}
		})
	}
	t.Run("relay", func(t *testing.T) { accepted(t, newJob(t, "none", 10<<10), "relay", "SMTP") })
}
