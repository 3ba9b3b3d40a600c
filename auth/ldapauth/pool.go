package ldapauth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"
)

const (
	maxIdle = time.Minute // firewalls and servers forget connections that are quiet for longer
	// then what has changed counts: addresses, the first server being back
	maxAge  = 5 * time.Minute
	restart = 30 * time.Second // for which a server that has failed is asked last
)

// server is one of the directory's.
type server struct {
	host, port      string
	ldaps, startTLS bool
	tls             *tls.Config

	mu        sync.Mutex
	downUntil time.Time
}

func (s *server) down(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Before(s.downUntil)
}

func (s *server) failed(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.downUntil = now.Add(restart)
}

func (s *server) answered() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.downUntil = time.Time{}
}

// fault is an error after which a connection is of no use: none was made, it is
// lost, it takes too long, or the server says that it cannot serve.
type fault struct{ err error }

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func isFault(err error) bool {
	var f *fault
	return errors.As(err, &f)
}

// faulty wraps the errors of the client that are none of a server's answers.
func faulty(err error) error {
	var answer *ldap.Error
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &answer), answer.ResultCode >= ldap.ErrorNetwork,
		answer.ResultCode == ldap.LDAPResultBusy, answer.ResultCode == ldap.LDAPResultUnavailable:
		return &fault{err}
	}
	return err
}

// conn belongs to one logon at a time.
type conn struct {
	ldap         *ldap.Conn
	raw          net.Conn
	server       *server
	opened, used time.Time
}

func (c *conn) bind(dn, password string) error { return faulty(c.ldap.Bind(dn, password)) }

// search returns the entries that came before an error, too.
func (c *conn) search(r *ldap.SearchRequest) ([]*ldap.Entry, error) {
	result, err := c.ldap.Search(r)
	if result == nil {
		return nil, faulty(err)
	}
	return result.Entries, faulty(err) // references to other servers aside
}

// pool keeps connections for reuse.
type pool struct {
	servers []*server
	login   func(*conn) error // makes a new connection fit for use
	timeout time.Duration
	slots   chan struct{} // one for each connection
	now     func() time.Time

	mu     sync.Mutex
	idle   []*conn // used last comes last
	closed bool
}

func newPool(servers []*server, cfg Config, login func(*conn) error) *pool {
	return &pool{
		servers: servers, login: login, timeout: cfg.Timeout, slots: make(chan struct{}, cfg.Conns),
		now: time.Now,
	}
}

// do runs f with a connection. When that fails f runs again with another, to
// each server in turn, so it must be harmless twice.
func (p *pool) do(ctx context.Context, f func(*conn) error) error {
	timer := time.NewTimer(p.timeout)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return errors.New("too many logons at a time")
	case p.slots <- struct{}{}:
	}
	defer func() { <-p.slots }()

	if c := p.take(); c != nil {
		// The server may have ended the connection long ago: a failure means
		// something for a new one only, unless it is silence.
		err := p.use(ctx, c, f)
		if !isFault(err) {
			return err
		}
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			c.server.failed(p.now())
		}
	}
	var faults []error
	for _, s := range p.inOrder() {
		if err := ctx.Err(); err != nil {
			return err
		}
		c, err := p.open(ctx, s)
		if err == nil {
			err = p.use(ctx, c, f)
			if !isFault(err) {
				s.answered()
				return err
			}
		}
		if ctx.Err() == nil {
			s.failed(p.now())
		}
		faults = append(faults, fmt.Errorf("%s: %w", s.address(), err))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errors.Join(faults...)
}

// inOrder returns those servers last that have failed of late.
func (p *pool) inOrder() []*server {
	now := p.now()
	up, down := make([]*server, 0, len(p.servers)), []*server(nil)
	for _, s := range p.servers {
		if s.down(now) {
			down = append(down, s)
		} else {
			up = append(up, s)
		}
	}
	return append(up, down...)
}

// guard runs f for as long as a server may take. It reports whether the
// connection is whole afterwards. The client knows no contexts: what ends its
// calls is a closed connection.
func (p *pool) guard(
	ctx context.Context, raw net.Conn, f func(ctx context.Context) error,
) (whole bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	err = f(ctx)
	if whole = stop(); !whole && isFault(err) {
		err = &fault{ctx.Err()} // which is why
	}
	return whole, err
}

// use runs f with a connection, and keeps or closes it.
func (p *pool) use(ctx context.Context, c *conn, f func(*conn) error) error {
	whole, err := p.guard(ctx, c.raw, func(context.Context) error { return f(c) })
	if !whole || isFault(err) {
		c.close()
	} else {
		p.put(c)
	}
	return err
}

func (c *conn) close() {
	c.raw.Close() // before the client, which would wait for what it is writing
	c.ldap.Close()
}

// open makes a connection. Every error is a fault: a refusal of the account
// that searches is not one of the user.
func (p *pool) open(ctx context.Context, s *server) (*conn, error) {
	dialer := &net.Dialer{Timeout: p.timeout}
	raw, err := dialer.DialContext(ctx, "tcp", s.address())
	if err != nil {
		return nil, &fault{err}
	}
	c := &conn{raw: raw, server: s, opened: p.now()}
	_, err = p.guard(ctx, raw, func(ctx context.Context) error {
		stream := raw
		if s.ldaps {
			secure := tls.Client(raw, s.tls)
			if err := secure.HandshakeContext(ctx); err != nil {
				return &fault{err}
			}
			stream = secure
		}
		c.ldap = ldap.NewConn(stream, s.ldaps)
		c.ldap.Start()
		if s.startTLS {
			if err := c.ldap.StartTLS(s.tls); err != nil {
				return &fault{fmt.Errorf("StartTLS: %w", err)}
			}
		}
		if err := p.login(c); err != nil {
			return &fault{fmt.Errorf("logging on to search: %w", err)}
		}
		return nil
	})
	if err != nil {
		raw.Close()
		if c.ldap != nil {
			c.ldap.Close()
		}
		return nil, err
	}
	return c, nil
}

// take returns a connection that has been used before, or nil.
func (p *pool) take() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	for len(p.idle) > 0 {
		last := len(p.idle) - 1
		c := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		if now.Sub(c.used) < maxIdle && now.Sub(c.opened) < maxAge && !c.server.down(now) {
			return c
		}
		c.close()
	}
	return nil
}

func (p *pool) put(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		c.close()
		return
	}
	c.used = p.now()
	p.idle = append(p.idle, c)
	// Those that rush hours have left behind.
	for c.used.Sub(p.idle[0].used) >= maxIdle {
		p.idle[0].close()
		p.idle[0] = nil
		p.idle = p.idle[1:]
	}
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		c.close()
	}
	p.idle = nil
}
