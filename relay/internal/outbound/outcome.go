package outbound

import (
	"context"

	"github.com/postern-mail/postern/relay/delivery"
)

// Bounds of what is written before replies are read: replies to it must fit
// into the buffers between the two sides, or both could wait for the other for
// ever (RFC 2920 section 3.1).
const (
	// firstBatch is how many recipients are asked at first: each peer takes as
	// many (RFC 5321 section 4.5.3.1.8). While it takes all, twice as many
	// follow each time.
	firstBatch    = 100
	maxBatch      = 400      // recipients
	maxBatchBytes = 16 << 10 // of commands
	maxChunks     = 8        // BDAT chunks
)

// verdict is what a transaction came to.
type verdict uint8

const (
	settled  verdict = iota // the recipients asked have their results
	broken                  // the connection was lost on the way: transaction.lost tells why
	noChunks                // the peer has offered CHUNKING and does not know BDAT
	noData                  // DATA cannot carry the content, and the peer has offered CHUNKING
	noPipes                 // the peer has offered PIPELINING and answered out of order
	tooMany                 // the connection was lost over more recipients than transaction.maxRcpt
)

// decided tells whether a recipient has its result.
func decided(r *delivery.Result) bool { return r.Delivered || r.Err != nil }

// give fails all that is undecided.
func (t *transaction) give(failed *delivery.Error) {
	for _, i := range t.todo {
		if !decided(&t.res[i]) {
			t.res[i] = failure(failed)
		}
	}
	t.todo = t.todo[:0]
}

// failure is the result of a failure.
func failure(e *delivery.Error) delivery.Result {
	return delivery.Result{Err: e, Host: e.Host}
}

// settle gives the same result to the recipients listed.
func (t *transaction) settle(list []int, r delivery.Result) {
	for _, i := range list {
		t.res[i] = r
	}
}

// stop notes that the connection broke, or was given up.
func (t *transaction) stop(ctx context.Context, c *conn, op delivery.Op, err error) verdict {
	if !c.interrupted.Load() {
		c.bad.Store(true)
	}
	t.outran = t.ahead && c.dead && !t.ended && !c.said421 && ctx.Err() == nil
	t.lost = at(c.host, lost(ctx, op, "4.4.2", err))
	return broken
}

// closing notes that the peer gives the connection up, with a reply that says
// so.
func (t *transaction) closing(c *conn, op delivery.Op, rep *reply) verdict {
	c.bad.Store(true)
	t.outran = t.ahead && rep.code/10 == 50
	t.lost = at(c.host, refused(op, rep))
	t.lost.Permanent = false
	return broken
}

// answered is the result a reply means for a recipient.
func answered(c *conn, op delivery.Op, rep *reply) delivery.Result {
	if rep.class() == 2 {
		return delivery.Result{
			Delivered: true, Host: c.host, Reply: rep.copied(), DSN: c.ext.dsn,
		}
	}
	e := at(c.host, refused(op, rep))
	if rep.code == 530 && c.fellBack {
		e.Permanent = false // RFC 3207 section 4: the peer insists on TLS, which is out of order
	}
	return failure(e)
}

// later is a result that means another attempt, whatever the reply.
func later(c *conn, op delivery.Op, rep *reply) delivery.Result {
	e := at(c.host, refused(op, rep))
	e.Permanent = false
	return failure(e)
}

// refuse settles those accepted with a reply that cannot mean that the message
// was taken.
func (t *transaction) refuse(c *conn, rep *reply) {
	if rep.class() == 2 {
		t.settle(t.accepted, later(c, delivery.OpData, rep))
		return
	}
	t.settle(t.accepted, answered(c, delivery.OpData, rep))
}

// unwritten looks, when a write has failed, for the reply with which the peer
// has closed: "552 too large" in the midst of the content says more than a
// reset.
func (t *transaction) unwritten(ctx context.Context, c *conn, op delivery.Op, err error) verdict {
	if t.seat.behind {
		return t.cut(ctx, c, op, err)
	}
	for range maxBatch + maxChunks {
		if ctx.Err() != nil {
			break
		}
		rep, rerr := c.read(min(pendingReply, c.times.CommandTimeout), nil)
		if rerr != nil {
			break
		}
		switch {
		case rep.class() < 4:
			continue // to something before
		case op == delivery.OpContent && rep.code != 421:
			c.bad.Store(true)
			t.refuse(c, rep)
			return settled
		}
		c.bad.Store(true)
		return t.closing(c, op, rep)
	}
	return t.stop(ctx, c, op, err)
}

// unfit gives up in the midst of a content that cannot go on. The connection
// closes short of its end, and the peer drops what it has.
func (t *transaction) unfit(c *conn, err error) verdict {
	c.bad.Store(true)
	t.settle(t.accepted, failure(at(c.host, permanent(delivery.OpContent, "5.6.11", err))))
	return settled
}

// unread gives up in the midst of the content because it cannot be read on.
func (t *transaction) unread(ctx context.Context, c *conn, err error) verdict {
	c.bad.Store(true)
	t.settle(t.accepted, failure(at(c.host, lost(ctx, delivery.OpContent, "4.3.0", err))))
	return settled
}
