package relay_test

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// binary sends a message with BODY=BINARYMIME, in chunks of that size, and
// returns the reply.
func (c *talk) binary(content string, size int) string {
	c.t.Helper()
	c.Play("C: MAIL FROM:<app@example.test> BODY=BINARYMIME\nS: 250\n" +
		"C: RCPT TO:<x@elsewhere.test>\nS: 250")
	for len(content) > size {
		c.Send(fmt.Sprintf("BDAT %d\r\n%s", size, content[:size]))
		content = content[size:]
		if got := c.reply(); !strings.HasPrefix(got, "250") {
			return got
		}
	}
	c.Send(fmt.Sprintf("BDAT %d LAST\r\n%s", len(content), content))
	return c.reply()
}

// TestBinaryHeader holds the header of a message, of its parts and of messages
// inside to be CRLF lines also where the body may be anything.
func TestBinaryHeader(t *testing.T) {
	const from = "From: app@example.test\r\n"
	multipart := func(part string) string {
		return from + "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + part +
			"\r\n--b--\r\n"
	}
	const bare = "550 5.6.11 Bare CR, bare LF and NUL are not allowed in a header"
	w := start(t, nil)
	taken := 0
	for _, tt := range []struct{ content, want string }{
		{from + "X-A: y\rFrom: ceo@example.test\r\n\r\nhi\r\n", bare},
		{from + "X-A: y\nFrom: ceo@example.test\r\n\r\nhi\r\n", bare},
		{from + "X-A: \x00\r\n\r\nhi\r\n", bare},
		{from + "X-A: y\n\nhi\r\n", bare},
		{from + "X-A: y\r\n\rBcc: hidden@elsewhere.test\r\n\r\nhi\r\n", bare},
		{from + "X-A: y\r\r\n\r\nhi\r\n", bare},
		{multipart("X-A: y\rContent-Type: text/html\r\n\r\nhi"), bare},
		{multipart("X-A: y\nContent-Type: text/html\r\n\r\nhi"), bare},
		{multipart("X-A: \x00\r\n\r\nhi"), bare},
		{multipart("X-A\rContent-Type: text/html\r\n\r\nhi"), bare},
		{multipart("Content-Type: message/rfc822\r\n\r\nX-A: y\rB: c\r\n\r\nhi"), bare},
		{multipart("Content-Type: multipart/mixed; boundary=c\r\n\r\n" +
			"--c\r\nX-A: y\n\r\n\r\nhi\r\n--c--"), bare},
		{from + "Content-Type: multipart/mixed; boundary=b\r\n\r\n" +
			strings.Repeat("--b\r\n\r\n", 10001),
			"550 5.6.0 Parts of the message cannot be told apart"},
		// What a body may have.
		{from + "\r\nX-A: y\rFrom: ceo@example.test\n\x00\xff", "250"},
		{multipart("Content-Type: image/png\r\nContent-Transfer-Encoding: binary\r\n\r\n" +
			"\r\n\n\r\x00\xff"), "250"},
		{multipart("\r\nX-A: y\rB: c\n\x00"), "250"},
		{multipart("Content-Type: message/rfc822\r\n\r\nX-A: y\r\n\r\nhi\r\n\n\x00"), "250"},
	} {
		for _, size := range []int{1 << 20, 7} {
			if len(tt.content) > 1000 && size < 1000 {
				continue
			}
			c := w.dial(t, "users")
			c.Play(login)
			got := c.binary(tt.content, size)
			c.Play("C: QUIT\nS: 221\nclose")
			if !strings.HasPrefix(got, tt.want) {
				t.Errorf("%.200q in chunks of %d: %s", tt.content, size, got)
			}
			if !strings.HasPrefix(got, "250") {
				continue
			}
			taken++
			_, body, _ := strings.Cut(tt.content, "\r\n\r\n")
			stored := w.out.wait(t, taken)[taken-1].content
			if !strings.HasSuffix(stored, "\r\n\r\n"+body) {
				t.Errorf("%q became %q", tt.content, stored)
			}
		}
	}
	// A relaying host is held to it too.
	got := w.dial(t, "apps").binary("X-A: y\rFrom: ceo@example.test\r\n\r\nhi\r\n", 1<<20)
	if got != bare {
		t.Errorf("from a host: %s", got)
	}
}

