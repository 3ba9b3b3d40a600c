package outbound

import (
	"context"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
)

// envelope sends MAIL and RCPT, and DATA unless the content goes in chunks.
// With PIPELINING all of it goes out at once. ok tells that the content comes
// next; else the verdict stands.
func (t *transaction) envelope(ctx context.Context, c *conn, asked []int) (v verdict, ok bool) {
	c.out = c.out[:0]
	t.due = due{rset: c.open}
	if c.open {
		c.out = append(c.out, "RSET\r\n"...) // what the transaction before has left behind
		if !c.ext.pipelining {
			if v, ok := t.exchange(ctx, c, asked, 0); !ok {
				return v, false
			}
		}
	}
	t.appendProbe(c)
	t.appendMail(c)
	t.due.mail = true
	if !c.ext.pipelining {
		if v, ok := t.exchange(ctx, c, asked, 0); !ok {
			return v, false
		}
	}
	if v, ok := t.recipients(ctx, c, asked); !ok {
		return v, false
	}
	switch {
	case len(t.accepted) == 0 && !t.due.data:
		return t.confirm(ctx, c, asked[:t.asked]), false
	case t.chunked:
		return settled, true
	}
	if !t.due.data {
		c.out = append(c.out, "DATA\r\n"...)
		if err := c.flush(t.seat.behind); err != nil {
			return t.unwritten(ctx, c, delivery.OpData, err), false
		}
	}
	return t.data(ctx, c, asked)
}

// recipients sends RCPT for each of those asked, as far as the peer takes them,
// and with PIPELINING DATA behind them.
func (t *transaction) recipients(ctx context.Context, c *conn, asked []int) (v verdict, ok bool) {
	batch := firstBatch
	if c.ext.maxRcpt > 0 || t.maxRcpt > 0 { // it is known how many the peer takes
		batch = maxBatch
	}
	for k := range asked {
		t.appendRcpt(c, asked[k])
		end := k == len(asked)-1
		if c.ext.pipelining && !end &&
			k+1-t.due.next < batch && len(c.out) < maxBatchBytes {
			continue
		}
		if t.due.data = c.ext.pipelining && end && !t.chunked; t.due.data {
			c.out = append(c.out, "DATA\r\n"...)
		}
		if v, ok := t.exchange(ctx, c, asked, k+1); !ok {
			return v, false
		}
		if len(t.over) > 0 { // the others are for the next transaction
			t.asked = k + 1
			break
		}
		batch = min(2*batch, maxBatch)
	}
	return settled, true
}

// exchange writes the commands that have gathered and reads the replies to
// them, up to that of the recipient before upto. A reply to DATA is left.
func (t *transaction) exchange(
	ctx context.Context, c *conn, asked []int, upto int,
) (v verdict, ok bool) {
	op := delivery.OpRcpt
	if t.due.rset || t.due.mail {
		op = delivery.OpMail
	}
	behind, sent := t.seat.behind, time.Now()
	if err := c.flush(behind); err != nil {
		return t.unwritten(ctx, c, op, err), false
	}
	if v, ok = t.await(ctx, c); !ok {
		return v, false
	}
	if t.due.rset {
		if v, ok = t.readReset(ctx, c); !ok {
			return v, false
		}
	}
	if v, ok = t.readProbe(ctx, c); !ok {
		return v, false
	}
	if t.due.mail {
		if v, ok = t.readMail(ctx, c, asked, upto); !ok {
			return v, false
		}
	}
	if v, ok = t.readRecipients(ctx, c, asked, upto); ok && !behind {
		t.seat.trip = time.Since(sent)
	}
	return v, ok
}

// readReset reads the reply to RSET.
func (t *transaction) readReset(ctx context.Context, c *conn) (v verdict, ok bool) {
	rep, err := c.read(c.times.CommandTimeout, nil)
	switch {
	case err != nil:
		return t.stop(ctx, c, delivery.OpMail, err), false
	case rep.class() != 2:
		return t.closing(c, delivery.OpMail, rep), false
	}
	t.due.rset, c.open = false, false
	return settled, true
}

// readMail reads the reply to MAIL.
func (t *transaction) readMail(
	ctx context.Context, c *conn, asked []int, upto int,
) (v verdict, ok bool) {
	const op = delivery.OpMail
	rep, err := c.read(c.times.CommandTimeout, nil)
	switch {
	case err != nil:
		return t.stop(ctx, c, op, err), false
	case rep.code == 421 || rep.code == 432 || rep.class() != 2 && t.again:
		// It speaks of the connection, or may do so.
		return t.closing(c, op, rep), false
	case c.outOfOrder(rep):
		t.closing(c, op, rep)
		return noPipes, false
	case rep.class() != 2:
		t.settle(asked, answered(c, op, rep))
		if !t.skip(c, upto) {
			return t.outOfStep(ctx, c, op, asked), false
		}
		return settled, false
	case t.misplaced(c, op, rep):
		return t.outOfStep(ctx, c, op, asked), false
	}
	t.due.mail, t.mailed, c.open = false, true, true
	return settled, true
}

