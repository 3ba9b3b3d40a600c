package event

import (
	"crypto/sha256"
	"encoding/base32"
	"strconv"
)

// ID returns the id of what happened at an attempt to a recipient of a message.
// It is 26 letters and digits. The recipient is empty, or the first of several,
// where the event is about the message.
func ID(queueID, recipient string, attempt int, kind Kind) string {
	b := make([]byte, 0, 128)
	for _, part := range [...]string{queueID, recipient, strconv.Itoa(attempt), string(kind)} {
		b = append(b, part...)
		b = append(b, 0)
	}
	sum := sha256.Sum256(b)
	return base32.HexEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])
}

// Identify sets the event's ID from what it is about. The id of a throttle
// stands in the place of the recipient.
func (e *Event) Identify() {
	recipient := e.Throttle
	if len(e.To) > 0 {
		recipient = e.To[0]
	}
	e.ID = ID(e.QueueID, recipient, e.Attempt, e.Kind)
}
