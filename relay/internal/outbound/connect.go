package outbound

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/postern-mail/postern/connector"
)

var (
	errHelo       = errors.New("EHLO name not fit for the wire")
	errOutOfPlace = errors.New("reply out of place")
	errNotReady   = fmt.Errorf("no host was ready: %w", os.ErrDeadlineExceeded)
	errNoPlace    = fmt.Errorf("no connection came free: %w", os.ErrDeadlineExceeded)
)

// connect makes a connection up to the point where a transaction can begin, or
// tells why it could not.
func (c *Client) connect(ctx context.Context, h *NextHop, key hopKey, t target) (*conn, *Result) {
	logon, failed := c.logons.begin(ctx, h, t.addr)
	if failed != nil {
		failed.Host = t.shown
		return nil, failed
	}
	end := c.slow.watch(h.patience(), t.host, t.names...)
	cn, failed, retry := c.establish(ctx, h, t, t.plain)
	if retry = retry && ctx.Err() == nil; retry {
		// RFC 7435: opportunistic security falls back to the clear rather than
		// not to deliver.
		c.debug(ctx, "TLS failed, going on without", "host", t.shown, "err", failed.Err)
		cn, failed, _ = c.establish(ctx, h, t, true)
	}
	logon.end(failed)
	end(failed == nil || failed.Code != 0)
	if failed != nil {
		failed.Host = t.shown
		c.debug(
			ctx, "connection failed", "host", t.shown, "op", failed.Op, "code", failed.Code, "text",
			failed.Text, "err", failed.Err,
		)
		return nil, failed
	}
	cn.pool.key, cn.fellBack = key, retry || t.plain
	if cn.limit = h.MessagesPerConnection; cn.limit == 0 {
		cn.limit = 100
	}
	if n := cn.ext.maxMail; n > 0 && (cn.limit < 0 || n < cn.limit) {
		cn.limit = n
	}
	if c.noPipes.has(t.addr) {
		cn.ext.pipelining = false
	}
	if c.noChunks.has(t.addr) {
		cn.ext.chunking, cn.ext.binary = false, false
	}
	c.debug(
		ctx, "connected", "host", t.shown, "tls", cn.secure(), "pipelining", cn.ext.pipelining,
		"chunking", cn.ext.chunking,
	)
	return cn, nil
}

// establish connects, with plain without a thought of STARTTLS. retry tells
// that it is worth another try with plain.
func (c *Client) establish(
	ctx context.Context, h *NextHop, t target, plain bool,
) (cn *conn, failed *Result, retry bool) {
	dialCtx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	raw, err := c.cfg.Dial(dialCtx, t.network, t.addr)
	cancel()
	if err != nil {
		return nil, lost(ctx, "dial", "4.4.1", err), false
	}
	cn = newConn(raw, t.shown, t.addr, &c.cfg)
	stop := context.AfterFunc(ctx, cn.close)
	defer func() {
		if !stop() && failed == nil {
			failed = lost(ctx, "dial", "4.4.1", ctx.Err())
		}
		if failed != nil {
			if failed.Code != 0 && failed.Code != 421 {
				cn.quit()
			} else {
				cn.close()
			}
			cn = nil
		}
	}()

	if h.ImplicitTLS {
		if err := cn.startTLS(ctx, h, t.name); err != nil {
			return cn, lost(ctx, "starttls", "4.7.5", err), false
		}
	}
	rep, err := cn.read(c.cfg.GreetingTimeout, nil)
	if err != nil {
		return cn, lost(ctx, "greeting", "4.4.2", err), false
	}
	if rep.code != 220 {
		failed := refused("greeting", rep)
		return cn, &failed, false
	}
	if failed := c.hello(ctx, h, cn); failed != nil {
		return cn, failed, false
	}

	if !cn.secure() && !plain && h.TLS != connector.TLSNone {
		switch {
		case cn.ext.startTLS:
			if failed, broke := c.upgrade(ctx, h, cn, t.name); failed != nil {
				return cn, failed, broke && mayFallBack(h)
			}
		case tlsRequired(h):
			return cn, &Result{Op: "starttls", Enhanced: "4.7.4", Err: errNoSTARTTLS}, false
		}
	}

	if h.Username != "" {
		login, failed := cn.auth(ctx, h, c.byLogin.has(t.addr))
		if failed != nil {
			return cn, failed, false
		}
		if login && cn.ext.plain {
			c.byLogin.add(t.addr)
		}
	}
	return cn, nil, false
}

