package smtpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/postern-mail/postern/connector"
)

// ErrServerClosed is returned by [Server.Serve] on a server that was shut down.
var ErrServerClosed = errors.New("smtpd: server closed")

// maxPaused bounds the sessions that are held back at one time, server-wide.
// Beyond it refusals are not delayed.
const maxPaused = 1000

// maxHeaders bounds the connections from proxies whose PROXY header has not
// arrived yet.
const maxHeaders = 1000

// Server accepts connections for all connectors of its policy. It is safe for
// concurrent use.
type Server struct {
	hostname  string
	log       *slog.Logger
	policy    atomic.Pointer[Policy]
	quota     quota
	gateways  gateways
	paused    atomic.Int64
	strangers told
	headers   atomic.Int64 // connections whose PROXY header is being waited for
	next      atomic.Uint64
	inputs    sync.Pool // of *[largeInput]byte

	start sync.Once
	queue *queue

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	conns     map[*guard]struct{}
	empty     chan struct{} // closed when closed is set and the last connection is gone
}

// New returns a server for cfg. It starts nothing.
func New(cfg Config) *Server {
	s := &Server{
		hostname:  cfg.Hostname,
		log:       cfg.Logger,
		queue:     newQueue(),
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[*guard]struct{}),
		empty:     make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.gateways.read = cfg.Gateways
	if s.gateways.read == nil {
		s.gateways.read = defaultGateways
	}
	s.inputs.New = func() any { return new([largeInput]byte) }
	s.next.Store(rand.Uint64())
	s.SetPolicy(cfg.Policy)
	return s
}

// SetPolicy sets the policy of new connections. Those that are open keep
// theirs.
func (s *Server) SetPolicy(p Policy) {
	p.serving = serving(p.TLS, p.Auth != nil && p.Auth.SCRAM != nil)
	p.asking = asking(p.serving)
	s.policy.Store(&p)
}

// Serve accepts connections on l until the server is shut down, then returns
// nil. It closes l. Several calls with different listeners may run at once.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
	}()
	s.start.Do(s.protocol)

	var delay time.Duration
	for {
		c, err := l.Accept()
		if err == nil {
			delay = 0
			s.accept(c)
			continue
		}
		if s.isClosed() {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		// Out of file descriptors, or a peer that left again: neither may end
		// the service.
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		s.log.Error("accept failed", "err", err, "retry", delay)
		t := time.NewTimer(delay)
		select {
		case <-t.C:
		case <-s.queue.done:
		}
		t.Stop()
	}
}

// protocol starts go-smtp on the queue of guarded connections.
func (s *Server) protocol() {
	p := smtp.NewServer(smtp.BackendFunc(newSession))
	p.Domain = s.hostname
	p.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelError)
	// The guard bounds lines and decides on AUTH.
	p.MaxLineLength = 0
	p.AllowInsecureAuth = true
	go func() { _ = p.Serve(s.queue) }()
}

// accept chooses the connector and admits the connection. It does not block on
// the peer.
func (s *Server) accept(c net.Conn) {
	pol := s.policy.Load()
	sess := Session{Local: addrPort(c.LocalAddr()), Remote: addrPort(c.RemoteAddr())}
	if contains(pol.Proxies, sess.Remote.Addr()) {
		if s.headers.Add(1) > maxHeaders {
			s.headers.Add(-1)
			s.log.Warn("too many connections without a PROXY header yet", "proxy", sess.Remote)
			c.Close()
			return
		}
		sess.ID = s.sessionID()
		g := newGuard(s, pol, c, sess)
		g.header = headerExpected
		s.begin(g)
		return
	}
	con, ok := pol.find(sess.Local, sess.Remote, false)
	if !ok {
		c.Close()
		s.unknown(pol, &sess)
		return
	}
	sess.ID = s.sessionID()
	g := newGuard(s, pol, c, sess)
	if r := g.admit(con); r != nil {
		g.rejected(Rejection{Stage: "connect", Reply: r})
		if !con.ImplicitTLS {
			// The send buffer of a new connection is empty, so this does not
			// wait.
			_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = c.Write(appendReply(nil, r.Code, r.enhancedFor(), r.Text))
		}
		c.Close()
		return
	}
	s.begin(g)
}

