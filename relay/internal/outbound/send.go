package outbound

import (
	"context"

	"github.com/postern-mail/postern/relay/delivery"
)

// sendData sends the content with dot-stuffing.
func (t *transaction) sendData(ctx context.Context, c *conn) verdict {
	for {
		b, err := t.body.lines()
		switch {
		case c.ext.chunking && err == errBareLineEnd:
			t.bare = true
			t.stop(ctx, c, delivery.OpContent, err)
			return noData
		case err != nil:
			return t.unfit(c, err)
		}
		t.ended = t.body.last
		if err := c.write(b, c.times.WriteTimeout); err != nil {
			return t.unwritten(ctx, c, delivery.OpContent, err)
		}
		if t.body.last {
			t.end(c, 0)
			return t.final(ctx, c)
		}
		if err := t.body.next(); err != nil {
			return t.unread(ctx, c, err)
		}
	}
}

// end gives up the writing turn, with so many replies owed before the last: all
// of the content is written.
func (t *transaction) end(c *conn, owed int) {
	c.open = false // the reply to the content ends the transaction
	if t.seat.owed = owed + 1; t.hop.LMTP {
		t.seat.owed = owed + len(t.accepted)
	}
	c.order.pool.offer(c, &t.seat)
}

// sendChunks sends the content as it is stored (RFC 3030). The first chunk
// waits for the replies to RCPT although the standard allows otherwise: a peer
// that takes no recipient and does not skip the chunk would run it as commands.
// So does each further one for the chunk before, which may be refused as well,
// unless the peer has shown that it skips them.
func (t *transaction) sendChunks(ctx context.Context, c *conn) verdict {
	for outstanding := 1; ; outstanding++ {
		b, err := t.body.chunk(nil, "")
		if err != nil {
			return t.unfit(c, err)
		}
		t.ended = t.body.last
		if err := c.write(b, c.times.WriteTimeout); err != nil {
			return t.unwritten(ctx, c, delivery.OpContent, err)
		}
		if t.body.last {
			t.end(c, outstanding-1)
		}
		allowed := maxChunks
		switch {
		case t.body.last:
			allowed = 1 // the final one
		case !c.ext.pipelining || !c.skips:
			allowed = 0
		}
		for ; outstanding > allowed; outstanding-- {
			rep, err := t.read(c, c.times.CommandTimeout)
			if err != nil {
				return t.stop(ctx, c, delivery.OpData, err)
			}
			if rep.class() == 2 {
				continue
			}
			c.bad.Store(true) // chunks may be on their way
			if unknown(rep) {
				return t.unknown(c, rep)
			}
			t.refuse(c, rep)
			return settled
		}
		if t.body.last {
			return t.final(ctx, c)
		}
		if err := t.body.next(); err != nil {
			return t.unread(ctx, c, err)
		}
	}
}

// unknown tells that a command is not known, or known and not implemented.
func unknown(rep *reply) bool {
	return rep.code == 500 || rep.code == 502 || rep.code == 504
}

// unknown gives the connection up: a peer that does not know BDAT has taken the
// content for commands.
func (t *transaction) unknown(c *conn, rep *reply) verdict {
	t.closing(c, delivery.OpData, rep)
	return noChunks
}

// final reads what becomes of the message: one reply, with LMTP one for every
// recipient accepted (RFC 2033 section 4.2).
func (t *transaction) final(ctx context.Context, c *conn) verdict {
	if !t.hop.LMTP {
		rep, err := t.read(c, c.times.FinalTimeout)
		if err != nil {
			return t.stop(ctx, c, delivery.OpData, err)
		}
		if t.chunked && unknown(rep) {
			return t.unknown(c, rep)
		}
		if t.misplaced(c, delivery.OpData, rep) || t.chunked && t.doubtful(rep) {
			return t.outOfStep(ctx, c, delivery.OpData, t.accepted)
		}
		t.conclude(c, delivery.OpData, t.accepted, rep)
		return settled
	}
	for k := range t.accepted {
		rep, err := t.read(c, c.times.FinalTimeout)
		if err != nil {
			t.stop(ctx, c, delivery.OpLMTP, err)
			t.settle(t.accepted[k:], failure(t.lost))
			return settled
		}
		if k == 0 && t.chunked && unknown(rep) {
			return t.unknown(c, rep)
		}
		if t.misplaced(c, delivery.OpLMTP, rep) {
			t.outOfStep(ctx, c, delivery.OpLMTP, t.accepted[k:])
			t.settle(t.accepted[k:], failure(t.lost))
			return settled
		}
		t.conclude(c, delivery.OpLMTP, t.accepted[k:k+1], rep)
		if rep.code == 421 {
			t.settle(t.accepted[k:], t.res[t.accepted[k]])
			return settled
		}
	}
	return settled
}

func (t *transaction) conclude(c *conn, op delivery.Op, list []int, rep *reply) {
	r := answered(c, op, rep)
	if r.Delivered {
		t.delivered = true
	} else if rep.class() == 3 {
		c.bad.Store(true)
		c.dead = true // out of step
	}
	t.settle(list, r)
}
