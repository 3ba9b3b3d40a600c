package smtpd

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postern-mail/postern/connector"
)

const (
	maxCommand = 2048  // octets of a command line
	maxSASL    = 12288 // octets of a SASL line, RFC 4954 section 4
	smallInput = 2048  // input buffer of an idle session
	largeInput = 32 << 10
	maxOutput  = 4096 // replies kept back while commands are waiting

	maxUseless = 100 // commands that bring no message forward
	maxRefused = 100 // senders and recipients refused since the last message

	writeTimeout     = time.Minute
	handshakeTimeout = 30 * time.Second
	lingerTimeout    = 2 * time.Second
	// dataPause is how long the refusal of DATA waits for content that a client
	// sends without it.
	dataPause    = 100 * time.Millisecond
	lingerOctets = 1 << 20
)

var errEnd = errors.New("smtpd: session ended")

// guard owns a connection. But for dismiss and abort, its methods run on the
// goroutine of the session.
type guard struct {
	srv    *Server
	pol    *Policy
	log    *slog.Logger
	sess   Session
	raw    net.Conn // the socket
	rw     net.Conn // the socket, or TLS on it
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	idle    bool // may be told to go: set when the last read began
	closing bool // the server shuts down

	in    []byte // input is in[r:w]
	r, w  int
	large *[largeInput]byte // behind in, when small is not enough
	small [smallInput]byte
	out   []byte // replies not yet written

	feed     string // what go-smtp is to read
	waiting  bool   // go-smtp was fed a command that must reach the session
	handover bool   // go on with a fresh link
	skipping bool   // in a line already refused for a bare LF
	odd      string // verbs that the log was told of: see tolerated
	hangup   bool   // end after flushing
	deaf     bool   // a write failed: there is nobody to talk to
	linger   bool   // the client may still be sending: let it read the last reply first
	opened   bool
	told     bool // the backend knows of the connection
	admitted bool
	shut     bool
	header   header
	spoken   bool // by XCLIENT: the other end of TLS and the client are two different hosts
	served   *x509.Certificate

	ends        time.Time // end of the connection timeout; zero when off
	writeUntil  time.Time // write deadline in force
	ext         extensions
	exchange    *exchange
	transaction *Mail
	rcpt        Rcpt
	held        int64 // of the policy's memory, for the transaction
	content     content

	mailRefused bool // pipelined RCPT and DATA follow a refused MAIL
	rcptRefused bool
	dataRefused bool // by the last command
	// Counted since the last message.
	errors  int // protocol errors
	useless int
	refused int

	logons   int // failed
	messages int
}

