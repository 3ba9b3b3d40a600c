package relay_test

import (
	"net/mail"
	"net/smtp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postern-mail/postern/relay"
)

func TestLongLines(t *testing.T) {
	w := start(t, nil)
	long := strings.Repeat("x", 998)
	for i, c := range []struct{ body, want string }{
		{"short\n", "short\r\n"},
		{long + "\nnext\n", long + "\r\nnext\r\n"},
		{long + "y\n", long + "\r\n y\r\n"},
		{
			strings.Repeat("x", 3000) + "\n",
			long + "\r\n " + long[1:] + "\r\n " + long[1:] + "\r\n " + strings.Repeat(
				"x", 8,
			) + "\r\n",
		},
		{strings.Repeat("x", 997) + "\u00e9\n", strings.Repeat("x", 997) + "\r\n \u00e9\r\n"},
	} {
		_, err := w.relay.Submit(t.Context(), &relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: iotest.HalfReader(strings.NewReader("Subject: long\n\n" + c.body)),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, got, _ := strings.Cut(w.out.wait(t, i+1)[i].content, "\r\n\r\n")
		if got != c.want {
			t.Errorf(
				"line of %d octets: got %d octets, want %d", len(c.body), len(got), len(c.want),
			)
		}
	}
	_, err := w.relay.Submit(t.Context(), &relay.Message{
		From: "app@example.test", To: []string{"x@elsewhere.test"},
		Content: strings.NewReader(
			"From: app@example.test\nSubject: " + strings.Repeat(
				"word ", 400,
			) + "\nX-Last: 1\n\nhi\n",
		),
	})
	if err != nil {
		t.Fatal(err)
	}
	content := w.out.wait(t, 6)[5].content
	for line := range strings.SplitSeq(content, "\r\n") {
		if len(line) > 998 {
			t.Errorf("a header line of %d octets", len(line))
		}
	}
	m, err := mail.ReadMessage(strings.NewReader(content))
	if err != nil || strings.Count(m.Header.Get("Subject"), "word") < 398 ||
		m.Header.Get("X-Last") != "1" {
		t.Errorf("%v: %s", err, content)
	}
	// What a host relays is its own affair.
	body := strings.Repeat("x", 1500) + "\r\n"
	if err := smtp.SendMail(
		w.addr("apps"), nil, "app@example.test", []string{"x@elsewhere.test"},
		[]byte("Subject: long\r\n\r\n"+body),
	); err != nil {
		t.Fatal(err)
	}
	if got := w.out.wait(t, 7)[6].content; !strings.HasSuffix(got, body) {
		t.Error("a relayed message was changed")
	}
}

// TestFoldedAuthors judges the authors as they stand in the header that leaves:
// a fold behind a backslash would end a quoted string, and show another author.
func TestFoldedAuthors(t *testing.T) {
	w := start(t, nil)
	c := w.dial(t, "users")
	c.Play(login)
	taken := 0
	submit := func(name string) {
		from := "From: \"" + name + ",ceo@elsewhere.test,x\" <app@example.test>"
		got := c.transact(from+"\r\n\r\nx\r\n", "app@example.test", "x@elsewhere.test")
		if !strings.HasPrefix(got, "250") {
			return // nobody else is shown
		}
		taken++
		content := w.out.wait(t, taken)[taken-1].content
		m, err := mail.ReadMessage(strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		list, err := m.Header.AddressList("From")
		if err != nil || len(list) != 1 || list[0].Address != "app@example.test" {
			t.Errorf("a name of %d octets: authors %v, %v", len(name), list, err)
		}
	}
	for n := 980; n < 1000; n++ {
		submit(strings.Repeat("A", n) + `\"`)
		submit(strings.Repeat("A", n%2) + strings.Repeat(`\\`, n/2) + `\"`)
	}
	if taken < 20 {
		t.Errorf("%d of 40 taken", taken)
	}
}

// TestLongName submits a field whose name alone is too long, which cannot be
// mended.
func TestLongName(t *testing.T) {
	w := start(t, nil)
	field := strings.Repeat("X", 1500) + ": v"
	if _, err := w.relay.Submit(
		t.Context(),
		&relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: strings.NewReader(field + "\n\nhi\n"),
		},
	); err != nil {
		t.Fatal(err)
	}
	if got := w.out.wait(t, 1)[0].content; !strings.Contains(
		strings.ReplaceAll(got, "\r\n ", ""), field,
	) {
		t.Errorf("content %q", got)
	}
}
