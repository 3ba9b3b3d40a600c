package outbound

import (
	"context"

	"github.com/postern-mail/postern/relay/delivery"
)

// probe asks whether the peer skips the octets of a chunk that it refuses, as
// RFC 3030 section 2 has it. A chunk for nobody is refused; a peer that then
// runs its octets as a command refuses that too. To such a peer no chunk goes
// before a recipient is known to be taken: what stands in it would be run. NOOP
// would tell as much as the first RSET, but must be the last of a group (RFC
// 2920 section 3.1), and Exim hangs up where it is not.
const probe = "BDAT 7 LAST\r\nXSKIP\r\nRSET\r\nRSET\r\n"

// appendProbe writes the probe ahead of the transaction, where that pays:
// chunks of those that come later can go ahead too.
func (t *transaction) appendProbe(c *conn) {
	chunks := c.ext.chunking && !t.hop.LMTP && (c.limit < 0 || c.used < c.limit)
	if t.due.probe = t.seat.behind && chunks && !c.skips && !c.runs; t.due.probe {
		t.appendMail(c)
		c.out = append(c.out, probe...)
		c.used++ // it has a MAIL of its own
	}
}

// readProbe reads the replies to the probe. Exactly one refusal, of the chunk,
// is the proof.
func (t *transaction) readProbe(ctx context.Context, c *conn) (v verdict, ok bool) {
	if !t.due.probe {
		return settled, true
	}
	t.due.probe = false
	var took [5]bool // MAIL, BDAT, RSET, RSET, and one for octets that were run
	n := 4
	for i := 0; i < n; i++ {
		rep, err := c.read(c.times.CommandTimeout, nil)
		switch {
		case err != nil:
			return t.stop(ctx, c, delivery.OpMail, err), false
		case rep.code == 421:
			return t.closing(c, delivery.OpMail, rep), false
		}
		took[i] = rep.class() == 2
		if i == 2 && !took[2] {
			n++
		}
	}
	t.runs = took[1] || !took[2]
	c.runs, c.skips = t.runs, took == [5]bool{true, false, true, true}
	if !took[n-1] || n == 5 && !took[3] {
		return t.stop(ctx, c, delivery.OpMail, errStep), false
	}
	return settled, true
}
