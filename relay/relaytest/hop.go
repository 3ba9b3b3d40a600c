package relaytest

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
)

// Stage is where a conversation with a [Hop] stands.
type Stage string

// The stages at which a [Hop] can be scripted.
const (
	Connect Stage = "connect" // before the banner
	Hello   Stage = "hello"   // at EHLO, HELO or LHLO
	Auth    Stage = "auth"
	Mail    Stage = "mail"
	Rcpt    Stage = "rcpt"
	Content Stage = "content" // behind the content; with LMTP once for each recipient
)

// Step is one step of a conversation, as a script sees it.
type Step struct {
	Stage Stage
	// Session numbers the connections of the hop, Transaction the MAIL commands
	// of the session, both from 1.
	Session, Transaction int
	// Attempt counts how often the hop has come to this stage with this
	// recipient, or where there is none with this sender, over all sessions,
	// from 1.
	Attempt int
	// From is the reverse-path and To the recipient, as far as they are known.
	From, To string
	// TLS tells that the connection is encrypted.
	TLS bool
}

// Answer is what a script answers to a [Step]. The zero Answer takes the
// command.
type Answer struct {
	reply *smtp.SMTPError
	cut   bool
	stall bool
	takes bool
}

// Reply answers with a reply, such as 451, "4.7.1", "Try again later". At
// Connect a reply ends the connection, and so does 421 everywhere.
func Reply(code int, enhanced, text string) Answer {
	return Answer{reply: &smtp.SMTPError{
		Code: code, EnhancedCode: enhancedCode(enhanced), Message: text,
	}}
}

// Cut ends the connection without a reply.
func Cut() Answer { return Answer{cut: true} }

// Stall says nothing more on this connection until the hop ends.
func Stall() Answer { return Answer{stall: true} }

// Taking returns the answer of a host that takes the message all the same, as
// one whose reply is lost on the way does. It counts behind the content.
func (a Answer) Taking() Answer {
	a.takes = true
	return a
}

// line is the reply as go-smtp would write it.
func (a Answer) line() string {
	r := a.reply
	if r.EnhancedCode == smtp.NoEnhancedCode {
		return fmt.Sprintf("%03d %s\r\n", r.Code, r.Message)
	}
	e := r.EnhancedCode
	return fmt.Sprintf("%03d %d.%d.%d %s\r\n", r.Code, e[0], e[1], e[2], r.Message)
}

func enhancedCode(s string) smtp.EnhancedCode {
	var code smtp.EnhancedCode
	for i, part := range strings.SplitN(s, ".", 3) {
		n, err := strconv.Atoi(part)
		if err != nil {
			return smtp.NoEnhancedCode
		}
		code[i] = n
	}
	return code
}

// Hop is a next hop: an SMTP or LMTP server on a [Network] that keeps what it
// takes and answers as its script says. Set the fields, then call Start.
type Hop struct {
	// Name is its host name, in banner and EHLO. Defaults to "hop.test".
	Name string
	// Address is the IP address and port that it listens on. Required.
	Address string
	// Script answers the steps of the conversations. It is called from many
	// goroutines. Defaults to nil: everything is taken.
	Script func(Step) Answer
	// TLS offers STARTTLS. Defaults to nil: it is not offered.
	TLS *tls.Config
	// LMTP speaks RFC 2033. Defaults to false.
	LMTP bool
	// DSN, SMTPUTF8 and BinaryMIME offer the extensions of RFC 3461, 6531 and
	// 3030. PIPELINING, CHUNKING and 8BITMIME are always offered.
	DSN, SMTPUTF8, BinaryMIME bool
	// Users are the names and passwords that may log on, by PLAIN. Defaults to
	// nil: AUTH is not offered.
	Users map[string]string
	// OnTaken is called with each message that is taken, before the answer.
	// Defaults to nil.
	OnTaken func(Taken)

	mu       sync.Mutex
	sessions int
	seen     map[string]int
	taken    []Taken
	more     chan struct{} // closed and replaced when taken grows
	done     chan struct{}
}

// Taken is a message that a [Hop] has taken. With LMTP each recipient that was
// taken has one of its own.
type Taken struct {
	From    string
	To      []string
	Content []byte
	Session int
	// Remote is the address of the peer.
	Remote netip.AddrPort
	TLS    bool
	At     time.Time
	// Told reports whether the hop answered that it took it: see
	// [Answer.Taking].
	Told bool
}

