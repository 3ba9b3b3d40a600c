package relay_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net/mail"
	"net/smtp"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
)

// TestSender checks that a message by somebody else than its author says so.
func TestSender(t *testing.T) {
	w := start(t, func(c *relay.Config) {
		c.Verifier = auth.WithSenders(
			c.Verifier, map[string][]string{"app@example.test": {"*@news.example.test"}},
		)
	})
	for i, c := range []struct{ from, header, want string }{
		{"app@example.test", "From: app@example.test\r\n", ""},
		{"app@example.test", "From: App <app@EXAMPLE.test>\r\n", ""},
		{"app@example.test", "From: daily@news.example.test\r\n", "Sender: <app@example.test>\r\n"},
		{"app@example.test", "From: daily@news.example.test\r\nSender: app@example.test\r\n", ""},
		{
			"app@example.test", "From: daily@news.example.test\r\nSender: \r\n \r\n",
			"Sender: <app@example.test>\r\n",
		},
		// RFC 5322 section 3.6.2: several mailboxes need one, also if it is
		// among them.
		{
			"app@example.test", "From: app@example.test, daily@news.example.test\r\n",
			"Sender: <app@example.test>\r\n",
		},
		{
			"app@example.test", "From: app@example.test,\r\n app@example.test\r\n",
			"Sender: <app@example.test>\r\n",
		},
		{"app@example.test", "From: team: app@example.test;\r\n", "Sender: <app@example.test>\r\n"},
		{"app@example.test", "From: team:;\r\n", "Sender: <app@example.test>\r\n"},
		{"app@example.test", "From: \"team: a\" <app@example.test> (b: c)\r\n", ""},
		{
			"app@example.test",
			"From: app@example.test, daily@news.example.test\r\nSender: " +
				"daily@news.example.test\r\n",
			"",
		},
	} {
		err := smtp.SendMail(
			w.addr("users"), plain{"app@example.test", "secret"}, c.from,
			[]string{"x@elsewhere.test"}, []byte(c.header+"\r\nhi\r\n"),
		)
		if err != nil {
			t.Fatal(err)
		}
		got := w.out.wait(t, i+1)[i].content
		if (c.want == "") == strings.Contains(got, "Sender: <") || !strings.Contains(got, c.want) {
			t.Errorf("%q: %s", c.header, got)
		}
	}
}

