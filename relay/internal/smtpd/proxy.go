package smtpd

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/postern-mail/postern/connector"
)

// proxyTimeout is what a proxy has for its header, which is the first that it
// sends.
const proxyTimeout = 5 * time.Second

// proxied reads the PROXY header and admits the client it tells of. When it
// returns false the connection is to be closed: without a word, unless there is
// something to say to a client.
func (c *conn) proxied() bool {
	ends, err := c.proxyHeader()
	c.srv.headers.Add(-1)
	if err == nil && startsHeader(c.wire.in.pending()) {
		err = errSecondHeader
	}
	if err != nil {
		level := slog.LevelWarn
		if c.wire.in.w == 0 && !errors.Is(err, os.ErrDeadlineExceeded) {
			level = slog.LevelDebug // it has looked whether somebody listens
		}
		c.log.Log(c.ctx, level, "connection of a proxy closed",
			"session", c.sess.ID, "proxy", c.sess.Remote, "err", err)
		return false
	}
	c.proxy = proxyRead
	con, ok := c.behindProxy(ends)
	if !ok {
		c.srv.unknown(c.settings, &c.sess)
		return false
	}
	r := c.admit(con)
	switch rej := (Rejection{Stage: "connect", Reply: r}); {
	case r == nil:
		return true
	case con.ImplicitTLS:
		c.rejected(rej)
	default:
		c.refuse(rej)
	}
	return false
}

// behindProxy makes the session that of the client that the header tells of,
// and returns its connector.
func (c *conn) behindProxy(ends endpoints) (con *connector.Connector, ok bool) {
	local, proxy := c.sess.Local, c.sess.Remote
	// HAProxy's checks name the ends of their own connection.
	own := ends.own || ends.from == proxy
	if !own {
		c.sess.Proxy, c.sess.Local, c.sess.Remote = proxy, ends.to, ends.from
		if c.settings.Connectors.HasBinding(ends.to) {
			local = ends.to
		}
	}
	con, ok = c.settings.find(local, c.sess.Remote, false)
	if !ok && own {
		return c.healthCheck(local), true
	}
	return con, ok
}

var errSecondHeader = errors.New("smtpd: a second PROXY header")

// proxyHeader reads the header.
func (c *conn) proxyHeader() (endpoints, error) {
	until := time.Now().Add(proxyTimeout)
	for {
		b := c.wire.in.pending()
		n, err := headerLength(b)
		if err != nil {
			return endpoints{}, err
		}
		if n > 0 {
			c.wire.in.take(n)
			return parseHeader(b[:n])
		}
		if err := c.wire.fill(until, true); err != nil {
			return endpoints{}, err
		}
	}
}

// secondHeader reports whether a line that was read is the beginning of a
// PROXY header, on a connection that has had one.
func (c *conn) secondHeader(line string) bool {
	if c.proxy != proxyRead {
		return false
	}
	if line == "" {
		return bytes.HasPrefix(c.wire.in.pending(), []byte(proxyV2[2:]))
	}
	return strings.HasPrefix(line, proxyV1)
}
