package smtpd

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/relay/internal/callback"
	"github.com/postern-mail/postern/relay/internal/logkey"
)

// ErrServerClosed is returned by [Server.Serve] on a server that was shut down.
var ErrServerClosed = errors.New("smtpd: server closed")

// Server accepts connections for all connectors of its settings. It is safe for
// concurrent use.
type Server struct {
	shared   shared
	settings atomic.Pointer[Settings]
	done     chan struct{} // closed when closed is set

	mu        sync.Mutex
	closed    bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	empty     chan struct{} // closed when closed is set and the last connection is gone
}

// New returns a server for cfg. It starts nothing.
func New(cfg Config) *Server {
	s := &Server{
		done:      make(chan struct{}),
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[*conn]struct{}),
		empty:     make(chan struct{}),
	}
	h := &s.shared
	h.hostname, h.log, h.nat.read = cfg.Hostname, cfg.Logger, cfg.Gateways
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.nat.read == nil {
		h.nat.read = defaultGateways
	}
	h.inputs.New = func() any { return new([largeInput]byte) }
	h.next.Store(rand.Uint64())
	s.Apply(cfg.Settings)
	return s
}

// Apply sets the settings of new connections. Those that are open keep theirs.
func (s *Server) Apply(new Settings) {
	new.serving = serving(new.TLS, new.Auth != nil && new.Auth.SCRAM != nil)
	new.asking = asking(new.serving)
	s.settings.Store(&new)
}

// Serve accepts connections on l until the server is shut down, then returns
// nil. It closes l. Several calls with different listeners may run at once.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if !s.listen(l) {
		return ErrServerClosed
	}
	defer s.forget(l)
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
		s.shared.log.Error("accept failed", logkey.Err, err, logkey.Retry, delay)
		s.rest(delay)
	}
}

// listen notes a listener, so that a shutdown can close it.
func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) forget(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// rest waits for d, or for the end of the server.
func (s *Server) rest(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.done:
	}
}

// accept chooses the connector and admits the connection. It does not block on
// the peer.
func (s *Server) accept(c net.Conn) {
	h, settings := &s.shared, s.settings.Load()
	sess := Session{Local: addrPort(c.LocalAddr()), Remote: addrPort(c.RemoteAddr())}
	if contains(settings.Proxies, sess.Remote.Addr()) {
		s.acceptProxy(settings, c, sess)
		return
	}
	con, ok := settings.find(sess.Local, sess.Remote, false)
	if !ok {
		c.Close()
		h.unknown(settings, &sess)
		return
	}
	sess.ID = h.sessionID()
	own := newConn(h, settings, c, sess)
	if r := own.admit(con); r != nil {
		own.rejected(Rejection{Stage: "connect", Reply: r})
		if !con.ImplicitTLS {
			// The send buffer of a new connection is empty, so this does not
			// wait.
			_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = c.Write(appendReply(nil, r.Code, enhancedFor(r), r.Text))
		}
		c.Close()
		return
	}
	s.begin(own)
}

// acceptProxy accepts a connection that begins with a PROXY header.
func (s *Server) acceptProxy(settings *Settings, c net.Conn, sess Session) {
	h := &s.shared
	if h.headers.Add(1) > maxHeaders {
		h.headers.Add(-1)
		h.log.Warn("too many connections without a PROXY header yet", logkey.Proxy, sess.Remote)
		c.Close()
		return
	}
	sess.ID = h.sessionID()
	own := newConn(h, settings, c, sess)
	own.proxy = proxyExpected
	s.begin(own)
}

// begin serves a connection on a goroutine of its own.
func (s *Server) begin(c *conn) {
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if closed {
		c.close()
		return
	}
	go callback.Run(func() {
		defer s.remove(c)
		c.serve()
	})
}

// remove forgets a connection that has ended.
func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
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
func (s *Server) stop() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.done)
		if len(s.conns) == 0 {
			close(s.empty)
		}
	}
	for l := range s.listeners {
		l.Close()
	}
	open := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		open = append(open, c)
	}
	return open
}

// Shutdown stops accepting and waits for the sessions to end. Idle ones are
// told 421 and closed at once; one in a transaction may finish that message
// first. When ctx ends, Shutdown closes what is left and returns the error of
// ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	for _, c := range s.stop() {
		c.wire.dismiss()
	}
	select {
	case <-s.empty:
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
	for _, c := range s.stop() {
		c.abort()
	}
	return nil
}
