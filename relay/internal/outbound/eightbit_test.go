package outbound_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/spool"
)

// opens counts how often the content is opened.
func opens(r *outbound.Request) *atomic.Int64 {
	var n atomic.Int64
	open := r.Open
	r.Open = func(ctx context.Context) (io.ReadCloser, error) {
		n.Add(1)
		return open(ctx)
	}
	return &n
}

// A large 8-bit message for next hops with 8BITMIME and without.
func TestEightBit(t *testing.T) {
	body := strings.Repeat(".gr\u00fcne Gr\u00fc\u00dfe = "+strings.Repeat("x", 70)+" \r\n", 5000)
	content := "Subject: x\r\n\r\n" + body
	for _, ext := range []string{"", "PIPELINING", "PIPELINING CHUNKING"} {
		s := &sink{extensions: strings.Fields(ext)}
		r := newRequest(content, "a@example.net", "b@example.net")
		opened := opens(r)
		expect(t, newClient(t, dialTo(listen(t, s.serve))).Deliver(t.Context(), r), taken, taken)
		if n := opened.Load(); n != 2 {
			t.Errorf("%q: opened %d times", ext, n)
		}
		m, err := mail.ReadMessage(bytes.NewReader(s.last()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		if err != nil || string(got) != body {
			t.Errorf("%q: %v, %d octets, want %d", ext, err, len(got), len(body))
		}
		for line := range bytes.Lines(s.last()) {
			if len(line) > 78 || bytes.ContainsFunc(line, func(r rune) bool { return r >= 0x80 }) {
				t.Fatalf("%q: line %q", ext, line)
			}
		}

		s = &sink{extensions: strings.Fields("8BITMIME " + ext)}
		r = newRequest(content)
		r.Message.Body = "8BITMIME"
		opened = opens(r)
		expect(t, newClient(t, dialTo(listen(t, s.serve))).Deliver(t.Context(), r), taken)
		if n := opened.Load(); n != 1 || string(s.last()) != content {
			t.Errorf(
				"%q with 8BITMIME: opened %d times, changed %v", ext, n,
				string(s.last()) != content,
			)
		}
	}
}

// A peer that closes makes the next attempt convert from the start, or not at
// all if the next peer takes 8 bits. The plan is made once.
func TestEightBitAgain(t *testing.T) {
	const content = "Subject: x\r\n\r\n\u00e9\r\n"
	for _, second := range []string{"", "8BITMIME"} {
		s := &sink{extensions: strings.Fields(second)}
		first := true
		c := newClient(t, dialPipe(func(nc net.Conn) {
			if !first {
				s.serve(nc)
				return
			}
			first = false
			defer nc.Close()
			speak(
				nc,
				[]string{
					"S: 220 mx", "C: EHLO relay.example.test", "S: 250 mx",
					"C: MAIL FROM:<alice@example.com>", "S: 421 4.3.2 closing",
				},
			)
		}))
		r := newRequest(content)
		r.Hop.Hosts = []string{"192.0.2.1", "192.0.2.2"}
		r.Message.Size = 0
		opened := opens(r)
		expect(t, c.Deliver(t.Context(), r), taken)
		want := content
		if second == "" {
			want = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; " +
				"charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9\r\n"
		}
		if got := string(s.last()); got != want || opened.Load() != 3 {
			t.Errorf("%q: opened %d times, got %q", second, opened.Load(), got)
		}
	}
}

// A peer without 8BITMIME gets a raw header as encoded words, and what claims
// an encoding it has not as it is. What DATA cannot carry, and a header that
// was accepted with SMTPUTF8, is not sent; the cause is told in words that are
// fit for a report.
func TestEightBitOddities(t *testing.T) {
	for _, c := range []struct {
		content string
		body    spool.Body
		want    string
		utf8    bool
	}{
		{"Subject: \u00e9\r\n\r\nx\r\n", "7BIT", "Subject: =?utf-8?q?=C3=A9?=\r\n\r\nx\r\n", false},
		{
			"Subject: \u00e9\r\n\r\nx\r\n", "",
			"message needs SMTPUTF8, which the peer does not offer", true,
		},
		{
			"Content-Type: multipart/mixed\r\n\r\n\u00e9\r\n", "8BITMIME",
			"Content-Type: multipart/mixed\r\n\r\n\u00e9\r\n", false,
		},
		{
			"Content-Transfer-Encoding: x-odd\r\n\r\n\u00e9\u00e9\r\n", "BINARYMIME",
			"Content-Transfer-Encoding: x-odd\r\n\r\n\u00e9\u00e9\r\n", false,
		},
		{
			"Content-Transfer-Encoding: x-odd\r\n\r\n\u00e9\u00e9\n", "BINARYMIME",
			"the peer does not offer BINARYMIME: content that cannot be converted to 7-bit: " +
				"8-bit octets in a part that claims an encoding", false,
		},
	} {
		s := &sink{}
		r := newRequest(c.content)
		r.Message.Body, r.Message.UTF8 = c.body, c.utf8
		res := newClient(t, dialTo(listen(t, s.serve))).Deliver(t.Context(), r)[0]
		failed := failureOf(res)
		if res.Delivered {
			if got := string(s.last()); got != c.want {
				t.Errorf("%q: got %q", c.content, got)
			}
		} else if !failed.Permanent || failed.Err == nil || failed.Err.Error() != c.want {
			t.Errorf("%q: %s, %v", c.content, show(res), res.Err)
		}
	}
	// What cannot be read is no reason to give the mail up.
	r := newRequest("")
	r.Open = func(context.Context) (io.ReadCloser, error) { return nil, io.ErrClosedPipe }
	s := &sink{}
	expect(
		t, newClient(t, dialTo(listen(t, s.serve))).Deliver(t.Context(), r),
		"temporary content 0 4.3.0 error",
	)
}

// ownSignature is one line at the top that says how long the rest is.
type ownSignature struct{ made int }

func (o *ownSignature) Remove(r io.Reader) (io.Reader, error) {
	b, err := io.ReadAll(r)
	_, rest, _ := bytes.Cut(b, []byte("\r\n"))
	return bytes.NewReader(rest), err
}

func (o *ownSignature) Sign(r io.Reader) ([]byte, error) {
	o.made++
	n, err := io.Copy(io.Discard, r)
	return fmt.Appendf(nil, "Length: %d\r\n", n), err
}

// What is converted gets signatures that fit it, made once for all hosts tried;
// what is not keeps those it has.
func TestSignaturesOfConvertedContent(t *testing.T) {
	const content = "Length: 17\r\nSubject: x\r\n\r\n\u00e9\r\n"
	const converted = "Subject: x\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A9\r\n"
	signed := fmt.Sprintf("Length: %d\r\n%s", len(converted), converted)
	for _, c := range []struct {
		ext, content, want string
		made               int
	}{
		{"", content, signed, 1},
		{"PIPELINING CHUNKING", content, signed, 1},
		{"8BITMIME", content, content, 0},
		{"", "Length: 17\r\nSubject: x\r\n\r\nx\r\n", "Length: 17\r\nSubject: x\r\n\r\nx\r\n", 0},
	} {
		s := &sink{extensions: strings.Fields(c.ext)}
		first := true
		client := newClient(t, dialPipe(func(nc net.Conn) {
			if !first {
				s.serve(nc)
				return
			}
			first = false
			defer nc.Close()
			speak(nc, []string{
				"S: 220 mx", "C: EHLO relay.example.test", "S: 250 mx",
				"C: MAIL FROM:<alice@example.com>", "S: 421 4.3.2 closing",
			})
		}))
		r, own := newRequest(c.content), &ownSignature{}
		r.Hop.Hosts = []string{"192.0.2.1", "192.0.2.2"}
		r.Message.Size, r.Signatures = 0, own
		expect(t, client.Deliver(t.Context(), r), taken)
		if got := string(s.last()); got != c.want || own.made > 1 || own.made < c.made {
			t.Errorf("%q: signed %d times, got %q", c.ext, own.made, got)
		}
	}
}

// A header longer than a block is read to its end before it is said to need
// SMTPUTF8.
func TestLongHeaderWithoutSMTPUTF8(t *testing.T) {
	long := strings.Repeat("X-Filler: "+strings.Repeat("x", 60)+"\r\n", 1000)
	for content, want := range map[string]string{
		long + "\r\nhi\r\n":                         taken,
		long + "Subject: b\u00fccher\r\n\r\nhi\r\n": "permanent mail 0 5.6.7 error",
	} {
		s := &sink{extensions: []string{"8BITMIME"}}
		c := newClient(t, dialTo(listen(t, s.serve)))
		r := newRequest(content)
		r.Message.UTF8 = true
		expect(t, c.Deliver(t.Context(), r), want)
	}
}
