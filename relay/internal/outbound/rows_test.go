package outbound_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/spool"
)

// C1: a peer that stops reading or answering at any place holds a delivery no
// longer than the timeout of that place, and no moment longer than its context.
func TestC1Deadlines(t *testing.T) {
	ehlo := []string{"S: 220 mx", "C: EHLO relay.example.test", "S: 250 mx"}
	mail := append(ehlo, "C: MAIL FROM:<alice@example.com>", "S: 250 ok")
	rcpt := append(mail, "C: RCPT TO:<bob@example.net>", "S: 250 ok")
	data := append(rcpt, "C: DATA", "S: 354 go on")
	for _, test := range []struct {
		name   string
		script []string // then the peer neither reads nor writes
		after  time.Duration
		want   string
	}{
		{"greeting", nil, time.Minute, "temporary greeting 0 4.4.2 error"},
		{"ehlo", ehlo[:1], 2 * time.Minute, "temporary ehlo 0 4.4.2 error"},
		{"mail", mail[:4], 5 * time.Minute, "temporary mail 0 4.4.2 error"},
		{"rcpt", rcpt[:6], 5 * time.Minute, "temporary rcpt 0 4.4.2 error"},
		{"data", data[:8], 5 * time.Minute, "temporary data 0 4.4.2 error"},
		// The write is given up after 3 minutes and a reply that may be there
		// is waited for another 5 seconds.
		{"content", data, 3*time.Minute + 5*time.Second, "temporary content 0 4.4.2 error"},
		{
			"final", append(data, `C> hi\r\n.\r\n`), 10 * time.Minute,
			"temporary data 0 4.4.2 error",
		},
	} {
		for _, cancel := range []bool{false, true} {
			name := test.name
			if cancel {
				name += "/cancel"
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					ctx, stop := context.WithCancel(context.Background())
					defer stop()
					hold := make(chan struct{})
					c := newClient(t, dialPipe(func(nc net.Conn) {
						defer nc.Close()
						speak(nc, test.script)
						<-hold
					}))
					begin := time.Now()
					want := test.after
					if cancel {
						want = 30 * time.Second
						time.AfterFunc(want, stop)
					}
					res := c.Deliver(ctx, newRequest("hi\r\n"))
					if got := time.Since(begin); got != want {
						t.Errorf("came back after %v, want %v", got, want)
					}
					expect(t, res, test.want)
					if cancel != errors.Is(res[0].Err, context.Canceled) {
						t.Errorf("error %v", res[0].Err)
					}
					if !cancel && !errors.Is(res[0].Err, os.ErrDeadlineExceeded) {
						t.Errorf("error %v", res[0].Err)
					}
					close(hold)
				})
			})
		}
	}
}

// A peer that sends a reply octet by octet gets no more time than one that is
// silent.
func TestC1SlowReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan struct{})
		c := newClient(t, dialPipe(func(nc net.Conn) {
			defer close(gone)
			defer nc.Close()
			tick := time.NewTicker(10 * time.Second)
			defer tick.Stop()
			for range tick.C {
				if _, err := nc.Write([]byte("2")); err != nil {
					return
				}
			}
		}))
		begin := time.Now()
		expect(
			t, c.Deliver(context.Background(), newRequest("hi\r\n")),
			"temporary greeting 0 4.4.2 error",
		)
		if got := time.Since(begin); got != time.Minute {
			t.Errorf("came back after %v", got)
		}
		<-gone
	})
}

// C2: content arrives as it is stored, however the peer takes it.
func TestC2ContentAsStored(t *testing.T) {
	long := bytes.Repeat([]byte("."), 5000)
	line := strings.Repeat("\r\n.", 30000)
	random := make([]byte, 300<<10)
	for i := range random {
		random[i] = "a.\r\n"[rand.N(4)]
	}
	for name, content := range map[string]string{
		"empty":     "",
		"dot":       ".\r\n",
		"dots":      "..\r\n.\r\n...\r\n",
		"text":      "Subject: x\r\n\r\nhi\r\n",
		"long line": string(long) + "\r\n",
		"many dots": line + "\r\n",
		"large":     strings.Repeat("Twenty-five octets here\r\n", 20000) + ".\r\n",
		"8 bit":     "Subject: x\r\n\r\n\xff\xfe\x00\r\n",
		"crlf random": strings.ReplaceAll(
			strings.NewReplacer("\r", "", "\n", "\r\n").Replace(string(random)), "\x00", "",
		) + "\r\n",
	} {
		for _, ext := range []string{"", "PIPELINING", "CHUNKING", "PIPELINING CHUNKING"} {
			t.Run(name+"/"+ext, func(t *testing.T) {
				s := &sink{extensions: strings.Fields("8BITMIME " + ext)}
				c := newClient(t, dialTo(listen(t, s.serve)))
				for range 2 {
					expect(t, c.Deliver(t.Context(), newRequest(content)), taken)
					if got := s.last(); string(got) != content {
						t.Fatalf("%d octets arrived, want %d", len(got), len(content))
					}
				}
				if n := s.conns.Load(); n != 1 {
					t.Errorf("%d connections", n)
				}
			})
		}
	}
}

