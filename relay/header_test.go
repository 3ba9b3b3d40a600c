package relay_test

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
)

// TestReceived reads the trace field of messages that came by different
// protocols.
func TestReceived(t *testing.T) {
	const id, date = `[0-9a-v]{26}`, `\w{3}, \d{1,2} \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}`
	ip := `\[127\.0\.0\.1\]`
	for _, tt := range []struct {
		name, connector, script, want string
	}{
		{
			"ESMTP", "apps",
			"C: EHLO client.example.test\nS: 250\n" + envelope + message + "S: 250",
			`from client\.example\.test \(` + ip + `\) by relay\.example\.test with ESMTP id ` +
				id + ` for <x@elsewhere\.test>; ` + date,
		},
		{
			"SMTP", "apps", "C: HELO old\nS: 250\n" + envelope + message + "S: 250",
			`from old \(` + ip + `\) by relay\.example\.test with SMTP id ` + id +
				` for <x@elsewhere\.test>; ` + date,
		},
		{
			"ESMTPS", "apps",
			"C: EHLO client.example.test\nS: 250\n" + startTLS + envelope + message + "S: 250",
			`from client\.example\.test \(` + ip +
				`\) \(using TLSv?1\.3 with cipher TLS_[A-Z0-9_]+\) by relay\.example\.test ` +
				`with ESMTPS id ` + id + ` for <x@elsewhere\.test>; ` + date,
		},
		{
			"ESMTPA", "users",
			"C: EHLO client.example.test\nS: 250\n" + login + envelope + message + "S: 250",
			`from client\.example\.test \(` + ip + `\) by relay\.example\.test with ESMTPA id ` +
				id + ` for <x@elsewhere\.test>; ` + date,
		},
		{
			"ESMTPSA", "users",
			"C: EHLO client.example.test\nS: 250\n" + startTLS + login + envelope + message +
				"S: 250",
			`from client\.example\.test \(` + ip +
				`\) \(using .*\) by relay\.example\.test with ESMTPSA id ` + id +
				` for <x@elsewhere\.test>; ` + date,
		},
		{
			"UTF8SMTP", "apps",
			"C: EHLO client.example.test\nS: 250\nC: MAIL FROM:<app@example.test> SMTPUTF8\nS: " +
				"250\nC: RCPT TO:<jürgen@elsewhere.test>\nS: 250\n" + message + "S: 250",
			`from client\.example\.test \(` + ip + `\) by relay\.example\.test with UTF8SMTP id ` +
				id + ` for <jürgen@elsewhere\.test>; ` + date,
		},
		{
			"two recipients", "apps",
			"C: EHLO [192.0.2.7]\nS: 250\n" + envelope + "C: RCPT TO:<y@elsewhere.test>\nS: 250\n" +
				message + "S: 250",
			`from \[192\.0\.2\.7\] \(` + ip + `\) by relay\.example\.test with ESMTP id ` + id +
				`; ` + date,
		},
		{
			"no name of a host", "apps",
			"C: EHLO John's Printer (none)\nS: 250\n" + envelope + message + "S: 250",
			`from \[127\.0\.0\.1\] \(` + ip + `\) by relay\.example\.test with ESMTP id ` + id +
				` for <x@elsewhere\.test>; ` + date,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, func(c *relay.Config) {
				c.TLS = certificate(t)
				c.Connectors[2].AuthMechanisms |= connector.TLS
			})
			c := w.connect(t, tt.connector)
			c.Play("S: 220\n" + tt.script)
			content := w.out.wait(t, 1)[0].content
			field, _, _ := strings.Cut(content, "\r\nFrom:")
			if tt.connector == "users" {
				field, _, _ = strings.Cut(content, "\r\nDate:")
			}
			for line := range strings.SplitSeq(field, "\r\n") {
				if len(line) > 100 {
					t.Errorf("line of %d octets: %q", len(line), line)
				}
			}
			field = strings.ReplaceAll(field, "\r\n\t", " ")
			if !regexp.MustCompile(`^Received: ` + tt.want + `$`).MatchString(field) {
				t.Errorf("%q\nwant %q", field, tt.want)
			}
			if id := w.events.wait(
				t, kind(event.Accepted),
			).QueueID; !strings.Contains(field, " id "+id) {
				t.Errorf("queue id %s is not in %q", id, field)
			}
		})
	}
}

