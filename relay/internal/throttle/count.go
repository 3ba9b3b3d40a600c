package throttle

import (
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	enough     = 3         // refusals, for a narrow scope
	enoughWide = 6         // the same, for a wide one
	countFor   = time.Hour // a refusal counts
	maxCounts  = 4096
)

// refusal is one that counts.
type refusal struct {
	message spool.ID
	part    string // of the wide scope
	early   bool   // of the connection
	at      time.Time
}

// count has the refusals in a scope that no taken copy has taken back, oldest
// first.
type count []refusal

// add counts a refusal, unless its message counts already, or enough of its
// part do: there has to be room for others.
func (c count) add(r refusal) count {
	c = c.since(r.at.Add(-countFor))
	parts := 0
	for _, old := range c {
		if old.message == r.message {
			return c
		}
		if old.part == r.part {
			parts++
		}
	}
	if len(c) >= enoughWide || parts >= enough {
		return c
	}
	return append(c, r)
}

// since drops what is older.
func (c count) since(t time.Time) count {
	for len(c) > 0 && c[0].at.Before(t) {
		c = c[1:]
	}
	return c
}

// wideEnough tells whether refusals are those of a wide scope: of more than one
// of its parts, or of the connection.
func (c count) wideEnough() bool {
	n, several := 0, false
	for _, r := range c {
		n++
		if r.early {
			n++
		}
		several = several || r.early || r.part != c[0].part
	}
	return several && n >= enoughWide
}

// last is when the newest refusal was.
func (c count) last() time.Time { return c[len(c)-1].at }
