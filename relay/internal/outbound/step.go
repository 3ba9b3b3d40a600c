package outbound

import (
	"context"
	"errors"

	"github.com/postern-mail/postern/relay/delivery"
)

var errStep = errors.New("replies out of step")

// misplaced tells whether a reply has the enhanced code of the reply to another
// command: x.1.0 is for MAIL, x.1.5 for RCPT (RFC 3463 section 3.2). A host
// that answers so while it has one transaction to answer gets no more at once.
func (t *transaction) misplaced(c *conn, op delivery.Op, rep *reply) bool {
	switch string(rep.enhanced) {
	case "2.1.0":
		if op == delivery.OpMail {
			return false
		}
	case "2.1.5":
		if op == delivery.OpRcpt {
			return false
		}
	default:
		return false
	}
	if t.hop.LMTP { // of which 2.1.5 is the last reply, for a recipient
		return false
	}
	c.order.odd = c.order.odd || !c.company.Load()
	return !c.order.odd
}

// outOfStep gives a connection up on which a reply was read that was for
// another command.
func (t *transaction) outOfStep(ctx context.Context, c *conn, op delivery.Op) verdict {
	c.dead = true
	return t.stop(ctx, c, op, errStep)
}

// doubtful tells whether the refusal of content that went ahead may be the
// reply to one of several recipients, from a peer that has answered once too
// often.
func (t *transaction) doubtful(rep *reply) bool {
	return t.ahead && t.asked > 1 && rep.class() > 3 &&
		(len(rep.enhanced) == 0 || rep.enhanced[2] == '1')
}