// TestFirewall sends fields that only servers of the organization may send.
func TestFirewall(t *testing.T) {
	const header = "From: x@elsewhere.test\r\nBcc: " +
		"hidden@elsewhere.test,\r\n\tmore@elsewhere.test\r\nResent-Bcc: hidden@elsewhere.test\r\n" +
		"X-MS-Exchange-Organization-AuthAs: Internal\r\nx-ms-exchange-organization-scl: -1\r\n" +
		"X-MS-Exchange-Forest-RulesExecuted: 1\r\n" +
		"X-Postern-Organization-Trusted: 1\r\nX-MS-Exchange-Other: stays\r\nReceived: from a " +
		"by b; c\r\nResent-From: x@elsewhere.test\r\nSubject: s\r\n"
	w := start(t, func(cfg *relay.Config) {
		servers := bind(connector.New("servers", connector.Internal), "127.0.0.4")
		servers.RemoteIPRanges = connector.Loopback()
		servers.PermissionGroups = connector.ExchangeServers
		servers.AuthMechanisms = connector.ExternalAuthoritative
		servers.Grants = []connector.Grant{{
			Principal: connector.ExternallySecured,
			Rights:    connector.AcceptHeadersOrganization | connector.AcceptHeadersForest,
		}}
		cfg.Connectors = append(cfg.Connectors, servers)
		in := cfg.Connectors[1]
		in.Grants = append(
			in.Grants,
			connector.Grant{
				Principal: connector.Anonymous, Rights: connector.AcceptHeadersRouting, Deny: true,
			},
		)
	})
	for i, tt := range []struct {
		connector string
		lost      []string
	}{
		{"apps", []string{"Bcc:", "hidden", "more@", "organization", "forest"}},
		{
			"in",
			[]string{
				"Bcc:", "hidden", "more@", "organization", "forest", "received: from a by b",
				"resent-",
			},
		},
		{"servers", []string{"Bcc:", "hidden", "more@"}},
	} {
		c := w.dial(t, tt.connector)
		if got := c.transact(
			header+"\r\nBcc: of the body\r\n", "x@elsewhere.test", "alice@example.test",
		); !strings.HasPrefix(got, "250") {
			t.Fatal(got)
		}
		content := w.mailboxes.wait(t, i+1)[i].content
		head, body, _ := strings.Cut(content, "\r\n\r\n")
		if body != "Bcc: of the body\r\n" {
			t.Errorf("%s: body %q", tt.connector, body)
		}
		head += "\r\n"
		for line := range strings.Lines(strings.ReplaceAll(header, ",\r\n\t", ", ")) {
			gone := false
			for _, l := range tt.lost {
				gone = gone || strings.Contains(strings.ToLower(line), strings.ToLower(l))
			}
			if gone == strings.Contains(head, line) {
				t.Errorf("%s: %q kept: %v", tt.connector, line, !gone)
			}
		}
	}
}

// TestForgedAuthenticationResults removes what strangers and users say that
// this relay has verified.
func TestForgedAuthenticationResults(t *testing.T) {
	const forged = "Authentication-Results: relay.example.test; dkim=pass header.d=bank.test\r\n" +
		"authentication-results\r\n : (x) \"RELAY.example.test\"\r\n 1; spf=pass\r\n" +
		"Authentication-Results: relay.example.test.; none\r\n" +
		"Authentication-Results: edge.example.test; none\r\n"
	const others = "Authentication-Results: mx.elsewhere.test; dkim=fail\r\n" +
		"Authentication-Results:\r\n" +
		"From: app@example.test\r\n\r\nAuthentication-Results: relay.example.test; none\r\n"
	w := start(t, func(c *relay.Config) { c.Connectors[1].FQDN = "edge.example.test" })
	for i, tt := range []struct {
		connector, say, kept string
	}{
		{"in", "", ""},
		{"users", login, "Authentication-Results: edge.example.test; none\r\n"},
		{"apps", "", forged},
	} {
		c := w.dial(t, tt.connector)
		c.Play(tt.say)
		if got := c.transact(forged+others, "app@example.test",
			"alice@example.test"); !strings.HasPrefix(got, "250") {
			t.Fatalf("%s: %s", tt.connector, got)
		}
		content := w.mailboxes.wait(t, i+1)[i].content
		if !strings.HasSuffix(content, "\r\n"+tt.kept+others) || tt.kept == "" &&
			strings.Contains(content, "edge") {
			t.Errorf("%s: %q", tt.connector, content)
		}
	}
}

