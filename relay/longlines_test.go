package relay_test

import (
	"bytes"
	"net/mail"
	"net/smtp"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/postern-mail/postern/relay"
)

func TestLongLines(t *testing.T) {
	w := start(t, nil)
	long := strings.Repeat("x", 998)
	for i, c := range []struct{ body, want string }{
		{"short\n", "short\r\n"},
		{long + "\nnext\n", long + "\r\nnext\r\n"},
		{long + "y\n", long + "\r\n y\r\n"},
		{strings.Repeat("x", 3000) + "\n", long + "\r\n " + long[1:] + "\r\n " + long[1:] + "\r\n " + strings.Repeat("x", 8) + "\r\n"},
		{strings.Repeat("x", 997) + "\u00e9\n", strings.Repeat("x", 997) + "\r\n \u00e9\r\n"},
	} {
		_, err := w.relay.Submit(t.Context(), &relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"}, Content: iotest.HalfReader(strings.NewReader("Subject: long\n\n" + c.body)),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, got, _ := strings.Cut(w.out.wait(t, i+1)[i].content, "\r\n\r\n")
		if got != c.want {
			t.Errorf("line of %d octets: got %d octets, want %d", len(c.body), len(got), len(c.want))
		}
	}
	_, err := w.relay.Submit(t.Context(), &relay.Message{
		From: "app@example.test", To: []string{"x@elsewhere.test"},
		Content: strings.NewReader("From: app@example.test\nSubject: " + strings.Repeat("word ", 400) + "\nX-Last: 1\n\nhi\n"),
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
	if err != nil || strings.Count(m.Header.Get("Subject"), "word") < 398 || m.Header.Get("X-Last") != "1" {
		t.Errorf("%v: %s", err, content)
	}
	// What a host relays is its own affair.
	body := strings.Repeat("x", 1500) + "\r\n"
	if err := smtp.SendMail(w.addr("apps"), nil, "app@example.test", []string{"x@elsewhere.test"}, []byte("Subject: long\r\n\r\n"+body)); err != nil {
		t.Fatal(err)
	}
	if got := w.out.wait(t, 7)[6].content; !strings.HasSuffix(got, body) {
		t.Error("a relayed message was changed")
	}
}

// FuzzLongLines checks that no line stays too long, and that taking the breaks out gives back what went in.
func FuzzLongLines(f *testing.F) {
	f.Add("line\r\n", uint16(400), uint8(3))
	f.Add("\u00e9\r\n \r\n", uint16(999), uint8(200))
	f.Fuzz(func(t *testing.T, piece string, repeat uint16, block uint8) {
		if strings.ContainsAny(piece, "\r\n") && !strings.HasSuffix(piece, "\r\n") || strings.Count(piece, "\r") != strings.Count(piece, "\r\n") || strings.Count(piece, "\n") != strings.Count(piece, "\r\n") {
			return // lines end in CRLF here
		}
		in := strings.Repeat(piece, int(repeat)%2000)
		var out bytes.Buffer
		b := relay.NewLineBreaker(&out)
		for rest := []byte(in); len(rest) > 0; {
			n := min(int(block)+1, len(rest))
			if m, err := b.Write(rest[:n]); m != n || err != nil {
				t.Fatal(m, err)
			}
			rest = rest[n:]
		}
		for line := range strings.SplitSeq(out.String(), "\r\n") {
			if len(line) > 998 {
				t.Fatalf("a line of %d octets", len(line))
			}
			if utf8.ValidString(in) && !utf8.ValidString(line) {
				t.Fatalf("a character was parted")
			}
		}
		if !strings.Contains(in, "\r\n ") && strings.ReplaceAll(out.String(), "\r\n ", "") != in {
			t.Fatal("the content has changed")
		}
	})
}
