package outbound_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
	"github.com/postern-mail/postern/relay/internal/wiretest"
	"github.com/postern-mail/postern/relay/spool"
)

// A dialogue is a text file: what is asked for, what the next hop hears and
// says on each connection, and the results.
//
//	# a remark
//	from a@example.com        request: from, ascii-from, to, ascii, size, body,
//	                          return, envid, notify, orcpt, utf8, lmtp, limit,
//	                          connections, user, password, clear
//	content "Subject: x\r\n"  the content as a Go string; times 100 "line\r\n"
//	                          adds to it
//	deliver                   delivers; may come again, after more lines that
//	                          change the request
//	-- connection             what happens on the next connection, in the lines
//	                          of package wiretest
//	-- results                of every delivery in turn, a line each recipient
type dialogue struct {
	requests    []*outbound.Request
	connections [][]string
	results     []string
}

func readDialogue(t *testing.T, name string) *dialogue {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialogue{}
	hop := &connector.NextHop{Hosts: []string{"mx.example.net"}}
	now := delivery.Attempt{QueueID: "1", Message: spool.Message{From: "alice@example.com"}}
	m := &now.Message
	content := "Subject: x\r\n\r\nhi\r\n"
	var notify spool.Notify
	var orcpt string
	section := ""
	for n, line := range strings.Split(string(text), "\n") {
		fail := func(err error) {
			if err != nil {
				t.Fatalf("%s:%d: %v", name, n+1, err)
			}
		}
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if s, ok := strings.CutPrefix(line, "-- "); ok {
			if section = s; s == "connection" {
				d.connections = append(d.connections, nil)
			}
			continue
		}
		switch section {
		case "connection":
			last := len(d.connections) - 1
			d.connections[last] = append(d.connections[last], line)
			continue
		case "results":
			d.results = append(d.results, line)
			continue
		}
		key, arg, _ := strings.Cut(line, " ")
		switch key {
		case "from":
			m.From = arg
		case "to":
			now.Recipients = append(
				now.Recipients, spool.Recipient{Address: arg, Notify: notify, Original: orcpt},
			)
		case "size":
			m.Size, err = strconv.ParseInt(arg, 10, 64)
			fail(err)
		case "body":
			m.Body = spool.Body(arg)
		case "return":
			m.Return = spool.Return(arg)
		case "envid":
			m.EnvelopeID = arg
		case "notify":
			notify, err = spool.ParseNotify(arg)
			fail(err)
		case "orcpt":
			orcpt = arg
		case "utf8":
			m.UTF8 = true
		case "lmtp":
			hop.LMTP = true
		case "user":
			hop.Username = arg
		case "password":
			hop.Password = arg
		case "clear":
			hop.AllowPlaintextAuth = true
		case "connections":
			hop.MaxConnections, err = strconv.Atoi(arg)
			fail(err)
		case "limit":
			hop.MessagesPerConnection, err = strconv.Atoi(arg)
			fail(err)
		case "content":
			content, err = strconv.Unquote(arg)
			fail(err)
		case "times":
			count, s, _ := strings.Cut(arg, " ")
			k, err := strconv.Atoi(count)
			fail(err)
			s, err = strconv.Unquote(s)
			fail(err)
			content += strings.Repeat(s, k)
		case "deliver":
			a, body := now, content
			a.Open = func(context.Context) (io.ReadCloser, error) {
				return io.NopCloser(strings.NewReader(body)), nil
			}
			d.requests = append(d.requests, &outbound.Request{Attempt: &a, Hop: hop})
		default:
			fail(fmt.Errorf("unknown key %q", key))
		}
	}
	return d
}

// play runs a dialogue.
func play(t *testing.T, name string) {
	d := readDialogue(t, name)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i, script := range d.connections {
			c, err := l.Accept()
			if err != nil {
				t.Errorf("connection %d was not made", i+1)
				return
			}
			err = follow(c, script)
			c.Close()
			if err != nil {
				t.Errorf("connection %d: %v", i+1, err)
			}
		}
		l.Close()
	}()
	c := newClient(t, dialTo(l.Addr().String()))
	var got []delivery.Result
	for _, r := range d.requests {
		got = append(got, c.Deliver(t.Context(), r)...)
	}
	c.Close()
	l.Close()
	<-done
	expect(t, got, d.results...)
}

// follow plays the next hop's part on a connection, to its end.
func follow(c net.Conn, script []string) error {
	_, r, err := speak(c, script)
	if err != nil {
		return err
	}
	rest, _ := io.ReadAll(r)
	if s := string(rest); s != "" && s != "QUIT\r\n" {
		return fmt.Errorf("heard %q at the end", s)
	}
	return nil
}

// speak plays the next hop's part on a connection and returns what is left of
// it.
func speak(c net.Conn, script []string) (net.Conn, *bufio.Reader, error) {
	s := wiretest.Join(nil, c, wiretest.Server)
	s.TLS = selfSigned()
	for _, line := range script {
		if err := s.Do(line); err != nil {
			return s.Conn(), s.Reader(), err
		}
	}
	s.Sent()
	return s.Conn(), s.Reader(), nil
}

// dialogues plays the files that match a pattern.
func dialogues(t *testing.T, pattern string) {
	names, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no dialogues %s (%v)", pattern, err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) { play(t, name) })
	}
}

func TestDialogues(t *testing.T) { dialogues(t, "smtp-*.txt") }

func TestLMTP(t *testing.T) { dialogues(t, "lmtp-*.txt") }