// unknown reports a peer that no connector is for. Nothing bounds how often
// such peers connect, so not every one is told of.
func (s *Server) unknown(pol *Policy, sess *Session) {
	ok, before := s.strangers.tell(time.Now())
	if !ok {
		return
	}
	err := errNoConnector
	if before > 0 {
		err = fmt.Errorf("%w, as for %d others before", errNoConnector, before)
	}
	if sess.ID == "" {
		sess.ID = s.sessionID()
	}
	g := guard{log: s.log, pol: pol, sess: *sess}
	g.rejected(Rejection{Stage: "connect", Reply: &Reply{Cause: err}})
}

var errNoConnector = errors.New("no connector for the peer")

// maxTold bounds how many strangers the log and the events are told of in a
// second.
const maxTold = 20

// told counts what the log is told of.
type told struct {
	mu     sync.Mutex
	began  time.Time // of a second
	n      int
	missed int
}

// tell reports whether there is room for one more, and how many had none before
// it.
func (t *told) tell(now time.Time) (ok bool, missed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.began) >= time.Second {
		t.began, t.n = now, 0
	}
	if t.n++; t.n > maxTold {
		t.missed++
		return false, 0
	}
	missed, t.missed = t.missed, 0
	return true, missed
}

func (s *Server) sessionID() string { return strconv.FormatUint(s.next.Add(1), 16) }

// find returns the connector for a client. One that speaks TLS from the
// first byte is of no use where TLS is not offered, or on a connection
// that has begun without.
func (p *Policy) find(local, remote netip.AddrPort, begun bool) (*connector.Connector, bool) {
	con, ok := p.Connectors.Match(local, remote.Addr())
	return con, ok && !(con.ImplicitTLS && (p.TLS == nil || begun))
}

func contains(list []connector.Range, a netip.Addr) bool {
	for i := range list {
		if list[i].Contains(a) {
			return true
		}
	}
	return false
}

// begin hands a connection to go-smtp.
func (s *Server) begin(g *guard) {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.conns[g] = struct{}{}
	}
	s.mu.Unlock()
	if closed || !s.queue.put(g) {
		g.close()
	}
}

// remove forgets a connection that has ended.
func (s *Server) remove(g *guard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.conns[g]; !ok {
		return
	}
	delete(s.conns, g)
	if s.closed && len(s.conns) == 0 {
		close(s.empty)
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// stop ends accepting and returns the open connections.
func (s *Server) stop() []*guard {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		if len(s.conns) == 0 {
			close(s.empty)
		}
	}
	for l := range s.listeners {
		l.Close()
	}
	open := make([]*guard, 0, len(s.conns))
	for g := range s.conns {
		open = append(open, g)
	}
	return open
}

// Shutdown stops accepting and waits for the sessions to end. Idle ones are
// told 421 and closed at once; one in a transaction may finish that message
// first. When ctx ends, Shutdown closes what is left and returns the error of
// ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	for _, g := range s.stop() {
		g.dismiss()
	}
	select {
	case <-s.empty:
		s.queue.Close()
		return nil
	case <-ctx.Done():
		s.Close()
		return ctx.Err()
	}
}

// Wait waits for the end of all sessions after Shutdown or Close, until ctx
// ends. It returns how many are left.
func (s *Server) Wait(ctx context.Context) (left int) {
	select {
	case <-s.empty:
		return 0
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Close stops accepting and closes every connection. A session whose Backend
// call is running ends when that call returns; its context is cancelled.
func (s *Server) Close() error {
	for _, g := range s.stop() {
		g.abort()
	}
	s.queue.Close()
	return nil
}

// addrPort returns the address of one side of a connection, an IPv4 address as
// such.
func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	if t, ok := a.(*net.TCPAddr); ok {
		ap = t.AddrPort()
	} else if a != nil {
		ap, _ = netip.ParseAddrPort(a.String())
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// queue is the listener on which go-smtp accepts guarded connections.
type queue struct {
	links chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newQueue() *queue {
	return &queue{links: make(chan net.Conn), done: make(chan struct{})}
}

// put gives go-smtp a fresh connection to speak on for g, and reports whether
// it was taken.
func (q *queue) put(g *guard) bool {
	select {
	case q.links <- &link{guard: g}:
		return true
	case <-q.done:
		return false
	}
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.links:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

func (q *queue) Addr() net.Addr { return &net.TCPAddr{} }