// upgrade goes over to TLS by STARTTLS. broke tells that it is worth another
// try in the clear, where that is allowed: then a peer that falls silent is
// left early enough for it.
func (c *Client) upgrade(
	ctx context.Context, h *NextHop, cn *conn, name string,
) (failed *Result, broke bool) {
	if mayFallBack(h) {
		mine, cancel := turn(ctx, 1)
		defer cancel()
		stop := context.AfterFunc(mine, cn.close)
		defer stop()
		ctx = mine
	}
	rep, err := cn.command("STARTTLS", nil)
	switch {
	case err != nil:
		return lost(ctx, "starttls", "4.4.2", err), true
	case rep.code != 220 && (tlsRequired(h) || rep.code == 421):
		r := refused("starttls", rep)
		r.Outcome = Temporary // a matter of the peer's configuration, not of the message
		return &r, true
	case rep.code != 220:
		return nil, false
	}
	if err := cn.startTLS(ctx, h, name); err != nil {
		return lost(ctx, "starttls", "4.7.5", err), true
	}
	// RFC 3207 section 4.2: what was learned in the clear is forgotten. In TLS
	// 1.3 a peer tells only here that it refused the handshake.
	failed = c.hello(ctx, h, cn)
	return failed, failed != nil && !errors.Is(failed.Err, errLoop)
}

// hello introduces the client. A peer that does not know EHLO gets HELO and has
// no extensions.
func (c *Client) hello(ctx context.Context, h *NextHop, cn *conn) *Result {
	name := h.Helo
	if name == "" {
		name = c.cfg.Hostname
	}
	if name == "" || !fitWord(name) {
		return &Result{Op: "ehlo", Enhanced: "4.3.5", Err: errHelo}
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
		return lost(ctx, "ehlo", "4.4.2", err)
	case rep.class() != 2:
		failed := refused("ehlo", rep)
		return &failed
	case len(h.Hosts) == 0 && sameName(string(peer), c.cfg.Hostname):
		// The DNS led back to this host by another name or address.
		return &Result{Outcome: Permanent, Op: "ehlo", Enhanced: "5.4.6", Err: errLoop}
	}
	return nil
}

// crowded tells whether a failure may be about the number of connections: the
// peer let this one in and then would not serve it.
func crowded(r *Result) bool {
	switch {
	case r.Op == "greeting" && r.Code != 0:
		return true // also 554: what it serves others with, it refused nobody
	case r.Outcome != Temporary || r.Op != "greeting" && r.Op != "ehlo" && r.Op != "mail":
		return false
	case r.Code != 0:
		return r.Op != "mail" || r.Code == 421 || r.Code == 432
	}
	e, ok := errors.AsType[net.Error](r.Err)
	return (!ok || !e.Timeout()) && !errors.Is(r.Err, errHelo)
}

// refused is the result of a reply that ends a step.
func refused(op string, rep *reply) Result {
	r := Result{Op: op, Code: rep.code}
	r.Enhanced, r.Text = rep.strings()
	switch {
	case rep.class() == 5:
		r.Outcome = Permanent
	case rep.class() != 4:
		r.Err = errOutOfPlace
	}
	return r
}

// lost is the result of a connection that broke, or was given up because ctx
// ended.
func lost(ctx context.Context, op, enhanced string, err error) *Result {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return &Result{Op: op, Enhanced: enhanced, Err: err}
}

func (c *Client) debug(ctx context.Context, msg string, args ...any) {
	if c.cfg.Logger.Enabled(ctx, slog.LevelDebug) {
		c.cfg.Logger.DebugContext(ctx, msg, args...)
	}
}
