package outbound

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/delivery"
)

// connect makes a connection up to the point where a transaction can begin, or
// tells why it could not.
func (c *Client) connect(
	ctx context.Context, h *hop, t endpoint,
) (_ *conn, failed *delivery.Error) {
	who, failed := c.begin(ctx, h, t.addr)
	if failed != nil {
		failed.Host = t.shown
		return nil, failed
	}
	t.login = who
	end := c.slow.watch(h.patience(), t.host, t.names...)
	failed = temporary(delivery.OpDial, "4.3.0", errCrashed) // unless it comes to an end
	defer func() {
		who.end(failed)
		end(failed == nil || failed.Reply.Code != 0)
	}()
	cn, failed, retry := c.establish(ctx, h, t, t.plain)
	if failed != nil && errors.Is(failed.Err, errResumed) && ctx.Err() == nil {
		cn, failed, retry = c.establish(ctx, h, t, t.plain)
	}
	if retry = retry && ctx.Err() == nil; retry {
		// RFC 7435: opportunistic security falls back to the clear rather than
		// not to deliver.
		c.debug(ctx, "TLS failed, going on without", "host", t.shown, "err", failed.Err)
		cn, failed, _ = c.establish(ctx, h, t, true)
	}
	if who.again() && ctx.Err() == nil {
		cn, failed, _ = c.establish(ctx, h, t, t.plain || retry)
	}
	if failed != nil {
		failed.Host = t.shown
		c.debug(ctx, "connection failed", failedArgs(failed)...)
		return nil, failed
	}
	cn.pool.key, cn.pool.idle, cn.fellBack = h.key, h.IdleTimeout, retry || t.plain
	cn.pool.ends = time.Now().Add(h.ConnectionAge)
	cn.limit = c.messages(h, cn)
	if c.noPipes.has(t.addr) {
		cn.ext.pipelining = false
	}
	cn.order.alone, cn.runs = c.noAhead.has(t.addr), c.noSkips.has(t.addr)
	if c.noChunks.has(t.addr) {
		cn.ext.chunking, cn.ext.binary = false, false
	}
	c.debug(
		ctx, "connected", "host", t.shown, "tls", cn.secure(), "pipelining", cn.ext.pipelining,
		"chunking", cn.ext.chunking,
	)
	return cn, nil
}

// messages is how many a new connection is for; negative: no bound.
func (c *Client) messages(h *hop, cn *conn) int {
	if h.stray {
		return 1
	}
	_, exchangers := c.Site(h.domain)
	most := h.MessagesPerConnection
	for _, n := range []int{c.cfg.Messages(exchangers), cn.ext.maxMail} {
		if n > 0 && (most < 0 || n < most) {
			most = n
		}
	}
	return most
}

// establish connects, with plain without a thought of STARTTLS. retry tells
// that it is worth another try with plain.
func (c *Client) establish(
	ctx context.Context, h *hop, e endpoint, plain bool,
) (cn *conn, failed *delivery.Error, retry bool) {
	raw := e.line.take()
	if raw == nil {
		dialCtx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
		var err error
		raw, err = c.dial(dialCtx, h, &e)
		cancel()
		if err != nil {
			return nil, lost(ctx, delivery.OpDial, "4.4.1", err), false
		}
	}
	cn = newConn(raw, e.shown, e.addr, &c.cfg)
	cn.ticket = c.sessions.ticket(h.key, e.name, e.addr)
	stop := context.AfterFunc(ctx, cn.close)
	failed, retry = c.greet(ctx, h, e, cn, plain)
	if !stop() && failed == nil {
		failed = lost(ctx, delivery.OpDial, "4.4.1", ctx.Err())
	}
	switch {
	case failed == nil:
		return cn, nil, false
	case failed.Reply.Code != 0 && failed.Reply.Code != 421:
		cn.quit()
	default:
		cn.close()
	}
	if cn.ticket.failed() && failed.Reply.Code == 0 {
		failed.Err = fmt.Errorf("%w: %w", errResumed, failed.Err)
	}
	return nil, failed, retry
}

