package spool

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrLeased answers Manager.Take for a delivery that somebody holds.
var ErrLeased = errors.New("spool: delivery is under way")

// Manager is an optional interface of a Store for those who look after the
// queue.
//
// To change a delivery is to take it and to settle it: without Remaining to
// cancel it, with Due to reschedule it, with Key to move it, with Held to hold
// it or without to release it, each with its Events in the same step.
type Manager interface {
	// Find returns a message and its deliveries that are not finished, or
	// ErrNotFound.
	Find(ctx context.Context, id ID) (Message, []Item, error)
	// List returns a page of deliveries in the order of their ids. What is
	// added or settled between two pages may or may not be in them.
	List(ctx context.Context, q Query) ([]Item, error)
	// Take leases one delivery, whatever its due time, one on hold as well. It
	// answers ErrNotFound, or ErrLeased if somebody holds it.
	Take(ctx context.Context, id DeliveryID, ttl time.Duration) (Lease, error)
}

// Query chooses deliveries. The zero value chooses all.
type Query struct {
	// After is the last id of the page before. Defaults to the beginning.
	After DeliveryID
	// Max is the length of a page. A store may return less; only an empty page
	// is the end. Defaults to 100; more than 1000 is 1000.
	Max int
	// Key is compared in the fields that are set.
	Key Key
	// State chooses the deliveries in one. Defaults to all.
	State State
}

// Limit returns Max with its default and its bound.
func (q *Query) Limit() int {
	const usual, most = 100, 1000
	if q.Max <= 0 {
		return usual
	}
	return min(q.Max, most)
}

// Matches reports whether a delivery with a key and in a state is chosen.
func (q *Query) Matches(k Key, s State) bool {
	return (q.State == 0 || q.State == s) &&
		(q.Key.Route == "" || q.Key.Route == k.Route) &&
		(q.Key.Domain == "" || q.Key.Domain == k.Domain) &&
		(q.Key.Stream == "" || q.Key.Stream == k.Stream)
}

// Item is a delivery as it is now.
type Item struct {
	Message  Message
	Delivery Delivery
	State    State
}

// State tells how a delivery stands. The zero value is none of them.
type State uint8

const (
	// StateWaiting is that of a delivery that waits for its time or for
	// somebody who takes it.
	StateWaiting State = iota + 1
	// StateLeased is that of a delivery that is under way.
	StateLeased
	// StateHeld is that of a delivery on hold: it is not handed out before it
	// is released.
	StateHeld
	// StatePoison is that of a delivery that was set aside, since attempts at
	// it crash: it is on hold with Crashes of at least [PoisonCrashes].
	StatePoison
)

// PoisonCrashes is how many attempts in a row crash before a delivery is set
// aside.
const PoisonCrashes = 2

// StateOf is the state of a delivery that somebody holds or nobody does.
func StateOf(leased, held bool, crashes int) State {
	switch {
	case leased:
		return StateLeased
	case held && crashes >= PoisonCrashes:
		return StatePoison
	case held:
		return StateHeld
	}
	return StateWaiting
}

var errState = errors.New("spool: not a state")

func (s State) word() string {
	switch s {
	case StateWaiting:
		return "waiting"
	case StateLeased:
		return "leased"
	case StateHeld:
		return "held"
	case StatePoison:
		return "poison"
	}
	return ""
}

// String returns "waiting", "leased", "held" or "poison".
func (s State) String() string {
	if w := s.word(); w != "" || s == 0 {
		return w
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// MarshalText returns what String does, and fails for a value that is not a
// state; zero is empty.
func (s State) MarshalText() ([]byte, error) {
	if s != 0 && s.word() == "" {
		return nil, errState
	}
	return []byte(s.word()), nil
}

// UnmarshalText reads what MarshalText returns.
func (s *State) UnmarshalText(b []byte) error {
	for v := State(0); v <= StatePoison; v++ {
		if v.word() == string(b) {
			*s = v
			return nil
		}
	}
	return errState
}
