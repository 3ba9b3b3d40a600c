package smtpd

import (
	"bytes"
	"errors"
	"os"
	"time"

	"github.com/postern-mail/postern/relay/internal/logkey"
	"github.com/postern-mail/postern/relay/internal/policy"
)

const (
	maxCommand = 2048  // octets of a command line
	maxSASL    = 12288 // octets of a SASL line, RFC 4954 section 4
)

// line returns the next command line without its CRLF. It is valid until the
// next read. Lines that are not well-formed are answered here. After an error
// the session is over.
func (c *conn) line(limit int) ([]byte, error) {
	// A transaction without a recipient holds nothing that would be lost.
	idle := c.tx.empty()
	var until time.Time
	for scanned := 0; !c.wire.hangup; {
		line, kind := c.wire.in.cut(scanned)
		if kind == linePart {
			if until.IsZero() {
				until = c.wire.deadline(c.sess.Limits.InactivityTimeout)
			}
			scanned = len(c.wire.in.pending())
			c.more(limit, until, idle)
			continue
		}
		scanned = 0
		if c.wellFormed(line, kind, limit) {
			if idle && c.wire.dismissed() {
				c.lost(os.ErrDeadlineExceeded, true)
				break
			}
			return line, nil
		}
	}
	return nil, errEnd
}

// more reads the rest of a line, unless that is too long.
func (c *conn) more(limit int, until time.Time, idle bool) {
	part := c.wire.in.pending()
	if len(part) >= limit && len(part) >= c.longest(part, limit) {
		c.tooLong()
		return
	}
	if err := c.wire.fill(until, idle); err != nil {
		c.lost(err, idle)
	}
}

// wellFormed answers a line that is not: at once, for the client may wait.
func (c *conn) wellFormed(line []byte, kind lineKind, limit int) bool {
	switch {
	case kind == lineBare:
		c.garbage(c.tx.dataRefused, policy.BareLineEnd.Reply())
	case kind == lineRest:
	case len(line) > c.longest(line, limit)-2:
		c.tooLong()
	case kind == lineControl:
		c.garbage(c.tx.dataRefused, policy.BadCharacter.Reply())
	default:
		return true
	}
	return false
}

func (c *conn) tooLong() {
	c.refuse(Rejection{Stage: c.stage(), Reply: policy.LineTooLong.Reply()})
	c.wire.last()
}

// longest is how many octets a line may have. AUTH with an initial response may
// be as long as the response alone: clients do not count, and bearer tokens are
// long.
func (c *conn) longest(line []byte, limit int) int {
	const auth = "AUTH "
	if len(line) > len(auth) && bytes.EqualFold(line[:len(auth)], []byte(auth)) && c.authKnown() {
		return maxSASL
	}
	return limit
}

// lost ends the session after a read error.
func (c *conn) lost(err error, idle bool) {
	c.wire.hangup = true
	c.unfinished(err)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	switch {
	case idle && c.wire.dismissed():
		c.goodbye(policy.ShuttingDown.Reply())
	case c.wire.over():
		c.goodbye(policy.ConnectionTimedOut.Reply())
	default:
		c.goodbye(policy.InputTimedOut.Reply())
	}
}

// unfinished tells the log of a message that has begun and will not arrive,
// since the session ends.
func (c *conn) unfinished(err error) {
	m := c.tx.mail
	if m == nil {
		return
	}
	c.log.Info("session ended before a message did", logkey.Session, c.sess.ID,
		logkey.Connector, c.sess.Connector.Name, logkey.Remote, c.sess.Remote.Addr(),
		logkey.HELO, shown(c.sess.Helo), logkey.Stage, c.stage(), logkey.From, m.From.String(),
		logkey.Recipients, len(m.Recipients), logkey.Err, err)
}