// greet makes a connection ready: greeting, EHLO, TLS and logon.
func (c *Client) greet(
	ctx context.Context, h *hop, e endpoint, cn *conn, plain bool,
) (failed *delivery.Error, retry bool) {
	if h.ImplicitTLS {
		if err := cn.startTLS(ctx, h, e.name); err != nil {
			return lost(ctx, delivery.OpSTARTTLS, "4.7.5", err), false
		}
	}
	rep, err := cn.read(c.cfg.GreetingTimeout, nil)
	switch {
	case err != nil:
		return lost(ctx, delivery.OpGreeting, "4.4.2", err), false
	case rep.code != 220:
		return refused(delivery.OpGreeting, rep), false
	}
	if failed = c.hello(ctx, h, cn); failed != nil {
		return failed, false
	}
	if !cn.secure() && !plain && h.TLS != connector.TLSNone {
		if failed, retry = c.secure(ctx, h, cn, e.name); failed != nil {
			return failed, retry
		}
	}
	return c.logOn(ctx, h, cn, e.login), false
}

// secure goes over to TLS where the peer offers it.
func (c *Client) secure(
	ctx context.Context, h *hop, cn *conn, name string,
) (failed *delivery.Error, retry bool) {
	switch {
	case cn.ext.startTLS:
		failed, broke := c.upgrade(ctx, h, cn, name)
		return failed, broke && h.mayFallBack()
	case h.tlsRequired():
		return temporary(delivery.OpSTARTTLS, "4.7.4", errNoSTARTTLS), false
	}
	return nil, false
}

// upgrade goes over to TLS by STARTTLS. broke tells that it is worth another
// try in the clear, where that is allowed: then a peer that falls silent is
// left early enough for it.
func (c *Client) upgrade(
	ctx context.Context, h *hop, cn *conn, name string,
) (failed *delivery.Error, broke bool) {
	if h.mayFallBack() {
		mine, cancel := turn(ctx, 1)
		defer cancel()
		stop := context.AfterFunc(mine, cn.close)
		defer stop()
		ctx = mine
	}
	rep, err := cn.command("STARTTLS", nil)
	switch {
	case err != nil:
		return lost(ctx, delivery.OpSTARTTLS, "4.4.2", err), true
	case rep.code != 220 && (h.tlsRequired() || rep.code == 421):
		failed := refused(delivery.OpSTARTTLS, rep)
		failed.Permanent = false // a matter of the peer's configuration, not of the message
		return failed, true
	case rep.code != 220:
		return nil, false
	}
	if err := cn.startTLS(ctx, h, name); err != nil {
		return lost(ctx, delivery.OpSTARTTLS, "4.7.5", err), true
	}
	// RFC 3207 section 4.2: what was learned in the clear is forgotten. In TLS
	// 1.3 a peer tells only here that it refused the handshake.
	failed = c.hello(ctx, h, cn)
	return failed, failed != nil && !errors.Is(failed.Err, errLoop)
}

// hello introduces the client. A peer that does not know EHLO gets HELO and has
// no extensions.
func (c *Client) hello(ctx context.Context, h *hop, cn *conn) *delivery.Error {
	name := cmp.Or(h.FQDN, c.cfg.Hostname)
	if name == "" || !fitWord(name) {
		return temporary(delivery.OpEHLO, "4.3.5", errHelo)
	}
	verb := "EHLO "
	if h.LMTP {
		verb = "LHLO "
	}
	var peer []byte // as the peer calls itself
	cn.ext = extensions{}
	lines := 0
	rep, err := cn.command(verb+name, func(text []byte) {
		if lines++; lines > 1 {
			cn.ext.add(text)
			return
		}
		peer, _, _ = bytes.Cut(text, []byte(" "))
		peer = bytes.Clone(peer)
	})
	if err == nil && rep.class() == 5 && !h.LMTP {
		cn.ext = extensions{}
		rep, err = cn.command("HELO "+name, nil) // RFC 5321 section 3.2
	}
	switch {
	case err != nil:
		return lost(ctx, delivery.OpEHLO, "4.4.2", err)
	case rep.class() != 2:
		return refused(delivery.OpEHLO, rep)
	case len(h.Hosts) == 0 && sameName(string(peer), c.cfg.Hostname):
		// The DNS led back to this host by another name or address.
		return permanent(delivery.OpEHLO, "5.4.6", errLoop)
	}
	return nil
}
