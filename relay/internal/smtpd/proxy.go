package smtpd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/pires/go-proxyproto"
)

const (
	// proxyTimeout is what a proxy has for its header, which is the first that
	// it sends.
	proxyTimeout = 5 * time.Second
	maxProxyV1   = 107 // octets of a header of version 1
	// octets of a header of version 2; a certificate of the client's may be in
	// it
	maxProxyV2 = 4096
)

const (
	proxyV1 = "PROXY "
	proxyV2 = "\r\n\r\n\x00\r\nQUIT\n"
)

var errProxy = errors.New("smtpd: no PROXY header, or not a proper one")

// header says whether a connection begins with a PROXY header.
type header uint8

const (
	headerNone header = iota
	headerExpected
	headerRead
)

// proxied reads the PROXY header and admits the client it tells of. When it
// returns false the connection is to be closed: without a word, unless there is
// something to say to a client.
func (g *guard) proxied() bool {
	proxy := g.sess.Remote
	ends, err := g.proxyHeader()
	g.srv.headers.Add(-1)
	if err == nil && startsHeader(g.in[g.r:g.w]) {
		err = errSecondHeader
	}
	if err != nil {
		level := slog.LevelWarn
		if g.w == 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
			level = slog.LevelDebug // it has looked whether somebody listens
		}
		g.log.Log(g.ctx, level, "connection of a proxy closed",
			"session", g.sess.ID, "proxy", proxy, "err", err)
		return false
	}
	g.header = headerRead
	local := g.sess.Local
	// HAProxy's checks name the ends of their own connection.
	own := ends.own || ends.from == proxy
	if !own {
		g.sess.Proxy, g.sess.Local, g.sess.Remote = proxy, ends.to, ends.from
		if g.pol.Connectors.HasBinding(ends.to) {
			local = ends.to
		}
	}
	con, ok := g.pol.find(local, g.sess.Remote, false)
	if !ok && own {
		con, ok = g.healthCheck(local), true
	}
	if !ok {
		g.srv.unknown(g.pol, &g.sess)
		return false
	}
	if r := g.admit(con); r != nil {
		rej := Rejection{Stage: "connect", Reply: r}
		if con.ImplicitTLS {
			g.rejected(rej)
		} else {
			g.refuse(rej)
		}
		return false
	}
	return true
}

var errSecondHeader = errors.New("smtpd: a second PROXY header")

// proxyHeader reads the header.
func (g *guard) proxyHeader() (endpoints, error) {
	until := time.Now().Add(proxyTimeout)
	for {
		n, err := headerLength(g.in[g.r:g.w])
		if err != nil {
			return endpoints{}, err
		}
		if n > 0 {
			b := g.in[g.r : g.r+n]
			g.r += n
			return parseHeader(b)
		}
		if err := g.fill(until, true); err != nil {
			return endpoints{}, err
		}
	}
}

// startsHeader reports whether b begins with a header or the part of one that
// tells it from all else.
func startsHeader(b []byte) bool {
	return bytes.HasPrefix(b, []byte(proxyV1)) || bytes.HasPrefix(b, []byte(proxyV2))
}

// headerLength returns the length of the header at the start of b; 0 if
// more of it is needed to tell.
func headerLength(b []byte) (int, error) {
	switch {
	case bytes.HasPrefix(b, []byte(proxyV2)):
		if len(b) < 16 {
			return 0, nil
		}
		n := 16 + int(binary.BigEndian.Uint16(b[14:]))
		if n > maxProxyV2 {
			return 0, errProxy
		}
		if len(b) < n {
			return 0, nil
		}
		return n, nil
	case bytes.HasPrefix(b, []byte(proxyV1)):
		i := bytes.IndexByte(b[:min(len(b), maxProxyV1)], '\n')
		if i < 0 && len(b) >= maxProxyV1 {
			return 0, errProxy
		}
		return i + 1, nil
	case bytes.HasPrefix([]byte(proxyV2), b), bytes.HasPrefix([]byte(proxyV1), b):
		return 0, nil
	}
	return 0, errProxy
}

// endpoints are what a header tells of the client's connection.
type endpoints struct {
	own      bool // the proxy speaks for itself
	from, to netip.AddrPort
}

// parseHeader reads one whole header.
func parseHeader(b []byte) (endpoints, error) {
	r := bytes.NewReader(b)
	buf := bufio.NewReaderSize(r, 256) // the parser wants a header of version 1 in one read
	h, err := proxyproto.Read(buf)
	if err != nil {
		return endpoints{}, err
	}
	if h.Command.IsLocal() {
		return endpoints{own: true}, nil
	}
	from, to, ok := h.TCPAddrs()
	if !ok || r.Len()+buf.Buffered() != 0 {
		return endpoints{}, errProxy
	}
	e := endpoints{from: addrPort(from), to: addrPort(to)}
	if !isHost(e.from.Addr()) || !isHost(e.to.Addr()) {
		return endpoints{}, errProxy
	}
	return e, nil
}

// isHost reports whether a connection can come from the address.
func isHost(a netip.Addr) bool { return a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() }

// secondHeader reports whether a line that was read is the beginning of a
// PROXY header, on a connection that has had one.
func (g *guard) secondHeader(line string) bool {
	return g.header == headerRead &&
		(len(line) >= len(proxyV1) && line[:len(
			proxyV1,
		)] == proxyV1 || line == "" && bytes.HasPrefix(g.in[g.r:g.w], []byte(proxyV2[2:])))
}

// prefixed is a connection of which something has been read already.
type prefixed struct {
	net.Conn
	rest []byte
}

func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		return p.Conn.Read(b)
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