// TestCompleteAddresses checks that users may leave out their own domain, and
// nobody else.
func TestCompleteAddresses(t *testing.T) {
	w := start(t, func(c *relay.Config) { c.CompleteAddresses = true })
	users := plain{"app@example.test", "secret"}
	const content = "From: App <app>\r\nTo: alice, Bob <bob>, x@elsewhere.test\r\n\r\nhi\r\n"
	if err := smtp.SendMail(
		w.addr("users"), users, "app", []string{"alice", "x@elsewhere.test"}, []byte(content),
	); err != nil {
		t.Fatal(err)
	}
	got := w.mailboxes.wait(t, 1)[0]
	if got.from != "app@example.test" || got.to != "alice@example.test" ||
		!strings.Contains(
			got.content,
			"\r\nFrom: App <app@example.test>\r\nTo: alice@example.test, Bob "+
				"<bob@example.test>, x@elsewhere.test\r\n",
		) {
		t.Errorf("%q to %q: %s", got.from, got.to, got.content)
	}
	_, err := w.relay.Submit(
		t.Context(),
		&relay.Message{From: "app", To: []string{"bob"}, Content: strings.NewReader(content)},
	)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.mailboxes.wait(t, 2)[1]; got.to != "bob@example.test" {
		t.Errorf("submitted to %q", got.to)
	}
	_, err = w.relay.Submit(
		t.Context(),
		&relay.Message{
			From: `"a@b"`, To: []string{"alice"},
			Content: strings.NewReader("From: x@example.test\n\nhi\n"),
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	if got := w.mailboxes.wait(t, 3)[2]; got.from != `"a@b"@example.test` {
		t.Errorf("submitted from %q", got.from)
	}
	bare := w.dial(t, "users") // without angle brackets, too
	bare.Play(login + `
		C: MAIL FROM: app SIZE=10
		S: 250
		C: RCPT TO:alice
		S: 250
		C: RCPT TO:"bob"
		S: 501 5.1.3
		C: DATA
		S: 354
		C: .
		S: 250`)
	got = w.mailboxes.wait(t, 4)[3]
	if got.from != "app@example.test" || got.to != "alice@example.test" {
		t.Errorf("%q to %q", got.from, got.to)
	}
	if err := send(w.addr("in"), nil, "x@elsewhere.test", "alice"); code(err) != 501 {
		t.Errorf("a stranger without a domain: %v", err)
	}
	plainly := start(t, nil)
	if err := send(plainly.addr("users"), users, "app@example.test", "alice"); code(err) != 501 {
		t.Errorf("without CompleteAddresses: %v", err)
	}
}

// TestSenderOfApplication checks that the application may send as anyone
// without a word, but not as several.
func TestSenderOfApplication(t *testing.T) {
	w := start(t, nil)
	for i, c := range []struct{ from, header, want string }{
		{"bounces@example.test", "From: app@example.test\r\n", ""},
		{
			"bounces@example.test", "From: app@example.test, bob@example.test\r\n",
			"<bounces@example.test>",
		},
		{
			"bounces@example.test",
			"From: app@example.test, bob@example.test\r\nSender: bob@example.test\r\n",
			"bob@example.test",
		},
		{"", "From: app@example.test, bob@example.test\r\n", ""}, // nobody to name
	} {
		m := &relay.Message{
			From: c.from, To: []string{"x@elsewhere.test"},
			Content: strings.NewReader(c.header + "\r\nhi\r\n"),
		}
		if _, err := w.relay.Submit(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if got := fields(t, w.out.wait(t, i+1)[i].content); len(got["Sender"]) > 1 ||
			got.Get("Sender") != c.want {
			t.Errorf("%q: Sender %q, want %q", c.header, got["Sender"], c.want)
		}
	}
}

func fields(t *testing.T, content string) mail.Header {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return m.Header
}

// TestForeignSender refuses a Sender field that the user does not own, however
// it is written.
func TestForeignSender(t *testing.T) {
	w := start(t, func(c *relay.Config) { c.Connectors[2].Limits.MaxProtocolErrors = -1 })
	c := w.dial(t, "users")
	c.Play(login)
	for header, want := range map[string]string{
		"Sender: ceo@example.test\r\n":                             "550 5.7.60",
		"sEnDeR :\r\n\tCEO <ceo@example.test>\r\n":                 "550 5.7.60",
		"Sender: app@example.test\r\nSender: ceo@example.test\r\n": "550 5.6.0",
		"Sender: \r\nSender: ceo@example.test\r\n":                 "550 5.7.60",
		"Sender: g: ceo@example.test;\r\n":                         "550 5.7.60",
		"Sender: app@example.test (ceo@example.test)\r\n":          "250 ",
	} {
		if got := c.transact(
			"From: app@example.test\r\n"+header+"\r\nhi\r\n", "app@example.test",
			"x@elsewhere.test",
		); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
}

// TestBlankFields checks that fields without a value count as missing, and that
// a Date that cannot be read stays.
func TestBlankFields(t *testing.T) {
	w := start(t, nil)
	const blank = "date:\r\nFrom: \r\n\t \r\nMESSAGE-ID : \t\r\nSubject:\r\nTo: \r\n"
	w.dial(t, "apps").transact(blank+"\r\nhi\r\n", "app@example.test", "x@elsewhere.test")
	if got := w.out.wait(t, 1)[0].content; !strings.HasSuffix(got, blank+"\r\nhi\r\n") {
		t.Errorf("a relayed message was changed: %q", got)
	}
	c := w.dial(t, "users")
	c.Play(login)
	c.transact(blank+"\r\nhi\r\n", "app@example.test", "x@elsewhere.test")
	h := fields(t, w.out.wait(t, 2)[1].content)
	if _, err := h.Date(); err != nil || len(h["Date"]) != 1 || len(h["Subject"]) != 1 ||
		len(h["To"]) != 1 {
		t.Errorf("header %v", h)
	}
	if id := w.events.all(event.Accepted)[1].QueueID; len(h["Message-Id"]) != 1 ||
		h.Get("Message-Id") != "<"+id+"@relay.example.test>" {
		t.Errorf("Message-ID %q", h["Message-Id"])
	}
	if len(h["From"]) != 1 || h.Get("From") != "<app@example.test>" {
		t.Errorf("From %q", h["From"])
	}
	c.transact(
		"From: app@example.test\r\nDate: yesterday\r\n\r\nhi\r\n", "app@example.test",
		"x@elsewhere.test",
	)
	if h := fields(t, w.out.wait(t, 3)[2].content); len(h["Date"]) != 1 ||
		h.Get("Date") != "yesterday" {
		t.Errorf("Date %q", h["Date"])
	}
}

// TestNoFrom checks that a submission without a From field gets that of its
// sender, and is refused without one.
func TestNoFrom(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var seen string
	w := start(t, func(c *relay.Config) {
		c.DKIM = []msgauth.Key{{Domain: "example.test", Selector: "ed", Signer: key}}
		c.CompleteAddresses = true
		c.Policy.Message = func(_ context.Context, _ *relay.Session, m *relay.Incoming) error {
			seen = string(m.Header)
			return nil
		}
	})
	const content = "Subject: x\r\n\r\nhi\r\n"
	c := w.dial(t, "users")
	c.Play(login)
	if got := c.transact(
		content, "app@example.test", "x@elsewhere.test",
	); !strings.HasPrefix(got, "250") {
		t.Fatal(got)
	}
	got := w.out.wait(t, 1)[0].content
	if !strings.HasSuffix(got, "\r\nFrom: <app@example.test>\r\n"+content) ||
		!strings.HasPrefix(seen, "From: <app@example.test>\r\n") {
		t.Errorf("queued %q, shown %q", got, seen)
	}
	if s := signatures(got); len(s) != 1 {
		t.Errorf("signatures %v", s)
	} else {
		verify(t, got, s[0], key.Public())
	}
	if got := c.transact(content, "",
		"x@elsewhere.test"); got != "550 5.6.0 Message has no From field" {
		t.Errorf("from nobody: %s", got)
	}

	for i, body := range []string{content, "no header\r\n", ""} {
		if _, err := w.relay.Submit(
			t.Context(),
			&relay.Message{
				From: "app", To: []string{"x@elsewhere.test"}, Content: strings.NewReader(body),
			},
		); err != nil {
			t.Fatal(err)
		}
		if got := w.out.wait(t, i+2)[i+1].content; fields(
			t, got,
		).Get("From") != "<app@example.test>" || !strings.HasSuffix(got, body) {
			t.Errorf("%q became %q", body, got)
		}
	}
	_, err = w.relay.Submit(
		t.Context(),
		&relay.Message{To: []string{"x@elsewhere.test"}, Content: strings.NewReader(content)},
	)
	if r, ok := errors.AsType[*relay.ReplyError](err); !ok || r.Code != 550 ||
		r.Enhanced != "5.6.0" {
		t.Errorf("from nobody: %v", err)
	}

	// What a host relays is its own affair.
	w.dial(t, "apps").transact(content, "", "x@elsewhere.test")
	if got := w.out.wait(t, 5)[4].content; strings.Contains(got, "From:") ||
		!strings.HasSuffix(got, content) {
		t.Errorf("a relayed message was changed: %q", got)
	}
}

// TestCompletedDisplayName keeps what stands before a comma in a name from
// being taken for an address, and completes the addresses that are.
func TestCompletedDisplayName(t *testing.T) {
	w := start(t, func(c *relay.Config) { c.CompleteAddresses = true })
	c := w.dial(t, "users")
	c.Play(login)
	for i, tt := range [][2]string{
		{"Doe, John <app@example.test>", `"Doe, John" <app@example.test>`},
		{"App <app>", "App <app@example.test>"},
		{"app, app@example.test", "app@example.test, app@example.test"},
	} {
		got := c.transact("From: "+tt[0]+"\r\n\r\nhi\r\n", "app@example.test", "x@elsewhere.test")
		if !strings.HasPrefix(got, "250") {
			t.Fatalf("%q: %s", tt[0], got)
		}
		content := w.out.wait(t, i+1)[i].content
		if !strings.Contains(content, "\r\nFrom: "+tt[1]+"\r\n") {
			t.Errorf("%q became %q", tt[0], content)
		}
	}
	for _, from := range []string{"ceo, App <app>", "ceo, app@example.test", "Doe, John <ceo>"} {
		got := c.transact("From: "+from+"\r\n\r\nhi\r\n", "app@example.test", "x@elsewhere.test")
		if !strings.HasPrefix(got, "550 5.7.60") {
			t.Errorf("%q: %s", from, got)
		}
	}
}

// TestHiddenRecipients looks for what is left of Bcc in a submission.
func TestHiddenRecipients(t *testing.T) {
	w := start(t, nil)
	_, err := w.relay.Submit(t.Context(), &relay.Message{From: "app@example.test", To: []string{
		"x@elsewhere.test",
	}, Content: strings.NewReader(
		"bCc \t:\n\thidden1@example.test,\n \t\n hidden2@example.test\nFrom: app@example.test\n" +
			"RESENT-BCC: hidden3@example.test\nBcc:\n" +
			"Bcc: hidden4@example.test,\n hidden5@example.test\n hidden6@example.test\n" +
			"X-Bcc: kept\nSubject: bcc: kept\nbcc:hidden7@example.test\n\nBcc: kept\n")})
	if err != nil {
		t.Fatal(err)
	}
	got := w.out.wait(t, 1)[0].content
	own := got[strings.Index(got, "From: app"):] // before it stands the id, which is random
	if strings.Contains(got, "hidden") || strings.Count(got, "kept") != 3 ||
		strings.Count(strings.ToLower(own), "bcc") != 3 {
		t.Errorf("content %q", got)
	}
}

// TestSignedAsSent checks that a signature covers what was folded, broken and
// completed.
func TestSignedAsSent(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(c *relay.Config) {
		c.DKIM = []msgauth.Key{{Domain: "example.test", Selector: "ed", Signer: key}}
		c.CompleteAddresses = true
	})
	_, err = w.relay.Submit(t.Context(), &relay.Message{From: "app@example.test", To: []string{
		"x@elsewhere.test",
	}, Content: strings.NewReader(
		"From: app\nTo: " + strings.Repeat("alice, ", 300) + "bob\nSubject: " + strings.Repeat(
			"word ", 400,
		) + "\nDate: \nX-Other: x\n\n" + strings.Repeat("x", 3000) + "\n")})
	if err != nil {
		t.Fatal(err)
	}
	got := w.out.wait(t, 1)[0].content
	s := signatures(got)
	if len(s) != 1 {
		t.Fatalf("signatures %v", s)
	}
	verify(t, got, s[0], key.Public())
	for line := range strings.SplitSeq(got, "\r\n") {
		if len(line) > 998 {
			t.Errorf("a line of %d octets", len(line))
		}
	}
	list, err := fields(t, got).AddressList("To")
	if err != nil || len(list) != 301 || list[300].Address != "bob@example.test" {
		t.Errorf("%d recipients, %v", len(list), err)
	}
}
