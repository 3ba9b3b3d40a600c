package relay_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// sent is a message that a sink was given.
type sent struct {
	hello   string // the name in EHLO
	from    string // with its parameters
	to      []string
	params  []string // of each RCPT
	content string
}

// sink is a next hop that follows the standards and keeps what it is given.
type sink struct {
	lmtp  bool
	noDSN bool
	seven bool // without 8BITMIME
	// reply answers a command line, or "." for the content, in the place of
	// 250.
	reply func(line string) string
	mail  chan sent
	l     net.Listener
	wg    sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
}

func newSink() *sink {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	s := &sink{l: l, mail: make(chan sent, 1000)}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, c)
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(c) })
		}
	})
	return s
}

func (s *sink) addr() string { return s.l.Addr().String() }

func (s *sink) close() {
	s.l.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

// sinkFor is a sink that ends with the test.
func sinkFor(t *testing.T, reply func(line string) string) *sink {
	s := newSink()
	s.reply = reply
	t.Cleanup(s.close)
	return s
}

func (s *sink) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	say := func(text string) { io.WriteString(c, text+"\r\n") }
	answer := func(line string) bool {
		text := "250 2.0.0 ok"
		if s.reply != nil {
			if other := s.reply(line); other != "" {
				text = other
			}
		}
		say(text)
		return text[0] == '2'
	}
	say("220 sink.example.test ESMTP")
	var m sent
	var hello string
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSuffix(line, "\r\n")
		verb, _, _ := strings.Cut(line, " ")
		switch verb {
		case "EHLO", "LHLO":
			hello = strings.TrimPrefix(line, verb+" ")
			last := "250 DSN"
			if s.noDSN {
				last = "250 HELP"
			}
			eight := "250-8BITMIME\r\n"
			if s.seven {
				eight = ""
			}
			say(
				"250-sink.example.test\r\n250-PIPELINING\r\n" + eight +
					"250-ENHANCEDSTATUSCODES\r\n250-SIZE\r\n" + last,
			)
		case "MAIL":
			m = sent{hello: hello}
			if answer(line) {
				m.from = path(line)
			}
		case "RCPT":
			if answer(line) {
				_, params, _ := strings.Cut(line, "> ")
				m.to, m.params = append(m.to, path(line)), append(m.params, params)
			}
		case "DATA":
			if len(m.to) == 0 {
				say("554 5.5.1 no valid recipients")
				continue
			}
			say("354 go on")
			var b strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				b.WriteString(strings.TrimPrefix(line, "."))
			}
			m.content = b.String()
			answers := 1
			if s.lmtp {
				answers = len(m.to)
			}
			ok := true
			for range answers {
				ok = answer(".") && ok
			}
			if ok {
				s.mail <- m
			}
		case "QUIT":
			say("221 2.0.0 bye")
			return
		default:
			say("250 2.0.0 ok")
		}
	}
}

func path(line string) string {
	_, rest, _ := strings.Cut(line, "<")
	p, _, _ := strings.Cut(rest, ">")
	return p
}

// wait returns the next message.
func (s *sink) wait(t *testing.T) sent {
	t.Helper()
	select {
	case m := <-s.mail:
		return m
	case <-time.After(time.Minute):
		t.Fatal("no message arrived")
		panic("unreachable")
	}
}
