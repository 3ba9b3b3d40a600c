package outbound_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
)

// faultyHost takes messages until its faults begin: then it does something
// wrong at one reply. A recipient with "no" in its name does not exist. Replies
// name the recipient or the message that they are for.
type faultyHost struct {
	extensions []string
	lmtp       bool
	fault      string
	at         int           // which reply, from the moment that begin is called
	runs       bool          // the octets of refused chunks are commands to it
	hold       time.Duration // before the last reply to a message

	mu    sync.Mutex
	armed bool
	said  int
	hit   bool
	conns int
	heard []string       // commands that are none
	taken map[string]int // copies, by subject and, with LMTP, recipient
}

func (h *faultyHost) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.armed, h.said = true, 0
}

// wrong tells whether the next reply is the one to go wrong.
func (h *faultyHost) wrong() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.armed || h.hit {
		return false
	}
	h.said++
	h.hit = h.said > h.at
	return h.hit
}

// session is a connection to a faultyHost.
type session struct {
	*faultyHost
	conn net.Conn
	r    *bufio.Reader
	to   []string
	mail bool
	body strings.Builder
}

func (h *faultyHost) serve(c net.Conn) {
	defer c.Close()
	s := &session{faultyHost: h, conn: c, r: bufio.NewReader(c)}
	h.mu.Lock()
	h.conns++
	h.mu.Unlock()
	io.WriteString(c, "220 mx\r\n")
	for {
		line, err := s.r.ReadString('\n')
		if err != nil || !s.command(strings.TrimSpace(line)) {
			return
		}
	}
}

// command answers one command, and reports whether there is to be another.
func (s *session) command(line string) bool {
	verb, arg, _ := strings.Cut(line, " ")
	switch verb {
	case "EHLO", "LHLO":
		io.WriteString(s.conn, "250-mx\r\n250-"+strings.Join(s.extensions, "\r\n250-"))
		_, err := io.WriteString(s.conn, "\r\n250 8BITMIME\r\n")
		return err == nil
	case "NOOP":
		_, more := s.reply("250 2.0.0 ok")
		return more
	case "RSET":
		s.reset()
		_, more := s.reply("250 2.0.0 ok")
		return more
	case "MAIL":
		if s.mail {
			_, more := s.reply("503 5.5.1 nested")
			return more
		}
		ok, more := s.reply("250 2.1.0 sender")
		s.mail = ok
		return more
	case "RCPT":
		return s.rcpt(strings.Trim(strings.TrimPrefix(arg, "TO:"), "<>"))
	case "DATA":
		return s.data()
	case "BDAT":
		return s.bdat(arg)
	case "QUIT":
		return false
	}
	s.mu.Lock()
	s.heard = append(s.heard, line)
	s.mu.Unlock()
	_, more := s.reply("500 5.5.1 what?")
	return more
}

func (s *session) reset() {
	s.mail, s.to = false, nil
	s.body.Reset()
}

func (s *session) rcpt(address string) bool {
	switch {
	case !s.mail:
		_, more := s.reply("503 5.5.1 no sender")
		return more
	case strings.Contains(address, "no"):
		_, more := s.reply("550 5.1.1 " + address)
		return more
	}
	ok, more := s.reply("250 2.1.5 " + address)
	if ok {
		s.to = append(s.to, address)
	}
	return more
}

func (s *session) data() bool {
	if len(s.to) == 0 {
		_, more := s.reply("554 5.5.1 nobody")
		return more
	}
	ok, more := s.reply("354 go on")
	if !ok || !more {
		return more
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			return false
		}
		if line == ".\r\n" {
			return s.final()
		}
		s.body.WriteString(strings.TrimPrefix(line, "."))
	}
}

func (s *session) bdat(arg string) bool {
	size, last, _ := strings.Cut(arg, " ")
	n, _ := strconv.Atoi(size)
	if len(s.to) == 0 && s.runs {
		n = 0
	}
	if _, err := io.CopyN(&s.body, s.r, int64(n)); err != nil {
		return false
	}
	if len(s.to) == 0 {
		s.body.Reset()
		_, more := s.reply("554 5.5.1 nobody")
		return more
	}
	if last == "" {
		_, more := s.reply("250 2.0.0 chunk")
		return more
	}
	return s.final()
}

// final answers the content.
func (s *session) final() bool {
	subject := strings.TrimPrefix(strings.SplitN(s.body.String(), "\r\n", 2)[0], "Subject: ")
	to := []string{""}
	if s.lmtp {
		to = s.to
	}
	defer s.reset()
	time.Sleep(s.hold)
	for _, one := range to {
		key := strings.TrimSpace(subject + " " + one)
		ok, more := s.reply("250 2.0.0 " + key)
		if ok {
			s.mu.Lock()
			s.taken[key]++
			s.mu.Unlock()
		}
		if !more {
			return false
		}
	}
	return true
}

