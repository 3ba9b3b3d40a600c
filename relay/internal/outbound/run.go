package outbound

import (
	"context"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
)

// run makes one mail transaction for the recipients in todo. When they are
// settled, todo has those that need another.
func (t *transaction) run(ctx context.Context, c *conn) verdict {
	t.mailed, t.ended, t.delivered, t.ahead = false, false, false, t.seat.behind
	t.outran, t.runs = false, false
	t.accepted, t.over = t.accepted[:0], t.over[:0]
	for _, i := range t.todo {
		t.res[i] = delivery.Result{}
	}
	c.used++
	t.nth, t.again = c.used, c.used > 1
	defer t.body.close()
	if !t.admit(ctx, c) {
		return settled
	}
	asked := t.todo
	for _, n := range []int{c.ext.maxRcpt, t.maxRcpt} {
		if n > 0 && n < len(asked) {
			asked = asked[:n]
		}
	}
	t.asked = len(asked)
	switch v := t.transact(ctx, c, asked); {
	case v == broken && !t.ended && 0 < t.maxRcpt && t.maxRcpt < len(asked):
		return tooMany
	case v != settled:
		return v
	}
	later := t.todo[t.asked:]
	switch {
	case t.delivered || t.mailed && (len(t.accepted) == 0 || t.hop.LMTP):
		t.over = append(t.over, later...)
	case len(t.accepted) > 0:
		t.settle(later, t.res[t.accepted[0]]) // the content was refused, and would be again
		t.over = t.over[:0]
	default:
		t.settle(later, t.res[asked[0]]) // as was the sender
	}
	t.todo = append(t.todo[:0], t.over...)
	return settled
}

func (t *transaction) transact(ctx context.Context, c *conn, asked []int) verdict {
	if t.mayFly(c, asked) {
		if v, fits := t.fly(ctx, c, asked); fits {
			return v
		}
	}
	t.chunked = t.inChunks(c)
	if v, ok := t.envelope(ctx, c, asked); !ok {
		return v
	}
	if t.chunked {
		return t.sendChunks(ctx, c)
	}
	return t.sendData(ctx, c)
}

// inChunks tells whether the content goes out by BDAT. To a peer that has not
// shown that it skips refused chunks each of several would wait for the reply
// to the one before: there they are for what DATA cannot carry.
func (t *transaction) inChunks(c *conn) bool {
	binary := !t.seven && t.req.Message.Body == spool.BodyBinaryMIME
	return c.ext.chunking && (t.body.last || c.skips || binary || t.bare)
}