// readRecipients reads the replies to RCPT, up to that of the recipient before
// upto.
func (t *transaction) readRecipients(
	ctx context.Context, c *conn, asked []int, upto int,
) (v verdict, ok bool) {
	const op = delivery.OpRcpt
	for ; t.due.next < upto; t.due.next++ {
		rep, err := c.read(c.times.CommandTimeout, nil)
		switch {
		case err != nil:
			return t.stop(ctx, c, op, err), false
		case t.stale(rep):
			return t.closing(c, op, rep), false
		case c.outOfOrder(rep):
			t.closing(c, op, rep)
			return noPipes, false
		case rep.code == 421:
			if len(t.accepted) > 0 && len(t.over) == 0 {
				t.maxRcpt = len(t.accepted)
			}
			return t.closing(c, op, rep), false
		case rep.class() == 3, t.misplaced(c, op, rep):
			return t.outOfStep(ctx, c, op, asked), false
		}
		t.recipient(c, asked[t.due.next], rep)
	}
	return settled, true
}

// recipient takes the reply to a RCPT. One that is refused as too many belongs
// into another transaction (RFC 5321 section 4.5.3.1.10), and those taken
// before it are as many as the peer takes, unless it takes another behind it.
func (t *transaction) recipient(c *conn, i int, rep *reply) {
	if rep.class() == 2 {
		t.accepted = append(t.accepted, i)
		if len(t.over) > 0 {
			t.maxRcpt = 0
		}
		return
	}
	if !fullUp(rep) {
		t.res[i] = answered(c, delivery.OpRcpt, rep)
		return
	}
	t.res[i] = later(c, delivery.OpRcpt, rep)
	switch {
	case len(t.accepted) == 0:
		t.maxRcpt = 0 // it is not the number
	default:
		if t.over = append(t.over, i); len(t.over) == 1 {
			t.maxRcpt = len(t.accepted)
		}
	}
}

// fullUp tells whether a reply to RCPT may mean that there are too many
// recipients. RFC 821 gave 552 for that, which counts as 452 (RFC 5321 section
// 4.5.3.1.10). An enhanced code about the address or the mailbox, x.1 and x.2,
// speaks of the recipient.
func fullUp(rep *reply) bool {
	switch e := rep.enhanced; {
	case len(e) == 0:
		return rep.code == 452 || rep.code == 552
	case string(e[1:]) == ".5.3":
		return true
	default:
		return rep.code == 452 && e[2] != '1' && e[2] != '2'
	}
}

// skip reads the replies to what was written behind a MAIL that is refused. It
// reports false if a recipient is not refused: then what was read before was
// not the reply to MAIL.
func (t *transaction) skip(c *conn, recipients int) bool {
	replies := recipients
	if t.due.data {
		replies++
	}
	for n := range replies {
		rep, err := c.read(c.times.CommandTimeout, nil)
		switch {
		case err != nil:
			c.bad.Store(true)
			return true
		case n == recipients && rep.class() == 3:
			c.bad.Store(true) // the peer waits for content that is for nobody
		case rep.class() < 4:
			return false
		}
	}
	return true
}

// data reads the reply to DATA.
func (t *transaction) data(ctx context.Context, c *conn, asked []int) (verdict, bool) {
	rep, err := c.read(c.times.CommandTimeout, nil)
	if err != nil {
		if len(t.accepted) == 0 {
			return settled, false
		}
		return t.stop(ctx, c, delivery.OpData, err), false
	}
	if rep.code == 354 && len(t.accepted) > 0 {
		return settled, true
	}
	if rep.class() == 2 && len(t.accepted) == 0 {
		return t.outOfStep(ctx, c, delivery.OpData, asked), false
	}
	if rep.class() < 4 {
		// Out of step, or waiting for the content of a message that nobody gets
		// (RFC 2920 section 3.1).
		c.bad.Store(true)
	}
	if len(t.accepted) > 0 && (rep.code == 421 || t.stale(rep) || t.doubtful(rep)) {
		return t.closing(c, delivery.OpData, rep), false
	}
	if len(t.accepted) > 0 && c.outOfOrder(rep) {
		t.closing(c, delivery.OpData, rep)
		return noPipes, false
	}
	if len(t.accepted) > 0 {
		t.refuse(c, rep)
	} else if rep.code != 503 && rep.code != 554 {
		// It may be the reply to a recipient, from a peer that has answered
		// once too often: nobody refuses DATA without recipients so.
		return t.confirm(ctx, c, asked[:t.asked]), false
	}
	return settled, false
}
