//go:build unix

package clustertest_test

import (
	"io"
	"math/rand/v2"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"
)

// hop is the next hop of all relays. It takes most of what it gets and notes
// it, is slow at times, refuses and puts off some, and loses a few replies.
type hop struct {
	addr    string
	history *history
}

func newHop(t *testing.T, h *history) *hop {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	s := &hop{l.Addr().String(), h}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return s
}

// transaction is what a session of the hop knows.
type transaction struct {
	*textproto.Conn
	history *history
	host    string
	to      []string
}

func (s *hop) serve(c net.Conn) {
	defer c.Close()
	x := &transaction{Conn: textproto.NewConn(c), history: s.history}
	if x.reply("220 hop.test ESMTP") != nil {
		return
	}
	for {
		line, err := x.ReadLine()
		if err != nil || !x.answer(line) {
			return
		}
	}
}

func (x *transaction) reply(text string) error { return x.PrintfLine("%s", text) }

// answer reports whether the session goes on.
func (x *transaction) answer(line string) bool {
	verb, arg, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO":
		x.host = arg
		return x.reply("250-hop.test\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n"+
			"250 8BITMIME") == nil
	case "MAIL":
		x.to = nil
		return x.reply("250 2.1.0 ok") == nil
	case "RCPT":
		return x.reply(x.recipient(address(arg))) == nil
	case "DATA":
		return x.data()
	case "QUIT":
		_ = x.reply("221 2.0.0 bye")
		return false
	default:
		return x.reply("250 2.0.0 ok") == nil
	}
}

func address(arg string) string {
	_, arg, _ = strings.Cut(arg, "<")
	arg, _, _ = strings.Cut(arg, ">")
	return arg
}

func (x *transaction) recipient(to string) string {
	switch {
	case strings.HasPrefix(to, "refuse"):
		x.history.refuse(to)
		return "550 5.1.1 no such user"
	case rand.N(12) == 0:
		return "451 4.2.1 not now"
	}
	x.to = append(x.to, to)
	return "250 2.1.5 ok"
}

// data takes the content, or puts it off. What it takes it notes before it says
// so.
func (x *transaction) data() bool {
	if len(x.to) == 0 {
		return x.reply("554 5.5.1 no recipients") == nil
	}
	if x.reply("354 go on") != nil {
		return false
	}
	content, err := io.ReadAll(x.DotReader())
	if err != nil {
		return false
	}
	got := time.Now()
	if rand.N(25) == 0 {
		time.Sleep(time.Second + rand.N(time.Second)) // so that faults meet it
	} else {
		time.Sleep(rand.N(60 * time.Millisecond))
	}
	if rand.N(6) == 0 {
		return x.reply("451 4.3.2 not now") == nil
	}
	t := taking{
		got: got, at: time.Now(), host: x.host, replied: rand.N(100) > 0, whole: whole(content),
	}
	if t.replied {
		t.replied = x.reply("250 2.0.0 taken") == nil
	}
	x.history.take(x.to, t)
	return t.replied
}

// whole reports whether content is one of ours from its Subject to its end, or
// a report.
func whole(content []byte) bool {
	text := string(content)
	_, rest, ours := strings.Cut(text, "Subject: <")
	id, _, _ := strings.Cut(rest, ">")
	return !ours || strings.Contains(text, "report-type=delivery-status") ||
		strings.HasSuffix(text, endOf(id)+"\n")
}

func endOf(id string) string { return "end of <" + id + ">" }