// Start begins to serve and ends with the test.
func (h *Hop) Start(t testing.TB, n *Network) *Hop {
	t.Helper()
	l, err := n.Listen(t.Context(), "tcp", h.Address)
	if err != nil {
		t.Fatalf("relaytest: Hop.Address: %v", err)
	}
	if h.Name == "" {
		h.Name = "hop.test"
	}
	h.Address = l.Addr().String()
	h.seen, h.more, h.done = make(map[string]int), make(chan struct{}), make(chan struct{})
	s := smtp.NewServer(smtp.BackendFunc(h.newSession))
	s.Domain, s.LMTP, s.TLSConfig = h.Name, h.LMTP, h.TLS
	s.EnableDSN, s.EnableSMTPUTF8, s.EnableBINARYMIME = h.DSN, h.SMTPUTF8, h.BinaryMIME
	s.AllowInsecureAuth = true
	s.MaxLineLength = 0
	s.ErrorLog = silence{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(&greeter{Listener: l, hop: h})
	}()
	t.Cleanup(func() {
		close(h.done)
		_ = l.Close() // which Serve may not have told s of yet
		_ = s.Close()
		<-ended
	})
	return h
}

// Taken returns the messages taken so far.
func (h *Hop) Taken() []Taken {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Taken(nil), h.taken...)
}

// Sessions returns how many connections there were.
func (h *Hop) Sessions() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions
}

// Wait waits until the hop has taken n messages and returns all that it has.
// After [Patience] the test fails: sleep first until a retry is due.
func (h *Hop) Wait(t testing.TB, n int) []Taken {
	t.Helper()
	all, ok := await(func() ([]Taken, <-chan struct{}, bool) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return append([]Taken(nil), h.taken...), h.more, len(h.taken) >= n
	})
	if !ok {
		t.Fatalf(
			"%s has taken %d messages in %d sessions, want %d; waited %v more",
			h.Name, len(all), h.Sessions(), n, Patience,
		)
	}
	return all
}

// take keeps a message.
func (h *Hop) take(m Taken) {
	if h.OnTaken != nil {
		h.OnTaken(m)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.taken = append(h.taken, m)
	close(h.more)
	h.more = make(chan struct{})
}

// ask runs the script for a step.
func (h *Hop) ask(s Step) Answer {
	h.mu.Lock()
	key := string(s.Stage) + " " + s.From
	if s.To != "" {
		key = string(s.Stage) + " " + s.To
	}
	h.seen[key]++
	s.Attempt = h.seen[key]
	h.mu.Unlock()
	if h.Script == nil {
		return Answer{}
	}
	return h.Script(s)
}

// greeter numbers the connections and runs their first stage.
type greeter struct {
	net.Listener
	hop *Hop
}

// hopConn is a connection with its number.
type hopConn struct {
	net.Conn
	number int
	ended  atomic.Bool // nothing more can be read
}

func (c *hopConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.ended.Store(true)
	}
	return n, err
}

func (g *greeter) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		h := g.hop
		h.mu.Lock()
		h.sessions++
		n := h.sessions
		h.mu.Unlock()
		switch a := h.ask(Step{Stage: Connect, Session: n}); {
		case a.reply != nil:
			_, _ = io.WriteString(c, a.line())
			_ = c.Close()
		case a.cut:
			_ = c.Close()
		case a.stall:
			go func() {
				<-h.done
				_ = c.Close()
			}()
		default:
			return &hopConn{Conn: c, number: n}, nil
		}
	}
}

var errCut = errors.New("relaytest: the script has cut the connection")

// newSession begins the session of a connection, at its hello.
func (h *Hop) newSession(c *smtp.Conn) (smtp.Session, error) {
	s := &session{hop: h, conn: c}
	raw := c.Conn()
	if t, ok := raw.(*tls.Conn); ok {
		raw, s.step.TLS = t.NetConn(), true
	}
	if own, ok := raw.(*hopConn); ok {
		s.step.Session, s.wire = own.number, own
	}
	if err := s.at(Hello); err != nil {
		return nil, err
	}
	return s, nil
}

// silence is a log that nobody reads: what a script does is no error.
type silence struct{}

func (silence) Printf(string, ...any) {}
func (silence) Println(...any)        {}
