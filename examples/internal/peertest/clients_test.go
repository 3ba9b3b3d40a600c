package peertest_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-mail/postern/examples/internal/mailtest"
)

// client is a program or a library that sends mail.
type client struct {
	name       string
	mechanisms []string
	unix       bool   // wants lines that end with LF
	composes   bool   // writes the header itself
	unoffered  string // what it shows when EXTERNAL is not offered
	cancels    string // what it shows when it does not wait for the 535 of a token
	// send returns what the client shows, a refusal among it.
	send func(context.Context, *job) (string, error)
}

// What each client knows of the mechanisms. The others are missing because:
//
//   - swaks has older ones besides; its --tls-cert is for TLS alone.
//   - msmtp has no SCRAM-SHA-256-PLUS, though GNU SASL has.
//   - curl has SCRAM when built with GNU SASL, and Debian's is not.
//   - smtplib has PLAIN and LOGIN, and takes functions for others: send.py has
//     those of one message. SCRAM would be ours.
//   - nodemailer takes functions too (customAuth). What it comes with is
//     CRAM-MD5 and the three here.
//   - Net::SMTP has what Authen::SASL has, which is DIGEST-MD5, CRAM-MD5,
//     ANONYMOUS and GSSAPI besides.
//   - PHPMailer has CRAM-MD5 besides, Jakarta Mail DIGEST-MD5 and NTLM.
//   - Ruby's Net::SMTP and aiosmtplib have CRAM-MD5 besides.
//   - net/smtp has PLAIN and CRAM-MD5, and takes an Auth for others. XOAUTH2 is
//     what programs add.
//   - go-smtp has what go-sasl has: no SCRAM, and OAUTHBEARER instead of
//     XOAUTH2. A refused token makes go-sasl cancel.
//   - go-mail has neither OAUTHBEARER nor EXTERNAL.
var clients = []client{
	{name: "swaks", mechanisms: []string{"PLAIN", "LOGIN"}, unix: true, send: swaks},
	{
		name: "msmtp",
		mechanisms: []string{
			"PLAIN", "LOGIN", "SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "EXTERNAL",
		}, unix: true,
		unoffered: "does not support", send: msmtp,
	},
	{
		name: "curl", mechanisms: []string{"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2", "EXTERNAL"},
		unoffered: "No known authentication mechanisms supported", send: curl,
	},
	{
		name:       "smtplib",
		mechanisms: []string{"PLAIN", "LOGIN", "OAUTHBEARER", "XOAUTH2", "EXTERNAL"},
		unoffered:  "504", send: script("python3", "testdata/send.py"),
	},
	{
		name: "nodemailer", mechanisms: []string{"PLAIN", "LOGIN", "XOAUTH2"},
		send: script("node", "node/send.js"),
	},
	{
		name: "Net-SMTP", mechanisms: []string{"PLAIN", "LOGIN", "EXTERNAL"}, unix: true,
		unoffered: "504", send: script("perl", "testdata/send.pl"),
	},
	{
		name: "PHPMailer", mechanisms: []string{"PLAIN", "LOGIN", "XOAUTH2"},
		cancels: "334", send: script("php", "testdata/send.php"),
	},
	{
		name: "Jakarta-Mail", mechanisms: []string{"PLAIN", "LOGIN", "XOAUTH2"},
		cancels: "334", send: jakartaMail,
	},
	{
		name: "Ruby", mechanisms: []string{"PLAIN", "LOGIN"},
		send: script("ruby", "testdata/send.rb"),
	},
	{
		name: "aiosmtplib", mechanisms: []string{"PLAIN", "LOGIN"},
		send: script("/usr/bin/python3", "testdata/send_async.py"),
	},
	{name: "net-smtp", mechanisms: []string{"PLAIN", "XOAUTH2"}, send: goStandard},
	{
		name: "go-smtp", mechanisms: []string{"PLAIN", "LOGIN", "OAUTHBEARER", "EXTERNAL"},
		unoffered: "504", cancels: "invalid_token", send: goSMTP,
	},
	{
		name:       "go-mail",
		mechanisms: []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "XOAUTH2"},
		composes:   true,
		send:       goMail,
	},
}

