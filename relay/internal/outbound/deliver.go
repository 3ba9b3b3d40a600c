package outbound

import (
	"context"
	"log/slog"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// maxTries bounds the connections made to an address in one attempt, each for
// what the one before has taught of the peer.
const maxTries = 4

// Deliver runs one request and returns one result per recipient, in order. When
// ctx ends the connection is closed at once, and what is not decided is a
// temporary failure.
//
// A recipient is asked for again, in another transaction, when the peer took
// others and refused this one as one too many. The number of those taken is
// remembered for an hour.
func (c *Client) Deliver(ctx context.Context, r *Request) []delivery.Result {
	t := c.memory.Get().(*transaction)
	t.begin(r)
	t.hop = ready(r.Hop, r.Domain)
	if failed := c.locate(ctx, &t.hop); failed != nil {
		t.give(failed)
	}
	for len(t.todo) > 0 {
		c.attempt(ctx, t, &t.hop)
	}
	res := t.res
	t.req, t.res, t.plan, t.lost, t.hop = nil, nil, nil, nil, hop{}
	c.memory.Put(t)
	return res
}

// attempt makes one mail transaction on an idle connection or a new one.
func (c *Client) attempt(ctx context.Context, t *transaction, h *hop) {
	most := c.cfg.Part(h.MaxConnections)
	for again := true; again; {
		cn, err := c.pool.get(ctx, h.key, most, &t.seat)
		if err != nil {
			t.give(lost(ctx, delivery.OpDial, "4.4.1", err))
			return
		}
		again = c.take(ctx, cn, t, h)
	}
}

// take uses a place in the pool, and gives it up however that ends: what the
// application has given may crash.
func (c *Client) take(ctx context.Context, cn *conn, t *transaction, h *hop) (again bool) {
	ended := false
	defer func() {
		if !ended {
			c.abandon(t)
		}
	}()
	again = c.use(ctx, cn, t, h)
	ended = true
	return again
}

// use makes a transaction on a connection, or on a new one if it is nil. It
// reports whether another place is to be asked for.
func (c *Client) use(ctx context.Context, cn *conn, t *transaction, h *hop) (again bool) {
	if cn != nil {
		switch v := c.run(ctx, cn, t); {
		case v == settled:
			return false
		case v == broken && (t.ended || ctx.Err() != nil):
			t.give(t.lost)
			c.vacate(t)
			return false
		case t.seat.gone: // once more, and not ahead of its turn
			t.seat.may = false
			return true
		}
		// The peer had left it, as idle connections are, or had enough of it.
		// It did not refuse the message: once more on a new one.
	}
	failed := c.connectAndRun(ctx, t, h)
	if failed == nil {
		return false
	}
	if ctx.Err() != nil || !crowded(failed) || !c.pool.crowd(h.key) {
		t.give(failed)
		c.pool.leave(h.key)
		return false
	}
	return true
}

// abandon gives up what a delivery holds that has crashed: a connection on
// which it has the turn to read, or its place behind others, to whom it has
// said nothing yet.
func (c *Client) abandon(t *transaction) {
	cn, s := t.on, &t.seat
	s.uses.Add(1) // the end of its context is nobody's business any more
	switch {
	case cn == nil:
	case s.gone:
		return
	case s.behind:
		c.pool.withdraw(cn, s)
		return
	default:
		cn.bad.Store(true)
		if c.pool.pass(cn, s, true) {
			return
		}
		cn.close()
	}
	c.pool.leave(t.hop.key)
}

// vacate gives the place of a connection up that has ended, if it is not
// another's.
func (c *Client) vacate(t *transaction) {
	if !t.seat.gone {
		c.pool.leave(t.hop.key)
	}
}

// connectAndRun makes a transaction on a new connection. A failure means that
// no host was ready for it, and the place in the pool is still held. One clock
// goes for all hosts, so that many silent ones take little longer than one; it
// leaves each of them its turn, so that a healthy one behind them is reached.
func (c *Client) connectAndRun(ctx context.Context, t *transaction, h *hop) (
	failed *delivery.Error,
) {
	until, cancel := context.WithTimeoutCause(ctx, c.cfg.ReadyTimeout-h.sought, errNotReady)
	defer cancel()
	for e, why := range c.route(until, h) {
		if why == nil {
			if why = c.runAt(ctx, until, e, t, h); why == nil {
				return nil
			}
		}
		if failed == nil || !why.Permanent {
			failed = why // final only when all say so
		}
	}
	return failed
}

// runAt makes a transaction at one endpoint: again for a peer that turned out
// not to know BDAT or PIPELINING, to take fewer recipients, or to break off
// over TLS, and for content that turned out not to fit DATA.
func (c *Client) runAt(
	ctx, until context.Context, e endpoint, t *transaction, h *hop,
) *delivery.Error {
	for n := 1; ; n++ {
		mine, end := turn(until, e.behind)
		cn, failed := c.connect(mine, h, e)
		end()
		if cn == nil {
			return failed
		}
		switch v := c.run(ctx, cn, t); {
		case v == settled:
			return nil
		case v == broken && (t.mailed || t.ended):
			t.give(t.lost)
			c.vacate(t)
			return nil
		case n == maxTries:
			return t.lost
		case v == broken && cn.tlsBroke(h, t.lost):
			e.plain = true
		case v == broken:
			return t.lost
		}
	}
}

// run makes a transaction on a connection and, when that is settled, gives the
// connection back to the pool. Otherwise the connection is closed and its place
// in the pool still held, unless the seat says that they are another's.
func (c *Client) run(ctx context.Context, cn *conn, t *transaction) verdict {
	s := &t.seat
	t.on = cn
	if !s.behind {
		s.stand()
		cn.order.pool, cn.order.front = &c.pool, s
	}
	known := c.recipientLimit(cn, t)
	use, began := s.uses.Load(), time.Now()
	stop := context.AfterFunc(ctx, func() { c.pool.interrupt(cn, s, use) })
	v := t.run(ctx, cn)
	stopped := stop()
	s.uses.Add(1) // what comes of it later is nobody's business any more
	c.learn(cn, t, v, known)
	if c.cfg.Logger.Enabled(ctx, slog.LevelDebug) {
		c.log(ctx, cn, t, v)
	}
	if v == settled && t.delivered {
		if t.ahead && !s.since.IsZero() {
			began = s.since // what came before is the time of others
		}
		size := class(t.req.Message.Size, len(t.accepted))
		c.pool.learn(cn.pool.key, size, t.ahead, time.Since(began))
	}
	switch {
	case s.gone:
	case s.behind:
		c.pool.withdraw(cn, s)
	case c.pool.pass(cn, s, v != settled && !(v == broken && t.ended)):
	case v == settled:
		if !stopped || s.debt+s.owed > 0 {
			cn.bad.Store(true)
		}
		c.pool.release(cn)
	default:
		cn.close()
	}
	t.on = nil
	return v
}

// recipientLimit looks up how many recipients the peer takes, for a message
// that has several.
func (c *Client) recipientLimit(cn *conn, t *transaction) int {
	if len(t.req.Recipients) > 1 {
		t.maxRcpt = c.maxRcpt.number(cn.addr)
	}
	return t.maxRcpt
}

// learn remembers what a transaction has taught of the peer.
func (c *Client) learn(cn *conn, t *transaction, v verdict, maxRcpt int) {
	if n := t.maxRcpt; n > 0 && n != maxRcpt {
		c.maxRcpt.note(cn.addr, n)
	} else if n != maxRcpt {
		c.maxRcpt.remove(cn.addr)
	}
	switch {
	case v == noChunks:
		c.noChunks.add(cn.addr)
	case v == noPipes:
		c.noPipes.add(cn.addr)
	}
	if t.outran {
		c.noAhead.add(cn.addr)
	}
	if t.runs {
		c.noSkips.add(cn.addr)
	}
}

func (c *Client) log(ctx context.Context, cn *conn, t *transaction, v verdict) {
	args := []any{
		"queue_id", t.req.QueueID, "host", cn.host, "transaction", t.nth, "ahead", t.ahead,
		"accepted", len(t.accepted), "delivered", t.delivered,
	}
	if v != settled {
		args = append(
			args, "op", t.lost.Op, "code", t.lost.Reply.Code, "text", t.lost.Reply.Text,
			"err", t.lost.Err,
		)
	}
	c.cfg.Logger.DebugContext(ctx, "transaction", args...)
}
