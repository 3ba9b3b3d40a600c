package outbound

import (
	"sync/atomic"
	"time"
)

// order is the order of the deliveries on a connection. The first has the
// reading turn: what arrives is for it. The last has the writing turn until it
// has written the end of its content; then another may go ahead. The lock is
// the pool's.
type order struct {
	pool    turns
	front   *seat
	behind  []*seat
	writing bool // the last has not written all
	open    bool // for others: in places.joinable
	timed   bool // a last reply has come
	slow    bool // it did not come soon
	alone   bool // nobody goes ahead here
	shut    bool // closed for a context that has ended
}

// turns gives and takes the turns on a connection: the pool.
type turns interface {
	// offer gives up the writing turn: the end of the content is written.
	offer(c *conn, s *seat)
	// drop leaves the line behind others. It reports false when word of the
	// turn is on its way.
	drop(c *conn, s *seat) bool
}

// seat is the place of a delivery in the order of a connection, or in the line
// for one.
type seat struct {
	// word brings a connection, or leave to make one; to whom is ahead, the
	// reading turn, or nil for a connection that broke. It has room for both:
	// the turn may come before the connection is taken, and who brings it holds
	// everybody's lock.
	word       chan *conn
	timer      *time.Timer
	uses       atomic.Uint32
	may        bool          // go ahead
	behind     bool          // the reading turn is another's; its own to change
	gone       bool          // the connection, and its place in the pool, are another's
	sent       bool          // all of the content is written, ahead of the turn
	recipients int           // asked ahead of the turn
	owed       int           // replies that are still to come, once all is written
	debt       int           // replies to those in front, which have left
	since      time.Time     // when the last reply began to be waited for
	trip       time.Duration // from an envelope to its replies; 0: unknown
}

// stand makes a seat ready for a connection.
func (s *seat) stand() {
	if s.word == nil {
		s.word = make(chan *conn, 2)
	}
	s.uses.Add(1)
	s.behind, s.gone, s.sent = false, false, false
	s.recipients, s.owed, s.debt, s.since, s.trip = 0, 0, 0, time.Time{}, 0
}

// marks is what is known of the enhanced codes of a peer's positive replies:
// most give MAIL x.1.0, RCPT x.1.5, and other commands neither (RFC 3463
// section 3.2). So a reply too many or too few shows at once.
type marks struct {
	mail, rcpt, other bool // seen
	odd               bool // a reply had the code of another
	told              bool // all replies before have told themselves apart
}
