package outbound_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// moody is a host that now and then closes, refuses, is slow, or says a reply
// twice or octet by octet, and offers something else on each connection.
type moody struct {
	net.Conn
	*bufio.Reader
}

// say reports whether the host goes on.
func (m *moody) say(text string) bool {
	var err error
	switch n := rand.IntN(50); n {
	case 0:
		return false
	case 1:
		text = "421 4.7.0 bye\r\n"
	case 2:
		text = "451 4.7.0 too many connections\r\n"
	case 3:
		time.Sleep(4900 * time.Millisecond)
	case 4:
		text += text
	case 5:
		for ; len(text) > 1 && err == nil; text = text[1:] {
			_, err = io.WriteString(m.Conn, text[:1])
		}
	}
	if err == nil {
		_, err = io.WriteString(m.Conn, text)
	}
	return err == nil
}

func (m *moody) serve() {
	defer m.Conn.Close()
	offers := []string{"PIPELINING\r\n250 CHUNKING", "PIPELINING", "CHUNKING", "HELP"}
	for ok := m.say("220 mx\r\n"); ok; {
		line, err := m.ReadString('\n')
		verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		size := 0
		switch {
		case err != nil:
			return
		case verb == "EHLO":
			offer := strings.ReplaceAll(offers[rand.IntN(len(offers))], "250 ", "250-")
			ok = m.say("250-mx\r\n250-" + offer + "\r\n250 DSN\r\n")
		case verb == "MAIL":
			ok = m.say("250 2.1.0 ok\r\n")
		case verb == "RCPT":
			ok = m.say("250 2.1.5 ok\r\n")
		case verb == "BDAT":
			fmt.Sscan(arg, &size)
			m.Discard(size)
			reply := "250 2.0.0 taken\r\n"
			if size == len("XSKIP\r\n") {
				reply = "503 5.5.1 nobody is to get it\r\n"
			}
			ok = m.say(reply)
		case verb == "DATA":
			for ok = m.say("354 go\r\n"); ok && err == nil && line != ".\r\n"; {
				line, err = m.ReadString('\n')
			}
			ok = ok && m.say("250 2.0.0 taken\r\n")
		default:
			ok = m.say("250 2.0.0 ok\r\n")
		}
	}
}

// Whatever a host does in the midst of transactions that go ahead of each
// other, each delivery has its result in time, and in the end no connection is
// open or counted.
func TestMoodyHostLeavesNothingBehind(t *testing.T) {
	const messages, together = 3000, 40
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, dialPipe(func(n net.Conn) {
			(&moody{n, bufio.NewReader(n)}).serve()
		}))
		var all sync.WaitGroup
		places := make(chan bool, together)
		for n := range messages {
			places <- true
			all.Go(func() {
				defer func() { <-places }()
				patience := time.Hour
				if n%50 == 0 {
					patience = time.Duration(rand.IntN(1000)) * time.Millisecond
				}
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				r := numbered(n)
				r.Hop.MaxConnections = 6
				if got := c.Deliver(ctx, r)[0]; !got.Delivered && got.Err == nil {
					t.Errorf("message %d has no result", n)
				}
			})
		}
		all.Wait()
		time.Sleep(time.Minute) // longer than connections are idle
		r := numbered(0)
		r.Hop.MaxConnections = 6
		if n := c.Connections(r.Hop, []string{r.Domain}); n > 0 {
			t.Errorf("%d connections are still counted", n)
		}
	})
}