// TestHeaderOfEarlierVersion bounces a message that an earlier version has
// queued and no next hop may get, with a report that can be sent.
func TestHeaderOfEarlierVersion(t *testing.T) {
	for _, chunking := range []bool{false, true} {
		hop := newSink()
		t.Cleanup(hop.close)
		store := memspool.New(nil)
		w := start(t, func(c *relay.Config) {
			c.Spool = store
			c.Transport = delivery.SMTP(connector.NextHop{Hosts: []string{hop.addr()}})
		})
		now := time.Now()
		id := spool.NewID(now)
		sw, err := store.Create(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(sw, "Received: by relay; x\r\nFrom: app@example.test\r\n"+
			"X-A: y\rFrom: ceo@example.test\r\n.\r\n\r\nhi\r\n")
		if err != nil {
			t.Fatal(err)
		}
		body := spool.Body("")
		if chunking {
			body = "BINARYMIME"
		}
		err = sw.Commit(t.Context(), spool.Commit{
			Message: spool.Message{ID: id, Created: now, From: "app@example.test", Body: body,
				Return: "FULL"},
			Deliveries: []spool.Delivery{{
				Key:        spool.Key{Route: "transport"},
				Recipients: []spool.Recipient{{Address: "x@elsewhere.test"}},
				Due:        now, Expires: now.Add(time.Hour),
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
		submit(t, w.relay, "", "alice@example.test") // wakes the relay
		report := ""
		for i := 1; !strings.Contains(report, "multipart/report"); i++ {
			report = w.mailboxes.wait(t, i)[i-1].content
		}
		if strings.ContainsAny(strings.ReplaceAll(report, "\r\n", ""), "\r\n\x00") ||
			strings.Contains(report, "ceo@") ||
			!strings.Contains(report, "\r\nAction: failed\r\nStatus: 5.6.") {
			t.Errorf("report %q", report)
		}
		if len(hop.mail) != 0 {
			t.Errorf("the next hop has %+v", <-hop.mail)
		}
	}
}

// TestMailboxLine drops the line of a mailbox file from before a header,
// whichever way the message comes.
func TestMailboxLine(t *testing.T) {
	w := start(t, nil)
	const header = "From: app@example.test\r\nSubject: x\r\n"
	n := 0
	for _, line := range []string{
		"From x Mon Sep  1 00:00:00 2025\r\n", ">From x Mon Sep  1 00:00:00 2025\r\n",
		"From x\r\n>From y\r\n", "",
	} {
		content := line + header + "Bcc: hidden@elsewhere.test\r\n\r\nFrom me\r\n"
		anonymous, user := w.dial(t, "apps"), w.dial(t, "users")
		user.Play(login)
		for _, c := range []*talk{anonymous, user} {
			if got := c.transact(content, "app@example.test",
				"x@elsewhere.test"); !strings.HasPrefix(got, "250") {
				t.Fatalf("%q: %s", line, got)
			}
		}
		_, err := w.relay.Submit(t.Context(), &relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: strings.NewReader(strings.ReplaceAll(content, "\r\n", "\n")),
		})
		if err != nil {
			t.Fatal(err)
		}
		n += 3
		for _, m := range w.out.wait(t, n)[n-3:] {
			if !strings.HasSuffix(m.content, "\r\n"+header+"\r\nFrom me\r\n") ||
				strings.Contains(m.content, "hidden") ||
				strings.Contains(m.content, "From x") || strings.Contains(m.content, "From y") {
				t.Errorf("%q became %q", content, m.content)
			}
		}
	}
	// Text that begins so, and has no header, stays what it is.
	for _, content := range []string{"From me to you\r\nwith love\r\n",
		"From me\r\n\r\nSubject: x\r\n"} {
		if got := w.dial(t, "apps").transact(content, "app@example.test",
			"x@elsewhere.test"); !strings.HasPrefix(got, "250") {
			t.Fatal(got)
		}
		n++
		if got := w.out.wait(t, n)[n-1].content; !strings.HasSuffix(got, "\r\n\r\n"+content) {
			t.Errorf("%q became %q", content, got)
		}
	}
}

// TestWhiteBeforeColon holds the fields that a firewall knows to be those,
// whatever stands before the colon.
func TestWhiteBeforeColon(t *testing.T) {
	w := start(t, nil)
	c := w.dial(t, "users")
	c.Play(login)
	send := func(content string) string {
		return c.transact(content+"\r\nhi\r\n", "app@example.test", "x@elsewhere.test")
	}
	const own, hidden = "From: app@example.test\r\n", " hidden@elsewhere.test\r\n"
	for i, colon := range []string{" :", "\t:", "\r\n :", " \r\n\t \r\n :"} {
		content := "Bcc" + colon + hidden + own + "Bcc" + colon + hidden +
			"X-MS-Exchange-Organization-AuthAs" + colon + hidden + "X-A: b\r\n"
		if got := send(content); !strings.HasPrefix(got, "250") {
			t.Fatalf("%q: %s", colon, got)
		}
		stored := w.out.wait(t, i+1)[i].content
		if strings.Contains(stored, "hidden") || !strings.HasSuffix(stored,
			"\r\nX-A: b\r\n\r\nhi\r\n") {
			t.Errorf("%q became %q", content, stored)
		}
		for _, tt := range [][2]string{
			{"From" + colon + " ceo@example.test\r\n", "550 5.7.60"},
			{own + "From" + colon + " ceo@example.test\r\n", "550 5.6.0"},
			{own + "Sender" + colon + " ceo@example.test\r\n", "550 5.7.60"},
			{"X: y\r\nFrom" + colon + " app@example.test, ceo@example.test\r\n", "550 5.7.60"},
			{strings.Repeat("Received"+colon+" by a\r\n", 100) + own, "554 5.4.6"},
		} {
			if got := send(tt[0]); !strings.HasPrefix(got, tt[1]) {
				t.Errorf("%.100q: %s, want %s", tt[0], got, tt[1])
			}
		}
	}
}

// FuzzStoredHeader holds what a user sends, by Submit and with BODY=BINARYMIME,
// to have a header of CRLF lines with one From, the user's own.
func FuzzStoredHeader(f *testing.F) {
	for _, s := range []string{
		"From: app@example.test\r\n\r\nhi\r\n", "X-A: y\rFrom: ceo@example.test\r\n\r\nhi\r\n",
		"", "hi", "From x\nSubject: y\n\nhi",
		"From\r\n : app@example.test\r\n\r\n", "X\rFrom: ceo@example.test\r\n\r\n",
		"From: Doe, J <app@example.test>\r\n\r\n",
		"Subject: x\r\n\r\n\x00", "From: app@example.test\r\nBcc\r\n : x\r\n\r\n",
		"From: \"app@example.test\" <app@example.test>\n\n",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: y\rz: a\r\n\r\n--b--\r\n",
	} {
		f.Add([]byte(s))
	}
	cfg := local(newCapture(), newCapture())
	cfg.Hostname, cfg.Spool = "relay.example.test", memspool.New(nil)
	var relays [2]*relay.Relay
	for i := range relays {
		cfg.CompleteAddresses = i > 0
		cfg.DefaultDomain = "example.test"
		r, err := relay.New(cfg)
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(func() { r.Close() })
		relays[i] = r
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		message := func() *relay.Message {
			return &relay.Message{
				From: "app@example.test", To: []string{"x@elsewhere.test"},
				Content:  bytes.NewReader(content),
				Identity: &auth.Identity{User: "app@example.test"},
			}
		}
		for _, r := range relays {
			if p, err := prepare(t.Context(), r, message()); err == nil {
				stored := append(p.Commit.Prepend, p.Content...)
				rest := bytes.ReplaceAll(stored, []byte("\r\n"), nil)
				if bytes.ContainsAny(rest, "\r\n\x00") {
					t.Fatalf("%q became %q", content, stored)
				}
				checkStored(t, content, stored)
			}
			if stored, err := r.StoreBinary(t.Context(), message()); err == nil {
				checkStored(t, content, stored)
			}
		}
	})
}

var oneOrHidden = regexp.MustCompile(`(?i)(^|\r\n)(from|bcc)(\r\n[ \t]|[ \t])*:`)

// checkStored reads what became of a content of app@example.test as others may.
func checkStored(t *testing.T, content, stored []byte) {
	t.Helper()
	section, _, ok := bytes.Cut(stored, []byte("\r\n\r\n"))
	rest := bytes.ReplaceAll(section, []byte("\r\n"), nil)
	if !ok || bytes.ContainsAny(rest, "\r\n\x00") {
		t.Fatalf("%q became %q", content, stored)
	}
	found := oneOrHidden.FindAllIndex(section, -1)
	if len(found) != 1 || bytes.Contains(bytes.ToLower(section[found[0][0]:found[0][1]]),
		[]byte("bcc")) {
		t.Fatalf("%q became %q", content, stored)
	}
	value := string(section[found[0][1]:])
	for strings.Contains(value, "\r\n") {
		line, rest, _ := strings.Cut(value, "\r\n")
		if value = line; strings.HasPrefix(rest, " ") || strings.HasPrefix(rest, "\t") {
			value += rest
		}
	}
	d := mail.AddressParser{WordDecoder: &mime.WordDecoder{
		CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil },
	}}
	list, err := d.ParseList(strings.ToValidUTF8(value, "?"))
	if err != nil {
		t.Fatalf("%q became %q: %v", content, stored, err)
	}
	for _, a := range list {
		if !strings.EqualFold(a.Address, "app@example.test") {
			t.Fatalf("%q became %q: %v", content, stored, list)
		}
	}
}
