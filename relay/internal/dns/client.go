package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// lastFor is how long a server that failed is asked last.
const lastFor = 30 * time.Second

var (
	errServer = errors.New("server misbehaving")
	errNone   = errors.New("no answer from any server")
)

// Config says where to look. The zero value is the system's.
type Config struct {
	ResolvConf string // defaults to /etc/resolv.conf
	Hosts      string // defaults to /etc/hosts
	// Servers are asked instead of those in ResolvConf: host:port.
	Servers []string
	// Dial opens a connection to a server. Defaults to a net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// client asks the servers. It is safe for concurrent use.
type client struct {
	settings *settingsFile
	dial     dialFunc

	mu     sync.Mutex
	failed map[string]time.Time // when a server failed, by address
	turn   int                  // of rotation
}

func newClient(cfg Config) *client {
	c := &client{dial: cfg.Dial, failed: make(map[string]time.Time)}
	if c.dial == nil {
		c.dial = new(net.Dialer).DialContext
	}
	c.settings = &settingsFile{path: cmp.Or(cfg.ResolvConf, "/etc/resolv.conf")}
	for _, addr := range cfg.Servers {
		c.settings.fixed = append(c.settings.fixed, serverAt(addr))
	}
	return c
}

// resolve asks a question, and what its aliases make necessary.
func (c *client) resolve(ctx context.Context, q question) (p *reply) {
	defer func() {
		if v := recover(); v != nil { // a stranger's records must not end the process
			p = failure(q.name, fmt.Sprintf("panic: %v", v))
		}
	}()
	all := &reply{ttl: mostTTL, authentic: true}
	for at := q; ; {
		m, trusted, err := c.exchange(ctx, at)
		if err != nil {
			return failed(ctx, q.name, err)
		}
		part, more, err := read(m, at)
		if err != nil {
			return failed(ctx, q.name, err)
		}
		part.ttl = min(part.ttl, all.ttl)
		part.authentic = all.authentic && trusted && m.AuthenticatedData
		part.aliases += all.aliases + 1
		if !more {
			return part
		}
		if part.aliases > maxAliases {
			return failed(ctx, q.name, errLoop)
		}
		all, at.name = part, part.name
	}
}

func failed(ctx context.Context, name string, err error) *reply {
	if ctx.Err() != nil {
		return &reply{ttl: failureTTL, err: gaveUp(name, ctx)}
	}
	p := failure(name, err.Error())
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		p.err.(*net.DNSError).IsTimeout = true
	}
	return p
}

// exchange asks one server after the other until one has an answer.
func (c *client) exchange(ctx context.Context, q question) (m *dns.Msg, trusted bool, err error) {
	s := c.settings.current()
	err = errNone
	for range s.attempts {
		for _, server := range c.order(s) {
			m, err = c.askServer(ctx, s, server, q)
			c.note(server.addr, err)
			if err == nil || ctx.Err() != nil {
				return m, server.trusted, err
			}
		}
	}
	return nil, false, err
}

// order returns the servers in the order of asking.
func (c *client) order(s *settings) []server {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := slices.Clone(s.servers)
	if s.rotate {
		c.turn = (c.turn + 1) % len(list)
		list = slices.Concat(list[c.turn:], list[:c.turn])
	}
	slices.SortStableFunc(list, func(a, b server) int {
		return cmp.Compare(c.rank(a.addr), c.rank(b.addr))
	})
	return list
}

// rank is 1 for a server that failed of late. The caller holds the lock.
func (c *client) rank(addr string) int {
	if at, ok := c.failed[addr]; ok && time.Since(at) < lastFor {
		return 1
	}
	return 0
}

// note remembers whether a server answered.
func (c *client) note(addr string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		delete(c.failed, addr)
	case !errors.Is(err, errServer): // that may be the fault of the name
		c.failed[addr] = time.Now()
	}
}

// askServer asks one server: by UDP, by TCP if the answer is cut short, and
// without EDNS0 if the server does not know it (RFC 6891 section 7).
func (c *client) askServer(
	ctx context.Context, s *settings, at server, q question,
) (*dns.Msg, error) {
	m, err := c.askBy(ctx, s, at, newQuery(q, true))
	if err == nil && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) {
		m, err = c.askBy(ctx, s, at, newQuery(q, false))
	}
	if err != nil {
		return nil, err
	}
	lame := len(m.Answer) == 0 && !m.Authoritative && !m.RecursionAvailable
	switch {
	case m.Rcode == dns.RcodeNameError, m.Rcode == dns.RcodeSuccess && !lame:
		return m, nil
	case m.Rcode == dns.RcodeSuccess:
		return nil, fmt.Errorf("%w: no recursion by %s", errServer, at.addr)
	}
	return nil, fmt.Errorf("%w: %s from %s", errServer, dns.RcodeToString[m.Rcode], at.addr)
}

func (c *client) askBy(
	ctx context.Context, s *settings, at server, query *dns.Msg,
) (m *dns.Msg, err error) {
	if !s.tcp {
		if m, err = askOver(ctx, c.dial, s.timeout, "udp", at.addr, query); err == nil &&
			!m.Truncated {
			return m, nil
		}
		if err != nil && !errors.Is(err, errUnreadable) {
			return nil, err
		}
	}
	return askOver(ctx, c.dial, s.timeout, "tcp", at.addr, query)
}

// newQuery asks for recursion and for what DNSSEC says (RFC 6840 section 5.7).
func newQuery(q question, edns bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(q.name), q.kind)
	m.Id = uint16(rand.Uint32())
	m.AuthenticatedData = true
	if edns {
		m.SetEdns0(udpSize, true)
	}
	return m
}