// reply says something, or goes wrong. ok tells that it was meant as said, even
// if it did not arrive, more that the conversation goes on.
func (s *session) reply(text string) (ok, more bool) {
	say := func(text string) bool {
		_, err := io.WriteString(s.conn, text+"\r\n")
		return err == nil
	}
	if !s.wrong() {
		return true, say(text)
	}
	switch s.fault {
	case "closes before":
		return true, false
	case "closes behind":
		say(text)
		return true, false
	case "stalls":
		io.Copy(io.Discard, s.r)
		return true, false
	case "421 and closes":
		say("421 4.3.2 closing")
		return false, false
	case "421 and goes on":
		return false, say("421 4.3.2 closing")
	case "503":
		return false, say("503 5.5.1 order")
	case "twice":
		say(text)
		return true, say(text)
	case "late":
		time.Sleep(30 * time.Second)
		return true, say(text)
	case "left out":
		return true, true
	}
	panic(s.fault)
}

// pair is a request for two recipients, of whom one does not exist.
func pair(n int, lmtp bool) *outbound.Request {
	yes, no := fmt.Sprintf("yes%d@example.net", n), fmt.Sprintf("no%d@example.net", n)
	content := fmt.Sprintf("Subject: %d\r\n\r\n.hi\r\n", n)
	r := newRequest(content, yes, no)
	if n%2 == 1 {
		r = newRequest(content, no, yes)
	}
	r.Hop.MaxConnections, r.Hop.MessagesPerConnection, r.Hop.LMTP = 1, -1, lmtp
	return r
}

// mode is a way in which messages go out.
type mode struct {
	name       string
	extensions string
	lmtp       bool
	replies    int // to be had for six messages, about
}

var modes = []mode{
	{"plain", "HELP", false, 26},
	{"pipelined", "PIPELINING", false, 26},
	{"LMTP", "PIPELINING", true, 26},
	{"chunked", "CHUNKING PIPELINING", false, 32},
}

var faults = []string{
	"closes before", "closes behind", "stalls", "421 and closes", "421 and goes on", "503",
	"twice", "late", "left out",
}

// Whatever a peer does wrong, at whatever reply: each recipient has a result in
// time and no other's reply, and each message is taken once at most, or its
// reply was lost.
func TestEachStageGoesWrong(t *testing.T) {
	for _, m := range modes {
		for _, fault := range faults {
			t.Run(m.name+"/"+fault, func(t *testing.T) {
				for at := range m.replies {
					h := &faultyHost{fault: fault, at: at}
					synctest.Test(t, func(t *testing.T) { h.try(t, m) })
				}
			})
		}
	}
}

// try delivers six messages on one connection, on which something goes wrong.
func (h *faultyHost) try(t *testing.T, m mode) {
	h.extensions, h.lmtp = strings.Fields(m.extensions), m.lmtp
	h.taken = make(map[string]int)
	c := newClient(t, afar(dialPipe(h.serve), time.Millisecond))
	var wg sync.WaitGroup
	for n := range 6 { // warm: ahead, and chunks too
		wg.Go(func() { h.check(t, c, 100+n, m) })
	}
	wg.Wait()
	h.begin()
	begin := time.Now()
	for n := range 6 {
		wg.Go(func() { h.check(t, c, n, m) })
	}
	wg.Wait()
	// The last reply has ten minutes, and what waits for a place two more.
	if d := time.Since(begin); d > 13*time.Minute {
		t.Errorf("back after %v", d)
	}
	c.Close()
	time.Sleep(time.Minute)
	if t.Failed() {
		t.Logf("at reply %d", h.at)
	}
}

// check delivers one message and compares its results with what was said.
func (h *faultyHost) check(t *testing.T, c *outbound.Client, n int, m mode) {
	r := pair(n, m.lmtp)
	for i, res := range c.Deliver(context.Background(), r) {
		h.compare(t, n, r.Recipients[i].Address, res)
	}
}

func (h *faultyHost) compare(t *testing.T, n int, to string, res delivery.Result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key := strconv.Itoa(n)
	if h.lmtp {
		key += " " + to
	}
	copies, exists := h.taken[key], strings.HasPrefix(to, "yes")
	e := failureOf(res)
	switch {
	case !res.Delivered && res.Err == nil:
		t.Errorf("%s: no result", to)
	case copies > 1:
		t.Errorf("%s: %d copies", to, copies)
	case res.Delivered && (!exists || copies != 1 || res.Reply.Text != key):
		t.Errorf("%s: %s, but %d copies", to, show(res), copies)
	case res.Delivered:
	case e.Permanent && h.fault == "503" && e.Reply.Code == 503: // as it said
	case e.Permanent && (exists || e.Reply.Text != to):
		t.Errorf("%s: %s", to, show(res))
	case exists && copies == 1 && e.Reply.Code != 0:
		t.Errorf("%s: taken, and %s", to, show(res))
	}
}