var sizes = []int{1, 10 << 10, 1 << 20, 20 << 20}

func TestClients(t *testing.T) {
	t.Parallel()
	next := newSink(t)
	g := start(t, next, "")
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			testClient(t, c, g, next)
		})
	}
}

func testClient(t *testing.T, c client, g *gateway, next *sink) {
	other := t.TempDir()
	mailtest.Certificate(t, other)
	mailtest.ClientCertificates(t, other, user)
	var serial int
	newJob := func(t *testing.T, security, mechanism string, size int) *job {
		serial++
		j := &job{
			Host: "localhost", Security: security, From: user,
			To:   fmt.Sprintf("%s.%d@example.net", c.name, serial),
			User: user, Password: password, CA: g.path("ca.pem"),
			File: filepath.Join(t.TempDir(), "message"), Initial: serial%2 == 0,
			Mechanism: mechanism,
		}
		switch mechanism {
		case "OAUTHBEARER", "XOAUTH2":
			j.Password = token
		case "EXTERNAL":
			j.Password = ""
			j.certificate(g.dir, user)
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
		// A port or a serial number may hold the same digits.
		if err == nil || !regexp.MustCompile(`\b`+reply+`\b`).MatchString(text) {
			t.Errorf("want %s: %v\n%s", reply, err, text)
		}
	}

	type way struct{ security, mechanism string }
	var ways []way
	for _, m := range c.mechanisms {
		if !slices.Contains(g.mechanisms, m) {
			continue
		}
		ways = append(ways, way{"STARTTLS", m}, way{"implicit", m})
	}
	for i := range max(len(ways), 2*len(sizes)) {
		w, size := ways[i%len(ways)], sizes[i/2%len(sizes)] // every size both ways into TLS
		t.Run(fmt.Sprint(w.security, " ", w.mechanism, " ", size), func(t *testing.T) {
			j := newJob(t, w.security, w.mechanism, size)
			accepted(t, j, w.security, "SMTPSA")
		})
	}
	for _, w := range ways {
		bad := func(what, reply string, change func(*job)) {
			t.Run(fmt.Sprint(w.security, " ", w.mechanism, " ", what), func(t *testing.T) {
				j := newJob(t, w.security, w.mechanism, 1)
				change(j)
				refused(t, j, reply)
			})
		}
		if w.mechanism != "EXTERNAL" {
			reply := "535"
			token := w.mechanism == "OAUTHBEARER" || w.mechanism == "XOAUTH2"
			if token && c.cancels != "" {
				reply = c.cancels
			}
			bad("wrong secret", reply, func(j *job) { j.Password = "wrong" })
			continue
		}
		bad("nobody's certificate", "535", func(j *job) { j.certificate(g.dir, nobody) })
		bad("forged certificate", c.unoffered, func(j *job) { j.certificate(other, user) })
		bad("no certificate", c.unoffered, func(j *job) { j.Certificate, j.Key = "", "" })
	}
	for _, security := range []string{"STARTTLS", "implicit"} {
		t.Run(security+" without logon", func(t *testing.T) {
			refused(t, newJob(t, security, "", 1), "530")
		})
		t.Run(security+" unknown issuer", func(t *testing.T) {
			j := newJob(t, security, c.mechanisms[0], 1)
			j.CA = filepath.Join(other, "ca.pem")
			text, err := send(t, j)
			if err == nil || !strings.Contains(strings.ToLower(text), "certificate") {
				t.Errorf("want a complaint about the certificate: %v\n%s", err, text)
			}
		})
	}
	t.Run("relay", func(t *testing.T) {
		accepted(t, newJob(t, "none", "", 10<<10), "relay", "SMTP")
	})
}
