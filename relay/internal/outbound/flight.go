package outbound

import (
	"context"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// mayFly tells whether the whole transaction may go out at once: behind others,
// to a peer that skips refused chunks, with content that is a single chunk.
func (t *transaction) mayFly(c *conn, asked []int) bool {
	return t.seat.behind && c.skips && t.body.last && len(asked) <= maxUnread
}

// fly writes the whole transaction at once and reads the replies when their
// turn has come. fits is false if the envelope is too long for that.
func (t *transaction) fly(ctx context.Context, c *conn, asked []int) (v verdict, fits bool) {
	rset := c.open
	c.out = c.out[:0]
	if rset { // nobody may have been taken before, which leaves a transaction open
		c.out = append(c.out, "RSET\r\n"...)
	}
	t.appendMail(c)
	for _, i := range asked {
		t.appendRcpt(c, i)
	}
	if len(c.out) > maxBatchBytes {
		return settled, false
	}
	b, err := t.body.chunk(c.out)
	if err != nil {
		e := at(c.host, permanent(delivery.OpContent, "5.6.11", err))
		t.settle(asked, failure(e))
		return settled, true
	}
	if err := c.write(b, c.times.WriteTimeout); err != nil {
		return t.cut(ctx, c, delivery.OpContent, err), true
	}
	t.ended, c.open = true, true
	t.seat.recipients, t.seat.owed = len(asked), 2+len(asked)
	if rset {
		t.seat.owed++
	}
	c.order.pool.offer(c, &t.seat)
	if v, ok := t.await(ctx, c); !ok {
		return v, true
	}
	return t.land(ctx, c, asked, rset), true
}

// land reads all the replies to a transaction that has gone out at once. A
// refusal that may speak of the connection lets the others be read, and the
// transaction be made on another.
func (t *transaction) land(ctx context.Context, c *conn, asked []int, rset bool) verdict {
	const op = delivery.OpMail
	v := settled
	if rset {
		rep, err := t.read(c, c.times.CommandTimeout)
		switch {
		case err != nil:
			return t.unanswered(ctx, c, op, err)
		case rep.class() != 2:
			v = t.closing(c, op, rep)
		}
	}
	rep, err := t.read(c, c.times.CommandTimeout)
	switch {
	case err != nil:
		return t.unanswered(ctx, c, op, err)
	case v != settled:
	case rep.class() != 2:
		v = t.closing(c, op, rep)
	case t.misplaced(c, op, rep):
		return t.outOfStep(ctx, c, op)
	}
	t.mailed = v == settled
	for _, i := range asked {
		rep, err := t.read(c, c.times.CommandTimeout)
		switch {
		case err != nil:
			return t.unanswered(ctx, c, delivery.OpRcpt, err)
		case v != settled:
		case rep.code == 421 || t.stale(rep):
			v = t.closing(c, delivery.OpRcpt, rep)
		case t.misplaced(c, delivery.OpRcpt, rep):
			return t.outOfStep(ctx, c, delivery.OpRcpt)
		default:
			t.recipient(c, i, rep)
		}
	}
	return t.touchDown(ctx, c, v)
}

// touchDown reads the reply to the content.
func (t *transaction) touchDown(ctx context.Context, c *conn, v verdict) verdict {
	const op = delivery.OpData
	rep, err := t.read(c, c.times.FinalTimeout)
	nobody := v != settled || len(t.accepted) == 0
	switch {
	case err != nil:
		return t.unanswered(ctx, c, op, err)
	case rep.class() < 4 && (nobody || rep.class() != 2), t.misplaced(c, op, rep):
		return t.outOfStep(ctx, c, op) // taken for nobody, or another's reply
	case v != settled:
		t.ended = false // it was refused, and goes to another connection
		return v
	case nobody:
		return settled
	case rep.code == 421 || t.doubtful(rep):
		t.ended = false
		return t.closing(c, op, rep)
	}
	t.conclude(c, op, t.accepted, rep)
	return settled
}

// read reads a reply of those that are owed.
func (t *transaction) read(c *conn, timeout time.Duration) (*reply, error) {
	rep, err := c.read(timeout, nil)
	if err == nil && t.seat.owed > 0 {
		t.seat.owed--
	}
	return rep, err
}

// unanswered tells of a connection that was lost before all was answered. What
// a peer gets behind its own 421 it does not take (RFC 5321 section 3.8).
func (t *transaction) unanswered(
	ctx context.Context, c *conn, op delivery.Op, err error,
) verdict {
	t.ended = t.ended && !c.said421
	return t.stop(ctx, c, op, err)
}