func newGuard(s *Server, pol *Policy, c net.Conn, sess Session) *guard {
	g := &guard{srv: s, pol: pol, log: s.log, sess: sess, raw: c, rw: c}
	g.in = g.small[:]
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// admit gives the session its connector and counts it there, or says why it may
// not be.
func (g *guard) admit(con *connector.Connector) *Reply {
	s := &g.sess
	if MustEncrypt(g.pol.RequireEncryption, s.Remote.Addr(), addrPort(g.raw.RemoteAddr()).Addr()) {
		con = Encrypting(con)
	}
	s.Connector, s.Limits = con, con.Limits.WithDefaults(con.Usage)
	g.ext = supported(con.SuppressedKeywords)
	g.ends = time.Time{}
	if d := s.Limits.ConnectionTimeout; d > 0 {
		g.ends = time.Now().Add(d)
	}
	g.rights()
	if r := g.crowded(); r != nil {
		return r
	}
	r := g.srv.quota.admit(con.Name, s.Limits, s.Remote.Addr(), time.Now())
	g.admitted = r == nil
	return r
}

// rights recomputes what the session may do.
func (g *guard) rights() {
	p := connector.Peer{TLS: g.sess.TLS != nil}
	if id := g.sess.Identity; id != nil {
		p.Authenticated, p.User, p.Groups, p.Server = true, id.User, id.Groups, id.Server
	}
	p.Names = g.names()
	g.sess.Rights = g.sess.Connector.Rights(p)
}

// step carries the session on until there is something for go-smtp to do, and
// returns that; empty when the session is over.
func (g *guard) step() string {
	if g.waiting {
		// go-smtp refused what the guard let pass. One of them is wrong.
		g.log.Error("smtp state out of step", "session", g.sess.ID)
		g.goodbye(421, "4.3.0", "Internal error")
	}
	if !g.opened && !g.hangup {
		g.opened = true
		g.open()
	}
	for !g.hangup && !g.handover {
		if g.exchange != nil && g.exchange.running {
			if feed := g.saslLine(); feed != "" {
				return feed
			}
			continue
		}
		line, err := g.line(maxCommand)
		if err != nil {
			break
		}
		if feed := g.command(string(line)); feed != "" {
			return feed
		}
	}
	g.flush()
	return ""
}

// open is the first that a session does: TLS where it comes first, the
// backend's word, the banner.
func (g *guard) open() {
	if g.header == headerExpected && !g.proxied() {
		g.hangup = true
		return
	}
	if g.sess.Connector.ImplicitTLS && !g.handshake() {
		return
	}
	g.rights()
	if g.r < g.w || pending(g.raw) {
		// RFC 5321 section 4.3.1: who does not wait for the banner waits for no
		// reply.
		g.refuse(Rejection{Stage: "connect", Reply: refusal(421, "4.7.0",
			"Data sent before the greeting, closing transmission channel")})
		return
	}
	g.greet()
}

// greet asks the backend and says the banner.
func (g *guard) greet() {
	g.told = true
	r := g.ask(func() error { return g.pol.Backend.Connect(g.ctx, &g.sess) })
	if r != nil {
		g.refuse(Rejection{Stage: "connect", Reply: r})
		g.hangup = true
		return
	}
	if b := g.sess.Connector.Banner; b != "" {
		g.out = append(g.out, "220 "...)
		g.out = appendText(g.out, strings.TrimLeft(strings.TrimPrefix(b, "220"), " "))
		g.out = append(g.out, '\r', '\n')
		return
	}
	g.reply(220, "", g.fqdn()+" ESMTP Service ready")
}

func (g *guard) fqdn() string {
	if n := g.sess.Connector.FQDN; n != "" {
		return n
	}
	return g.srv.hostname
}

// handshake puts TLS on the connection, or ends it: after a failed handshake
// nothing that arrives can be trusted to be SMTP.
func (g *guard) handshake() bool {
	cfg, conn := g.pol.serving, g.raw
	if g.asks() {
		cfg = g.pol.asking
	}
	if g.r < g.w {
		// What came with the PROXY header.
		conn = &prefixed{g.raw, bytes.Clone(g.in[g.r:g.w])}
		g.r, g.w = 0, 0
	}
	w := &witness{Conn: conn}
	c := tls.Server(w, cfg)
	until := g.deadline(handshakeTimeout)
	_ = g.raw.SetWriteDeadline(until)
	g.writeUntil = time.Time{}
	g.arm(until, true)
	ctx, cancel := context.WithDeadline(g.ctx, until) // for the functions of the configuration
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		g.rejected(
			Rejection{Stage: "tls", Reply: &Reply{Cause: fmt.Errorf("TLS handshake: %w", err)}},
		)
		g.hangup = true
		return false
	}
	state := c.ConnectionState()
	g.verify(&state)
	g.rw, g.sess.TLS, g.served = c, &state, w.certificate
	return true
}

// ask calls the backend.
func (g *guard) ask(f func() error) (r *Reply) {
	defer func() {
		if v := recover(); v != nil {
			g.panicked(v)
			r = refusal(421, "4.3.0", "Internal error")
		}
	}()
	return replyTo(f())
}

func (g *guard) panicked(v any) {
	g.log.Error(
		"panic in a session", "session", g.sess.ID, "panic", fmt.Sprint(v), "stack",
		string(debug.Stack()),
	)
}

// deadline returns the time d from now, but not after the end of the connection
// timeout. d <= 0 is no limit of its own.
func (g *guard) deadline(d time.Duration) time.Time {
	if d <= 0 {
		return g.ends
	}
	t := time.Now().Add(d)
	if !g.ends.IsZero() && g.ends.Before(t) {
		return g.ends
	}
	return t
}