// C2 and S9: a CR or LF on its own in a body goes out by BDAT as it is and
// never by DATA, neither at the start nor deep in the content.
func TestC2BareLineEnds(t *testing.T) {
	fill := strings.Repeat("Twenty-five octets here\r\n", 10000)
	for _, bad := range []string{
		"\n.\r\n", "a\n.\nMAIL FROM:<x@example.com>\r\n", "\r.\r\n", "a\r\r\n", "a\n", "a\r", "\r",
		"\n", "\r\n\n.\r\n",
	} {
		for _, body := range []string{bad, fill + bad, bad + fill} {
			content := "Subject: x\r\n\r\n" + body
			s := &sink{extensions: []string{"PIPELINING"}}
			c := newClient(t, dialTo(listen(t, s.serve)))
			expect(
				t, c.Deliver(t.Context(), newRequest(content)), "permanent content 0 5.6.11 error",
			)
			if n := s.accepted.Load(); n != 0 {
				t.Errorf("%q: %d messages arrived", bad, n)
			}
			s.extensions = []string{"CHUNKING"}
			c = newClient(t, dialTo(listen(t, s.serve)))
			expect(t, c.Deliver(t.Context(), newRequest(content)), taken)
			if string(s.last()) != content {
				t.Errorf("%q arrived changed", bad)
			}
		}
	}
}

// C3: a reply without end costs no memory.
func TestC3ReplyLimits(t *testing.T) {
	dialogues(t, "c3-*.txt")
	for name, endless := range map[string]string{
		"line":  strings.Repeat("2", 1<<16),
		"lines": strings.Repeat("220-"+strings.Repeat("x", 1000)+"\r\n", 64),
	} {
		t.Run(name, func(t *testing.T) {
			sent := make(chan int64, 1)
			addr := listen(t, func(c net.Conn) {
				defer c.Close()
				var n int64
				for {
					k, err := io.WriteString(c, endless)
					if n += int64(k); err != nil {
						sent <- n
						return
					}
				}
			})
			c := newClient(t, dialTo(addr))
			expect(
				t, c.Deliver(t.Context(), newRequest("hi\r\n")), "temporary greeting 0 4.4.2 error",
			)
			<-sent
		})
	}
}

// C4: TLS is made and checked, with the right name in EHLO, before anything of
// the message is said.
func TestC4HandshakeFirst(t *testing.T) {
	s := &sink{extensions: []string{"STARTTLS"}, tls: selfSigned()}
	c := newClient(t, dialTo(listen(t, s.serve)))
	r := newRequest("hi\r\n")
	r.Hop.TLS = connector.TLSDomainValidation
	expect(t, c.Deliver(t.Context(), r), "temporary starttls 0 4.7.5 error")
	s.mu.Lock()
	defer s.mu.Unlock()
	if got := strings.Join(s.verbs, " "); got != "EHLO STARTTLS" {
		t.Errorf("verbs %s", got)
	}
}

// C5: extension keywords are read without regard to case.
func TestC5KeywordCase(t *testing.T) { dialogues(t, "c5-*.txt") }

// C6: a transaction is one round trip for the envelope, and connections are
// used again without another EHLO.
func TestC6Pipelining(t *testing.T) {
	dialogues(t, "c6-*.txt")
	writes := make(chan string, 100)
	s := &sink{extensions: []string{"PIPELINING"}}
	dial := dialTo(listen(t, s.serve))
	c := newClient(t, func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := dial(ctx, network, addr)
		return tap{nc, writes}, err
	})
	r := newRequest("hi\r\n", "a@example.net", "b@example.net")
	for range 2 {
		for _, res := range c.Deliver(t.Context(), r) {
			if show(res) != taken {
				t.Errorf("%s", show(res))
			}
		}
	}
	c.Close()
	envelope := "MAIL FROM:<alice@example.com>\r\nRCPT TO:<a@example.net>\r\nRCPT " +
		"TO:<b@example.net>\r\nDATA\r\n"
	for _, want := range []string{
		"EHLO relay.example.test\r\n", envelope, "hi\r\n.\r\n", envelope, "hi\r\n.\r\n", "QUIT\r\n",
	} {
		if got := <-writes; got != want {
			t.Errorf("write %q, want %q", got, want)
		}
	}
}

type tap struct {
	net.Conn
	writes chan<- string
}

