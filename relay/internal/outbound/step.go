package outbound

import (
	"context"
	"errors"

	"github.com/postern-mail/postern/relay/delivery"
)

var errStep = errors.New("replies out of step")

// opReset stands for RSET, which has no place in a result.
const opReset = delivery.OpEHLO

// misplaced tells whether a reply has not the enhanced code that the peer gives
// to replies to that command. A peer that tells them apart by none gets one
// transaction at a time, if it gives one command's code to another.
func (t *transaction) misplaced(c *conn, op delivery.Op, rep *reply) bool {
	m := &c.marks
	if rep.class() != 2 || m.odd {
		return false
	}
	mail, rcpt := string(rep.enhanced) == "2.1.0", string(rep.enhanced) == "2.1.5"
	last := op == delivery.OpLMTP // which is for a recipient too
	fits := mail == (op == delivery.OpMail) && (last || rcpt == (op == delivery.OpRcpt))
	if m.told {
		return !fits
	}
	m.odd = !fits && (mail || rcpt)
	m.mail = m.mail || mail && fits
	m.rcpt = m.rcpt || rcpt && fits
	m.other = m.other || op != delivery.OpMail && op != delivery.OpRcpt
	return false
}

// settle ends the first transactions of a peer.
func (m *marks) settle() { m.told = m.told || m.mail && m.rcpt && m.other && !m.odd }

// outOfStep gives a connection up on which a reply was read that was for
// another command. What the recipients listed have heard does not count.
func (t *transaction) outOfStep(
	ctx context.Context, c *conn, op delivery.Op, list []int,
) verdict {
	c.dead = true
	t.settle(list, delivery.Result{})
	return t.stop(ctx, c, op, errStep)
}

// confirm sees that several refusals are those of the recipients that they were
// read for: only the reply to RSET may come next. A connection that ends there
// is none the wiser.
func (t *transaction) confirm(ctx context.Context, c *conn, asked []int) verdict {
	if len(asked) < 2 || c.bad.Load() {
		return settled
	}
	c.out = append(c.out[:0], "RSET\r\n"...)
	if err := c.flush(false); err != nil {
		if err == errUnasked {
			return t.outOfStep(ctx, c, delivery.OpRcpt, asked)
		}
		return settled
	}
	rep, err := c.read(c.times.CommandTimeout, nil)
	switch {
	case err != nil || rep.code == 421:
	case rep.class() != 2 || t.misplaced(c, opReset, rep):
		return t.outOfStep(ctx, c, delivery.OpRcpt, asked)
	default:
		c.open = false
	}
	return settled
}

// doubtful tells whether the refusal of DATA or content may be the reply to one
// of several recipients, from a peer that has answered once too often: it has
// the code of an address. On a new connection it stands.
func (t *transaction) doubtful(rep *reply) bool {
	return t.again && t.asked > 1 && rep.class() > 3 &&
		len(rep.enhanced) > 0 && rep.enhanced[2] == '1'
}

// stale tells whether a reply to RCPT or DATA on a connection used before may
// speak of its state and not of the message: commands unknown or out of order,
// a logon forgotten, or 554, with which hosts end a session of too many
// messages. Whatever else a peer says to MAIL on such a connection may be that
// too.
func (t *transaction) stale(rep *reply) bool {
	return t.again && (rep.code/10 == 50 || rep.code == 530 || rep.code == 554)
}
