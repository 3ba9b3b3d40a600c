package intake

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
)

// Labels returns the labels of a message: those of its sender's identity, and
// its own. They are a copy, since those of a session may change while events
// are read.
func Labels(id *auth.Identity, own map[string]string) map[string]string {
	if id == nil || len(id.Labels) == 0 {
		return maps.Clone(own)
	}
	all := maps.Clone(id.Labels)
	maps.Copy(all, own)
	return all
}

// MaxLabels bounds the names and values of a message's labels, in bytes.
const MaxLabels = 1 << 10

// LabelBytes is the length of all names and values.
func LabelBytes(labels map[string]string) (n int) {
	for k, v := range labels {
		n += len(k) + len(v)
	}
	return n
}

// errManyLabels answers what a session and its user bring along.
var errManyLabels = errors.New("relay: the labels of the session and its user exceed 1 KiB")

var errStream = errors.New(
	"is not 1 to 64 letters, digits, hyphens, underscores and dots",
)

// label gives the message the labels of its sender's identity.
func (in *Intake) label(_ context.Context, m *Message) error {
	m.Spool.Labels = Labels(m.Client.Identity, m.Spool.Labels)
	if LabelBytes(m.Spool.Labels) > MaxLabels {
		return errManyLabels
	}
	if s := m.Spool.Stream; s != "" && !IsWord(s) {
		return &postern.FieldError{Field: "Stream", Err: fmt.Errorf("%q %w", s, errStream)}
	}
	return nil
}
