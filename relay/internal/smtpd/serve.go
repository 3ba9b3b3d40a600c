package smtpd

import (
	"context"
	"log/slog"

	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// serve speaks with the client until the session is over.
func (c *conn) serve() {
	defer c.close()
	defer func() {
		if v := recover(); v != nil {
			c.srv.panicked(&c.sess, v)
			c.goodbye(policy.Panicked.Reply())
		}
	}()
	for c.open(); !c.wire.hangup; {
		line, err := c.line(maxCommand)
		if err != nil {
			break
		}
		c.command(string(line))
	}
	_ = c.wire.flush()
}

// open is the first that a session does: TLS where it comes first, the
// backend's word, the banner.
func (c *conn) open() {
	if c.proxy == proxyExpected && !c.proxied() {
		c.wire.hangup = true
		return
	}
	if c.sess.Connector.ImplicitTLS && !c.handshake() {
		return
	}
	c.rights()
	if !c.wire.in.empty() || pending(c.wire.raw) {
		// RFC 5321 section 4.3.1: who does not wait for the banner waits for no
		// reply.
		c.refuse(Rejection{Stage: "connect", Reply: policy.EarlyTalker.Reply()})
		return
	}
	c.greet()
}

// close ends the connection and gives back what it holds.
func (c *conn) close() {
	c.wire.hangup = true
	c.reset()
	if c.wire.linger {
		c.wire.drain()
	}
	c.cancel()
	c.wire.rw.Close()
	c.leave()
	c.logClosed()
	c.wire.in.release()
}

func (c *conn) logClosed() {
	ctx := context.Background()
	if !c.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	line := []slog.Attr{slog.String(logkey.Session, c.sess.ID)}
	if name := c.connectorName(); name != "" {
		line = append(line, slog.String(logkey.Connector, name))
	}
	line = append(line, slog.Any(logkey.Remote, c.sess.Remote.Addr()))
	if c.sess.Helo != "" {
		line = append(line, slog.String(logkey.HELO, shown(c.sess.Helo)))
	}
	line = append(line, slog.String(logkey.TLS, c.tlsVersion()),
		slog.Int(logkey.Messages, c.count.messages), slog.Int(logkey.Errors, c.count.errors))
	c.log.LogAttrs(ctx, slog.LevelDebug, "session closed", line...)
}
