package relay

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postern-mail/postern"
	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay/internal/intake"
	"github.com/postern-mail/postern/relay/spool"
)

// Message is a message that the application submits itself.
type Message struct {
	// From is the reverse-path: a mailbox, or empty for the null sender.
	From string
	// To are the recipients, at least one. Who is named twice gets one copy.
	To []string
	// Content is header and body. Lines may end in LF; they are stored with
	// CRLF. Date and Message-ID are added when they are missing, and so is a
	// From field, of the mailbox From; without either the message is refused,
	// and so it is with two From fields. Bcc is removed. A bare CR in the
	// header, or in that of a part, and NUL anywhere, are refused with 550
	// 5.6.11.
	Content io.Reader
	// Identity limits the sender, and the From and Sender fields, to what it
	// owns, as if it had logged on. Defaults to nil: the application may send
	// as anyone.
	Identity *auth.Identity
	// Notify asks for reports (RFC 3461). Defaults to reports of failure and
	// delay.
	Notify spool.Notify
	// EnvelopeID comes back in reports. At most 100 printable ASCII characters.
	EnvelopeID string
	// Return is FULL or HDRS: what of the message a report holds. Defaults to
	// the relay's choice.
	Return spool.Return
	// Labels appear on the events of the message. Names and values together
	// have at most 1 KiB, those of Identity included.
	Labels map[string]string
	// Stream is the kind of mail or the tenant, in the application's words: 1
	// to 64 letters, digits, hyphens, underscores and dots. It divides limits
	// and fairness, and is on the events. Defaults to empty, a stream too.
	Stream string
	// Key makes Submit repeatable, for 24 hours: 1 to 255 printable ASCII
	// characters. The same message with it is queued once; see [Relay.Submit].
	// The store needs a [spool.Keys]. Defaults to none.
	Key string
	// NotBefore is when the first attempt is made, at most a year from now.
	// Defaults to now.
	NotBefore time.Time
	// Expires is when undelivered copies are given up, later than NotBefore and
	// at most a year from now. Defaults to Retry.Expires after NotBefore.
	Expires time.Time
	// Size is the length of the content, 0 if unknown. [ClientSession.Submit]
	// refuses one over the limit before it reads the content.
	Size int64
}

// Receipt tells of a message taken over.
type Receipt struct {
	// QueueID is the message's id in events, logs and trace fields.
	QueueID string
	// Duplicate tells that the message was queued before, with the same Key.
	Duplicate bool
}

// What is wrong with a field of a message.
var (
	errNoRecipients = errors.New("a message needs at least one recipient")
	errNoContent    = errors.New("a message needs content")
	errReturn       = errors.New("is not FULL, HDRS or empty")
	errEnvelopeID   = errors.New("is not 1 to 100 printable ASCII characters")
	errNotify       = errors.New("is not NEVER alone, or SUCCESS, FAILURE and DELAY")
	errWord         = errors.New("is not 1 to 64 letters, digits, hyphens, underscores and dots")
	errLabels       = errors.New("more than 1 KiB in all")
	errKey          = errors.New("is not 1 to 255 printable ASCII characters")
	errFar          = errors.New("is more than a year ahead")
	errPast         = errors.New("is in the past")
	errBeforeStart  = errors.New("is not after NotBefore")
)

// invalid is a fault of a field, with its value.
func invalid(field, value string, err error) error {
	return &postern.FieldError{Field: field, Err: fmt.Errorf("%q %w", cut(value), err)}
}

// check returns what is wrong with the fields that need no configuration to be
// judged.
func (m *Message) check(now time.Time) (errs []error) {
	if len(m.To) == 0 {
		errs = append(errs, &postern.FieldError{Field: "To", Err: errNoRecipients})
	}
	return append(errs, m.checkFields(now)...)
}

// checkFields is check without the recipients.
func (m *Message) checkFields(now time.Time) (errs []error) {
	if m.Content == nil {
		errs = append(errs, &postern.FieldError{Field: "Content", Err: errNoContent})
	}
	if m.Return != "" && m.Return != "FULL" && m.Return != "HDRS" {
		errs = append(errs, invalid("Return", string(m.Return), errReturn))
	}
	if !validNotify(m.Notify) {
		err := fmt.Errorf("%d %w", uint8(m.Notify), errNotify)
		errs = append(errs, &postern.FieldError{Field: "Notify", Err: err})
	}
	if !validEnvelopeID(m.EnvelopeID) {
		errs = append(errs, invalid("EnvelopeID", m.EnvelopeID, errEnvelopeID))
	}
	if intake.LabelBytes(intake.Labels(m.Identity, m.Labels)) > intake.MaxLabels {
		errs = append(errs, &postern.FieldError{Field: "Labels", Err: errLabels})
	}
	if m.Stream != "" && !intake.IsWord(m.Stream) {
		errs = append(errs, invalid("Stream", m.Stream, errWord))
	}
	if m.Key != "" && !intake.IsKey(m.Key) {
		errs = append(errs, invalid("Key", m.Key, errKey))
	}
	return append(errs, m.checkTimes(now)...)
}

// maxAhead bounds NotBefore and Expires.
const maxAhead = 366 * 24 * time.Hour

func (m *Message) checkTimes(now time.Time) (errs []error) {
	fault := func(field string, t time.Time, err error) {
		errs = append(errs, invalid(field, t.Format(time.RFC3339), err))
	}
	if m.NotBefore.After(now.Add(maxAhead)) {
		fault("NotBefore", m.NotBefore, errFar)
	}
	switch {
	case m.Expires.IsZero():
	case !m.Expires.After(now):
		fault("Expires", m.Expires, errPast)
	case !m.Expires.After(m.NotBefore):
		fault("Expires", m.Expires, errBeforeStart)
	case m.Expires.After(now.Add(maxAhead)):
		fault("Expires", m.Expires, errFar)
	}
	return errs
}

func validEnvelopeID(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= 100
}

func validNotify(n spool.Notify) bool {
	const reports = spool.NotifySuccess | spool.NotifyFailure | spool.NotifyDelay
	return n == spool.NotifyNever || n&^reports == 0
}
