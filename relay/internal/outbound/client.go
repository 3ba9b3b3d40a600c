package outbound

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// How long failures are remembered.
const (
	deadFor     = 30 * time.Second
	noChunksFor = time.Hour
	maxRcptFor  = time.Hour
	byLoginFor  = time.Hour
)

// maxTries bounds the connections made to an address in one attempt, each for
// what the one before has taught of the peer.
const maxTries = 4

// Client delivers requests. It is safe for concurrent use.
type Client struct {
	cfg      Config
	resolver delivery.Resolver
	pool     pool
	dead     memo // hosts and addresses that could not be used
	slow     slowHosts
	noChunks memo // addresses that offer CHUNKING and do not know BDAT
	noPipes  memo // addresses that offer PIPELINING and answer out of order
	maxRcpt  memo // addresses that take so many recipients in a transaction
	byLogin  memo // addresses that offer PLAIN and take LOGIN alone
	logons   logons
	memory   sync.Pool
}

// New makes a client. It starts nothing.
func New(cfg Config) *Client {
	if cfg.Resolver == nil {
		cfg.Resolver = delivery.StandardResolver(nil)
	}
	if cfg.Own == nil {
		cfg.Own = func(netip.AddrPort) bool { return false }
	}
	if cfg.Dial == nil {
		cfg.Dial = new(net.Dialer).DialContext
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&cfg.ConnectTimeout, 30 * time.Second},
		{&cfg.GreetingTimeout, time.Minute},
		{&cfg.ReadyTimeout, 2 * time.Minute},
		{&cfg.CommandTimeout, 5 * time.Minute},
		{&cfg.WriteTimeout, 3 * time.Minute},
		{&cfg.FinalTimeout, 10 * time.Minute},
		{&cfg.IdleTimeout, 5 * time.Second},
	} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	c := &Client{cfg: cfg, resolver: cfg.Resolver}
	c.dead.keep, c.noChunks.keep, c.noPipes.keep = deadFor, noChunksFor, noChunksFor
	c.maxRcpt.keep, c.byLogin.keep = maxRcptFor, byLoginFor
	c.pool.idleTimeout, c.pool.patience = cfg.IdleTimeout, cfg.ReadyTimeout
	c.pool.hops = make(map[hopKey]*hop)
	c.memory.New = func() any { return new(transaction) }
	return c
}

// Close closes the idle connections. Deliveries on their way go on to their
// end; later ones are temporary failures.
func (c *Client) Close() error {
	c.pool.close()
	return nil
}

// Deliver runs one request and returns one result per recipient, in order. When
// ctx ends the connection is closed at once, and what is not decided is a
// temporary failure.
//
// A recipient is asked for again, in another transaction, when the peer took
// others and refused this one as one too many. The number of those taken is
// remembered for an hour.
func (c *Client) Deliver(ctx context.Context, r *Request) []Result {
	t := c.memory.Get().(*transaction)
	t.begin(r)
	for len(t.todo) > 0 {
		c.attempt(ctx, t)
	}
	res := t.res
	t.req, t.res, t.plan, t.lost = nil, nil, nil, Result{}
	c.memory.Put(t)
	return res
}

// attempt makes one mail transaction on an idle connection or a new one.
func (c *Client) attempt(ctx context.Context, t *transaction) {
	h := t.req.Hop
	key := keyOf(h)
	for {
		cn, err := c.pool.get(ctx, key, cmp.Or(h.MaxConnections, 20))
		if err != nil {
			t.give(*lost(ctx, "dial", "4.4.1", err))
			return
		}
		if cn != nil {
			switch v := c.run(ctx, cn, t); {
			case v == settled:
				return
			case v == broken && (t.ended || ctx.Err() != nil):
				t.give(t.lost)
				c.pool.leave(key)
				return
			}
			// The peer had left it, as idle connections are, or had enough of
			// it. It did not refuse the message: once more on a new one.
		}
		failed, done := c.connectAndRun(ctx, t, key)
		if done {
			return
		}
		if ctx.Err() != nil || !crowded(&failed) || !c.pool.crowd(key) {
			t.give(failed)
			c.pool.leave(key)
			return
		}
	}
}