// arm sets the deadline of the next read. idle says that a server that shuts
// down may cut the wait short.
func (g *guard) arm(t time.Time, idle bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.idle = idle
	if idle && g.closing {
		t = time.Unix(1, 0)
	}
	_ = g.raw.SetReadDeadline(t)
}

// dismiss tells the session that the server shuts down.
func (g *guard) dismiss() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closing = true
	if g.idle {
		_ = g.raw.SetReadDeadline(time.Unix(1, 0))
	}
}

// abort closes the socket under the session.
func (g *guard) abort() {
	g.dismiss()
	g.cancel()
	g.raw.Close()
}

func (g *guard) dismissed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closing
}

// fill reads more input. Replies are written first: the client may be waiting
// for them (RFC 2920 section 3.2).
func (g *guard) fill(until time.Time, idle bool) error {
	if err := g.flush(); err != nil {
		return err
	}
	full := g.w == len(g.in)
	if g.r > 0 {
		g.w = copy(g.in, g.in[g.r:g.w])
		g.r = 0
	}
	switch {
	case !full && g.w == 0 && g.large != nil && !g.content.open:
		g.in = g.small[:]
		g.srv.inputs.Put(g.large)
		g.large = nil
	case full && g.large == nil:
		// The last read took all there was room for: more is coming.
		g.large = g.srv.inputs.Get().(*[largeInput]byte)
		copy(g.large[:], g.in[:g.w])
		g.in = g.large[:]
	case g.w == len(g.in):
		return errEnd // callers keep their limits below the size of the buffer
	}
	g.arm(until, idle)
	n, err := g.rw.Read(g.in[g.w:])
	g.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// lost ends the session after a read error.
func (g *guard) lost(err error, idle bool) {
	g.hangup = true
	g.unfinished(err)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	switch {
	case idle && g.dismissed():
		g.goodbye(421, "4.3.2", "Service shutting down, closing transmission channel")
	case !g.ends.IsZero() && !time.Now().Before(g.ends):
		g.goodbye(421, "4.4.1", "Connection timed out")
	default:
		g.goodbye(421, "4.4.2", "Timeout waiting for client input")
	}
}

// unfinished tells the log of a message that has begun and will not arrive,
// since the session ends.
func (g *guard) unfinished(err error) {
	m := g.transaction
	if m == nil {
		return
	}
	g.log.Info("session ended before a message did", "session", g.sess.ID,
		"connector", g.sess.Connector.Name, "remote", g.sess.Remote.Addr(), "helo",
		shown(g.sess.Helo),
		"stage", g.stage(), "from", m.From.String(), "recipients", len(m.Recipients), "err", err)
}

var errQuit = errors.New("the client has said QUIT")

// line returns the next command line without its CRLF. It is valid until the
// next read. Lines that are not well-formed are answered here. After an error
// the session is over.
func (g *guard) line(limit int) ([]byte, error) {
	// A transaction without a recipient holds nothing that would be lost.
	idle := g.transaction == nil || len(g.transaction.Recipients) == 0
	var until time.Time
	for scanned := 0; ; {
		if i := bytes.IndexByte(g.in[g.r+scanned:g.w], '\n'); i >= 0 {
			line := g.in[g.r : g.r+scanned+i]
			g.r += len(line) + 1
			scanned = 0
			ended := len(line) > 0 && line[len(line)-1] == '\r'
			if !ended {
				// Only CRLF ends a line (RFC 5321 section 2.3.8). Refuse at
				// once, for the client may wait; what follows up to a CRLF
				// belongs to this line and is no command.
				if !g.skipping {
					g.skipping = true
					g.garbage(g.dataRefused, refusal(500, "5.5.2", "Line must end with CRLF"))
				}
			} else if g.skipping {
				g.skipping = false
				ended = false
			} else if line = line[:len(line)-1]; len(line) > g.longest(line, limit)-2 {
				g.refuse(Rejection{Stage: g.stage(), Reply: refusal(500, "5.5.6", "Line too long")})
				g.hangup, g.linger = true, true
			} else if bytes.IndexByte(line, '\r') >= 0 || bytes.IndexByte(line, 0) >= 0 {
				g.garbage(g.dataRefused, refusal(500, "5.5.2", "Invalid character in command"))
				ended = false
			}
			if g.hangup {
				return nil, errEnd
			}
			if ended {
				if idle && g.dismissed() {
					g.lost(os.ErrDeadlineExceeded, true)
					return nil, errEnd
				}
				return line, nil
			}
			continue
		}
		scanned = g.w - g.r
		if scanned >= limit && scanned >= g.longest(g.in[g.r:g.w], limit) {
			g.refuse(Rejection{Stage: g.stage(), Reply: refusal(500, "5.5.6", "Line too long")})
			g.hangup, g.linger = true, true
			return nil, errEnd
		}
		if until.IsZero() {
			until = g.deadline(g.sess.Limits.InactivityTimeout)
		}
		if err := g.fill(until, idle); err != nil {
			g.lost(err, idle)
			return nil, errEnd
		}
	}
}

// longest is how many octets a line may have. AUTH with an initial response may
// be as long as the response alone: clients do not count, and bearer tokens are
// long.
func (g *guard) longest(line []byte, limit int) int {
	const auth = "AUTH "
	if len(line) > len(auth) && bytes.EqualFold(line[:len(auth)], []byte(auth)) && g.authKnown() {
		return maxSASL
	}
	return limit
}

// unread puts back the line that was read last.
func (g *guard) unread(n int) { g.r -= n + 2 }

// reply queues a reply of ours.
func (g *guard) reply(code int, enhanced, text string) {
	g.out = appendReply(g.out, code, enhanced, text)
	if len(g.out) > maxOutput {
		g.flush()
	}
}

// flush writes the replies.
func (g *guard) flush() error {
	if g.deaf {
		return errEnd
	}
	if len(g.out) == 0 {
		return nil
	}
	// Keep a deadline that is good for half the time; setting it costs more
	// than looking.
	if now := time.Now(); g.writeUntil.Sub(now) < writeTimeout/2 {
		g.writeUntil = now.Add(writeTimeout)
		_ = g.raw.SetWriteDeadline(g.writeUntil)
	}
	_, err := g.rw.Write(g.out)
	if g.out = g.out[:0]; cap(g.out) > 1024 {
		g.out = nil
	}
	if err != nil {
		g.deaf, g.hangup = true, true
	}
	return err
}

// goodbye says a last word and ends the session.
func (g *guard) goodbye(code int, enhanced, text string) {
	g.hangup = true
	g.reply(code, enhanced, text)
	g.flush()
}

// stage names where the session is, for refusals that belong to no stage of
// their own.
func (g *guard) stage() string {
	switch {
	case g.content.open:
		return "data"
	case g.transaction != nil:
		return "mail"
	case g.sess.Helo != "":
		return "helo"
	}
	return "connect"
}

// refuse sends a refusal and reports it. A 421 ends the session.
func (g *guard) refuse(rej Rejection) {
	r := rej.Reply
	g.rejected(rej)
	g.reply(r.Code, r.enhancedFor(), r.Text)
	if r.Code == 421 {
		g.hangup, g.linger = true, true
	}
}

// rejected reports a refusal to the backend, which logs it.
func (g *guard) rejected(rej Rejection) {
	if rej.From == "" && g.transaction != nil {
		rej.From = g.transaction.From.String()
	}
	defer func() {
		if v := recover(); v != nil {
			g.panicked(v)
		}
	}()
	g.pol.Backend.Rejected(&g.sess, rej)
}

// protocolError refuses a command that the client should not have sent.
func (g *guard) protocolError(r *Reply) { g.protocolErrorAt(g.stage(), r) }

func (g *guard) protocolErrorAt(stage string, r *Reply) {
	g.refuseError(Rejection{Stage: stage, Reply: r})
}

// malformed is protocolErrorAt for a command that holds no secret.
func (g *guard) malformed(stage string, r *Reply, command string) {
	g.refuseError(Rejection{Stage: stage, Reply: r, Command: shown(command)})
}

func (g *guard) refuseError(rej Rejection) {
	g.errors++
	if most := g.sess.Limits.MaxProtocolErrors; most >= 0 && g.errors > most {
		rej.Reply = refusal(421, "4.7.0", "Too many errors on this connection")
	}
	g.refuse(rej)
}

// tolerated tells the log of a command that is taken though it is malformed,
// once for a verb: enough to find a device by.
func (g *guard) tolerated(verb, arg string) {
	if !strings.Contains(g.odd, verb) {
		g.odd += verb
		g.log.Info("malformed command taken", "session", g.sess.ID, "connector", g.sess.Connector.Name,
			"remote", g.sess.Remote.Addr(), "command", shown(verb+" "+arg))
	}
}

// maxShown bounds what the log is told of a command.
const maxShown = 128

// shown shortens a command and escapes what is no printable text. The AUTH
// parameter stays out: a confused client may put a password there.
func shown(command string) string {
	dots := ""
	const auth = "AUTH="
	for i := range max(len(command)-len(auth), 0) {
		if strings.EqualFold(command[i:i+len(auth)], auth) {
			command, dots = command[:i+len(auth)], "..."
			break
		}
	}
	if len(command) > maxShown {
		command, dots = command[:maxShown], "..."
	}
	quoted := strconv.Quote(command)
	return quoted[1:len(quoted)-1] + dots
}

// pause holds a refusal back from a client that has not shown who it is.
func (g *guard) pause(d time.Duration) {
	if d <= 0 || g.hangup {
		return
	}
	defer g.srv.paused.Add(-1)
	if g.srv.paused.Add(1) > maxPaused || g.flush() != nil {
		return
	}
	if until := g.deadline(d); !until.IsZero() {
		d = time.Until(until)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-g.ctx.Done():
	}
}

// close ends the connection and gives back what it holds.
func (g *guard) close() {
	if g.shut {
		return
	}
	g.shut, g.hangup = true, true
	g.reset()
	if g.linger {
		g.drainSocket()
	}
	g.cancel()
	g.rw.Close()
	g.leave()
	g.logClosed()
	if g.large != nil {
		g.srv.inputs.Put(g.large)
		g.large, g.in = nil, nil
	}
	g.srv.remove(g)
}

func (g *guard) logClosed() {
	ctx := context.Background()
	if !g.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	line := []slog.Attr{slog.String("session", g.sess.ID)}
	if name := g.connectorName(); name != "" {
		line = append(line, slog.String("connector", name))
	}
	line = append(line, slog.Any("remote", g.sess.Remote.Addr()))
	if g.sess.Helo != "" {
		line = append(line, slog.String("helo", shown(g.sess.Helo)))
	}
	line = append(line, slog.String("tls", g.tlsVersion()),
		slog.Int("messages", g.messages), slog.Int("errors", g.errors))
	g.log.LogAttrs(ctx, slog.LevelDebug, "session closed", line...)
}

func (g *guard) tlsVersion() string {
	if g.sess.TLS == nil {
		return "none"
	}
	return tls.VersionName(g.sess.TLS.Version)
}

// connectorName is empty while a PROXY header is waited for.
func (g *guard) connectorName() string {
	if g.sess.Connector == nil {
		return ""
	}
	return g.sess.Connector.Name
}

// leave ends the session, but not the connection.
func (g *guard) leave() {
	if g.told {
		g.told = false
		func() {
			defer func() {
				if v := recover(); v != nil {
					g.panicked(v)
				}
			}()
			g.pol.Backend.Closed(&g.sess)
		}()
	}
	if g.admitted {
		g.admitted = false
		g.srv.quota.release(g.sess.Connector.Name, g.sess.Remote.Addr())
	}
}

// drainSocket lets the last reply arrive: closing a socket with unread input
// resets the connection, and the client loses what it has not read.
func (g *guard) drainSocket() {
	if c, ok := g.rw.(*tls.Conn); ok {
		_ = c.CloseWrite()
	}
	half, ok := g.raw.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = g.raw.SetReadDeadline(time.Now().Add(lingerTimeout))
	_, _ = io.Copy(io.Discard, io.LimitReader(g.raw, lingerOctets))
}
