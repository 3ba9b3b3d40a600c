package simtest

import (
	"fmt"

	"github.com/postern-mail/postern/relay/relaytest"
)

// answer is what a sick host says at a stage. The zero answer is that of a host
// that is well.
type answer struct {
	code           int
	enhanced, text string
	cut            bool // the connection, without a word
	stall          bool // for ever
	takes          bool // the message all the same
}

func reply(code int, enhanced, text string) answer {
	return answer{code: code, enhanced: enhanced, text: text}
}

// taking is the answer of a host that takes the message all the same.
func taking(a answer) answer {
	a.takes = true
	return a
}

// hop is the answer for a hop of relaytest.
func (a answer) hop() relaytest.Answer {
	var h relaytest.Answer
	switch {
	case a.cut:
		h = relaytest.Cut()
	case a.stall:
		h = relaytest.Stall()
	case a.code != 0:
		h = relaytest.Reply(a.code, a.enhanced, a.text)
	}
	if a.takes {
		h = h.Taking()
	}
	return h
}

// line is the answer on the wire.
func (a answer) line() string {
	if a.enhanced == "" {
		return fmt.Sprintf("%d %s\r\n", a.code, a.text)
	}
	return fmt.Sprintf("%d %s %s\r\n", a.code, a.enhanced, a.text)
}

// final tells whether the answer refuses for good, and not for the state of the
// connection.
func (a answer) final(f Fault) bool {
	return a.code/100 == 5 && f != PeerLimits
}