func (t tap) Write(p []byte) (int, error) {
	t.writes <- string(p)
	return t.Conn.Write(p)
}

// C6: an envelope that does not fit the buffers between the two sides is not
// sent in one piece.
func TestC6ManyRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{extensions: []string{"PIPELINING"}}
		c := newClient(t, dialPipe(s.serve))
		to := make([]string, 2500)
		for i := range to {
			to[i] = strings.Repeat("r", 1+i%64) + "@example.net"
		}
		for _, res := range c.Deliver(context.Background(), newRequest("hi\r\n", to...)) {
			if show(res) != taken {
				t.Fatal(show(res))
			}
		}
		if n := s.accepted.Load(); n != 1 {
			t.Errorf("%d messages, want 1", n)
		}
	})
}

// C7: what the peer cannot do is decided before anything is sent.
func TestC7DecideBeforeSending(t *testing.T) { dialogues(t, "c7-*.txt") }

// C7: nothing in a request can end its place on the wire.
func TestC7Injection(t *testing.T) {
	const address, parameter = "permanent rcpt 0 5.1.3 error", "permanent rcpt 0 5.5.4 error"
	for _, a := range []string{
		"", "a@b\r\nRSET", "a@b\n", "a\x00@b", "a@b>", "<a@b", "a b@c", "a@b> SIZE=1", `"a`, `"a\`,
		`"a\"@b`, `a\ b@c`, "a@b\x7f",
		strings.Repeat("a", 1001),
	} {
		s := &sink{}
		c := newClient(t, dialTo(listen(t, s.serve)))
		expect(t, c.Deliver(t.Context(), newRequest("hi\r\n", a)), address)
		expect(t, c.Deliver(t.Context(), newRequest("hi\r\n", a, "ok@example.net")), address, taken)
		r := newRequest("hi\r\n")
		if r.Message.From = a; a != "" {
			expect(t, c.Deliver(t.Context(), r), "permanent mail 0 5.1.7 error")
		}
		s.mu.Lock()
		if got := strings.Join(s.verbs, " "); !strings.HasPrefix("EHLO MAIL RCPT DATA QUIT", got) &&
			a != "" {
			t.Errorf("%q: verbs %s", a, got)
		}
		s.mu.Unlock()
	}
	r := newRequest("hi\r\n")
	r.Recipients[0].Original = "rfc822;a\n"
	expect(t, newClient(t, nil).Deliver(t.Context(), r), parameter)
	for _, change := range []func(*outbound.Request){
		func(r *outbound.Request) { r.Message.EnvelopeID = "x\r\n" },
		func(r *outbound.Request) { r.Message.Return = "FULL X=1" },
	} {
		r := newRequest("hi\r\n")
		change(r)
		expect(t, newClient(t, nil).Deliver(t.Context(), r), "permanent mail 0 5.5.4 error")
	}
	r = newRequest("hi\r\n")
	r.Hop.FQDN = "relay\r\nRSET"
	s := &sink{}
	expect(
		t, newClient(t, dialTo(listen(t, s.serve))).Deliver(t.Context(), r),
		"temporary ehlo 0 4.3.5 error",
	)
}

// C8: a reply in the midst of the content is found although the peer has
// closed.
func TestC8EarlyReply(t *testing.T) {
	for _, ext := range []string{"HELP", "CHUNKING", "BINARYMIME"} {
		t.Run(ext, func(t *testing.T) {
			binary := ext == "BINARYMIME"
			c := newClient(t, dialTo(listen(t, func(c net.Conn) {
				defer c.Close()
				script := []string{
					"S: 220 mx", "C: EHLO relay.example.test", "S: 250-mx", "S: 250 " + ext,
					"C: MAIL FROM:<alice@example.com>", "S: 250 ok",
					"C: RCPT TO:<bob@example.net>", "S: 250 ok", "C: DATA", "S: 354 go on",
				}
				if binary {
					script[3], script[4] = `S> 250-CHUNKING\r\n250 BINARYMIME\r\n`,
						script[4]+" BODY=BINARYMIME"
					script = script[:len(script)-2]
				}
				speak(c, script)
				io.ReadFull(c, make([]byte, 1000))
				io.WriteString(c, "552 5.3.4 too large\r\n")
				c.(*net.TCPConn).CloseWrite()
				c.(*net.TCPConn).SetLinger(0)
				c.Read(make([]byte, 1)) // the reply is on its way before the reset
			})))
			content := strings.Repeat("Twenty-five octets here\r\n", 1<<20)
			r := newRequest(content)
			if binary {
				r.Message.Body = spool.BodyBinaryMIME
			}
			expect(t, c.Deliver(t.Context(), r), `permanent data 552 5.3.4 "too large"`)
		})
	}
}
