package outbound

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// mayFly tells whether the whole transaction may go out at once: behind others,
// to a peer that skips refused chunks, with content that is a single chunk.
func (t *transaction) mayFly(c *conn, asked []int) bool {
	return t.seat.behind && c.skips && t.body.last && len(asked) <= maxUnread
}

// fly writes the whole transaction at once and reads the replies when their
// turn has come. RSET ends it: where nobody is taken the transaction would stay
// open for what comes behind. fits is false if the envelope is too long.
func (t *transaction) fly(ctx context.Context, c *conn, asked []int) (v verdict, fits bool) {
	c.out = c.out[:0]
	t.appendMail(c)
	for _, i := range asked {
		t.appendRcpt(c, i)
	}
	if len(c.out) > maxBefore {
		return settled, false
	}
	b, err := t.body.chunk(c.out, "RSET\r\n")
	if err != nil {
		e := at(c.host, permanent(delivery.OpContent, "5.6.11", err))
		t.settle(asked, failure(e))
		return settled, true
	}
	if err := c.write(b, c.times.WriteTimeout); err != nil {
		return t.cut(ctx, c, delivery.OpContent, err), true
	}
	t.ended = true
	t.seat.recipients, t.seat.owed = len(asked), 3+len(asked)
	c.order.pool.offer(c, &t.seat)
	if v, ok := t.await(ctx, c); !ok {
		return v, true
	}
	return t.land(ctx, c, asked), true
}

// land reads all the replies to a transaction that has gone out at once. A
// refusal that may speak of the connection lets the others be read, and the
// transaction be made on another.
func (t *transaction) land(ctx context.Context, c *conn, asked []int) verdict {
	const op = delivery.OpMail
	v, stale := settled, false
	rep, err := t.read(c, c.times.CommandTimeout)
	switch {
	case err != nil:
		return t.unanswered(ctx, c, op, err)
	case rep.class() != 2:
		v = t.closing(c, op, rep)
	case t.misplaced(c, op, rep):
		return t.outOfStep(ctx, c, op, asked)
	}
	t.mailed = v == settled
	for _, i := range asked {
		rep, err := t.read(c, c.times.CommandTimeout)
		switch {
		case err != nil:
			return t.unanswered(ctx, c, delivery.OpRcpt, err)
		case v != settled:
		case rep.code == 421 || t.stale(rep):
			t.closing(c, delivery.OpRcpt, rep)
			t.res[i], t.over, stale = failure(t.lost), append(t.over, i), true
		case t.misplaced(c, delivery.OpRcpt, rep):
			return t.outOfStep(ctx, c, delivery.OpRcpt, asked)
		default:
			t.recipient(c, i, rep)
		}
	}
	if stale && len(t.accepted) == 0 {
		v = broken
	}
	if v = t.touchDown(ctx, c, asked, v); c.dead || t.seat.owed == 0 {
		return v
	}
	// A reply too many, or too few, is out of place at RSET at the latest.
	rep, err = t.read(c, c.times.CommandTimeout)
	late := errors.Is(err, os.ErrDeadlineExceeded) && c.dead
	if late || err == nil && rep.code != 421 && (rep.class() != 2 || t.misplaced(c, opReset, rep)) {
		t.ended = true
		return t.outOfStep(ctx, c, delivery.OpData, asked)
	}
	return v
}

// touchDown reads the reply to the content.
func (t *transaction) touchDown(
	ctx context.Context, c *conn, asked []int, v verdict,
) verdict {
	const op = delivery.OpData
	rep, err := t.read(c, c.times.FinalTimeout)
	nobody := v != settled || len(t.accepted) == 0
	switch {
	case err != nil:
		return t.unanswered(ctx, c, op, err)
	case rep.class() < 4 && (nobody || rep.class() != 2), t.misplaced(c, op, rep):
		return t.outOfStep(ctx, c, op, asked) // taken for nobody, or another's reply
	case v != settled:
		t.ended = false // it was refused, and goes to another connection
		return v
	case nobody:
		return settled
	case rep.code != 421 && t.doubtful(rep):
		return t.outOfStep(ctx, c, op, asked)
	case rep.code == 421:
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