// connectAndRun makes a transaction on a new connection. Unless it is done, no
// host was ready for it, and the place in the pool is still held. One clock
// goes for all hosts, so that many silent ones take little longer than one; it
// leaves each of them its turn, so that a healthy one behind them is reached.
func (c *Client) connectAndRun(
	ctx context.Context, t *transaction, key hopKey,
) (failed Result, done bool) {
	h := t.req.Hop
	ready, cancel := context.WithTimeoutCause(ctx, c.cfg.ReadyTimeout, errNotReady)
	defer cancel()
	var cn *conn
	for target, why := range c.route(ready, h, key) {
		// Again for a peer that turned out not to know BDAT or PIPELINING, or
		// to take fewer recipients.
		for n := 0; why == nil; n++ {
			mine, end := turn(ready, target.behind)
			cn, why = c.connect(mine, h, key, target)
			end()
			if cn == nil {
				break
			}
			switch v := c.run(ctx, cn, t); {
			case v == settled:
				return Result{}, true
			case v == broken && (t.mailed || t.ended):
				t.give(t.lost)
				c.pool.leave(key)
				return Result{}, true
			case n+1 < maxTries && v == broken && cn.tlsBroke(h, &t.lost):
				target.plain = true
			case n+1 < maxTries && (v == tooMany || v == noChunks || v == noPipes):
			default:
				why = &t.lost
			}
		}
		if failed.Op == "" || why.Outcome == Temporary {
			failed = *why // final only when all say so
		}
	}
	return failed, false
}

// run makes a transaction on a connection and, when that is settled, gives the
// connection back to the pool. Otherwise the connection is closed and its place
// in the pool still held.
func (c *Client) run(ctx context.Context, cn *conn, t *transaction) verdict {
	if len(t.todo) > 1 {
		cn.maxRcpt = c.maxRcpt.number(cn.addr)
	}
	known := cn.maxRcpt
	stop := context.AfterFunc(ctx, cn.close)
	v := t.run(ctx, cn)
	if n := cn.maxRcpt; n > 0 && n != known {
		c.maxRcpt.note(cn.addr, n)
	} else if n != known {
		c.maxRcpt.remove(cn.addr)
	}
	if !stop() {
		cn.bad = true
	}
	if c.cfg.Logger.Enabled(ctx, slog.LevelDebug) {
		c.log(ctx, cn, t, v)
	}
	switch {
	case v == settled && !cn.bad && (cn.limit < 0 || cn.used < cn.limit):
		c.pool.put(cn)
	case v == settled:
		if c.pool.scarce(cn.pool.key) {
			cn.part() // first: the peer counts connections too
		} else {
			cn.quit()
		}
		c.pool.leave(cn.pool.key)
	case v == noChunks:
		c.noChunks.add(cn.addr)
		cn.close()
	case v == noPipes:
		c.noPipes.add(cn.addr)
		cn.close()
	default:
		cn.close()
	}
	return v
}

func (c *Client) log(ctx context.Context, cn *conn, t *transaction, v verdict) {
	args := []any{
		"id", t.req.ID, "host", cn.host, "transaction", cn.used, "accepted", len(t.accepted),
		"delivered", t.delivered,
	}
	if v != settled {
		args = append(
			args, "op", t.lost.Op, "code", t.lost.Code, "text", t.lost.Text, "err", t.lost.Err,
		)
	}
	c.cfg.Logger.DebugContext(ctx, "transaction", args...)
}

// Limit is the number of connections that a next hop takes at once: its
// MaxConnections, or for a minute fewer after it would not serve that many.
func (c *Client) Limit(h *NextHop) int {
	return c.pool.limit(keyOf(h), cmp.Or(h.MaxConnections, 20))
}

func keyOf(h *NextHop) hopKey {
	key := hopKey{key: h.Key}
	if len(h.Hosts) == 0 {
		key.domain = h.Domain
	}
	return key
}