// TestCompletion adds what a submission must have and lacks, and nothing to
// other mail.
func TestCompletion(t *testing.T) {
	w := start(t, nil)
	w.dial(t, "apps").Play(envelope + message + "S: 250")
	if got := w.out.wait(t, 1)[0].content; strings.Contains(got, "Message-ID:") ||
		strings.Contains(got, "Date:") {
		t.Errorf("a relayed message was changed: %q", got)
	}
	w.dial(t, "users").Play(login + envelope + message + "S: 250")
	if got := w.out.wait(t, 2)[1].content; strings.Count(got, "\r\nMessage-ID: <") != 1 ||
		strings.Count(got, "\r\nDate: ") != 1 {
		t.Errorf("a submission lacks fields: %q", got)
	}
	w.dial(t, "users").Play(login + envelope +
		"C: DATA\nS: 354\nC: date: Thu, 1 Jan 2026 00:00:00 +0000\nC: MESSAGE-ID: " +
		"<1@example.test>\nC: From: app@example.test\nC: \nC: .\nS: 250")
	if got := w.out.wait(t, 3)[2].content; strings.Contains(got, "Message-ID:") ||
		strings.Contains(got, "Date:") {
		t.Errorf("fields were doubled: %q", got)
	}
}

// TestContentIsKept sends content that tempts to be changed.
func TestContentIsKept(t *testing.T) {
	w := start(t, nil)
	c := w.dial(t, "apps")
	for i, content := range []string{
		"Subject: s\r\n\r\n",
		"Subject: s\r\n\r\n\r\n\r\n",
		"Subject: =?utf-8?q?=C3=BC?=\r\n folded\r\n\r\nüñî 8bit \xff\xfe\r\n",
		"\r\nno header at all\r\n",
		"no header, no blank line\r\n",
		"Subject : odd\r\nnot a field\r\nFrom: x@elsewhere.test\r\n\r\n" + strings.Repeat(
			"line\r\n", 5000,
		),
	} {
		if got := c.transact(
			content, "x@elsewhere.test", "alice@example.test",
		); !strings.HasPrefix(got, "250") {
			t.Fatalf("%q: %s", content, got)
		}
		got := w.mailboxes.wait(t, i+1)[i].content
		if !strings.HasPrefix(got, "Received: ") || !strings.HasSuffix(got, content) {
			t.Errorf("%.100q became %.300q", content, got)
		}
	}
}

// TestAddedFields puts fields on top of a message, as far as they are fields.
func TestAddedFields(t *testing.T) {
	var faults []error
	w := start(t, func(cfg *relay.Config) {
		cfg.Policy.Message = func(_ context.Context, s *relay.Session, m *relay.Incoming) error {
			if m.QueueID == "" || m.From.String() != "app@example.test" || len(m.Recipients) != 1 ||
				!strings.HasSuffix(string(m.Header), "\r\n\r\n") {
				t.Errorf("incoming %+v", m)
			}
			s.Labels = map[string]string{"seen": "yes"}
			for _, f := range [][2]string{
				{"", "x"}, {"Bad Name", "x"}, {"X-Bad:", "x"}, {"X-Bad", "a\r\nBcc: b"},
				{"X-Bad", "a\nb"}, {"X-Bad", "\x00"},
				{"X-Bad", strings.Repeat("x", 1000)}, {"X-Bäd", "x"},
			} {
				faults = append(faults, m.AddField(f[0], f[1]))
			}
			return errors.Join(m.AddField("X-Tenant", "7"), m.AddField("X-Score", "1.5"))
		}
	})
	w.dial(t, "apps").Play(envelope + message + "S: 250")
	got := w.out.wait(t, 1)[0].content
	if !strings.Contains(got, "\r\nX-Tenant: 7\r\nX-Score: 1.5\r\nFrom: ") ||
		strings.Contains(got, "Bad") {
		t.Errorf("content %q", got)
	}
	for i, err := range faults {
		if err == nil {
			t.Errorf("field %d was taken", i)
		}
	}
	if e := w.events.wait(t, kind(event.Delivered)); e.Labels["seen"] != "yes" {
		t.Errorf("event %+v", e)
	}
}

// TestPolicyOrder records which questions are asked, in order, and what is
// known at each.
func TestPolicyOrder(t *testing.T) {
	var asked []string
	ask := func(stage string) func(context.Context, *relay.Session) error {
		return func(_ context.Context, s *relay.Session) error {
			asked = append(asked, stage+" "+s.Connector.Name+" "+s.Helo)
			if stage == "auth" != (s.Identity != nil) || s.TLS != nil || s.ID == "" ||
				!s.Remote.IsValid() || !s.Local.IsValid() {
				t.Errorf("%s: session %+v", stage, s)
			}
			return nil
		}
	}
	w := start(t, func(cfg *relay.Config) {
		cfg.Policy = relay.Policy{Connect: ask("connect"), Helo: ask("helo"), Auth: ask("auth")}
	})
	w.dial(t, "users").Play(login + "C: QUIT\nS: 221\nclose")
	if got := strings.Join(
		asked, ", ",
	); got != "connect users , helo users client.example.test, auth users client.example.test" {
		t.Errorf("asked %q", got)
	}
}
