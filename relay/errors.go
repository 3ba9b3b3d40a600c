package relay

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/policy"
)

// ErrClosed answers Run, Listen, Serve, Reload, Submit, SubmitIn and
// OpenSession once Shutdown or Close was called. A relay runs once. The other
// methods go on working as long as the store does.
var ErrClosed = errors.New("relay: closed")

// ErrUnderWay answers Cancel and Reschedule while an attempt to deliver the
// message is under way, and Follow while the consumer is followed already.
// Later it may be different.
var ErrUnderWay = errors.New("under way")

// Arguments that must be there.
var (
	errNoContext = errors.New("relay: nil context")
	errNoMessage = errors.New("relay: nil message")
)

// ReplyError is a refusal with its SMTP reply. Make one with [Reject] or
// [Defer].
type ReplyError struct {
	Code     int    // 400 to 599
	Enhanced string // RFC 3463, "5.7.1"
	Text     string // one line of printable ASCII
	Err      error  // the cause, for the log only
}

// Error returns the reply as it goes on the wire.
func (e *ReplyError) Error() string {
	return strconv.Itoa(e.Code) + " " + e.Enhanced + " " + e.Text
}

// Unwrap returns the cause.
func (e *ReplyError) Unwrap() error { return e.Err }

// Temporary reports whether the client may try again.
func (e *ReplyError) Temporary() bool { return e.Code < 500 }

// As finds a [*delivery.Error] in the refusal, with its text for the sender of
// a message: so a transport may return it. The relay itself finds its reply in
// the same way.
func (e *ReplyError) As(target any) bool {
	switch t := target.(type) {
	case **delivery.Error:
		*t = &delivery.Error{
			Reply: delivery.Reply{Enhanced: e.Enhanced, Text: e.Text}, Err: e.Err,
			Permanent: !e.Temporary(),
		}
		return true
	case **policy.Reply:
		*t = &policy.Reply{Code: e.Code, Enhanced: e.Enhanced, Text: e.Text}
		return true
	}
	return false
}

// replyError turns a reply into the error that callers of Submit see.
func replyError(r *policy.Reply) error {
	if r == nil {
		return nil
	}
	return &ReplyError{Code: r.Code, Enhanced: r.Enhanced, Text: r.Text, Err: r.Cause}
}

// Reject returns an error that refuses for good: code 500 to 599 with an
// enhanced status code such as "5.7.1". Wrapped errors keep the reply.
// An empty enhanced code is 5.0.0; a code out of range is 550.
func Reject(code int, enhanced, text string) error {
	if code < 500 || code > 599 {
		code = 550
	}
	if enhanced == "" {
		enhanced = "5.0.0"
	}
	return &ReplyError{Code: code, Enhanced: enhanced, Text: text}
}

// Defer returns an error that refuses for now: code 400 to 499. A code of 421
// also closes the connection. An empty enhanced code is 4.0.0; a code out of
// range is 451.
func Defer(code int, enhanced, text string) error {
	if code < 400 || code > 499 {
		code = 451
	}
	if enhanced == "" {
		enhanced = "4.0.0"
	}
	return &ReplyError{Code: code, Enhanced: enhanced, Text: text}
}

// RecipientError tells why [Relay.Submit] refused a recipient.
type RecipientError struct {
	Recipient string
	Err       error // usually a *ReplyError
}

// Error returns the recipient and the reason.
func (e *RecipientError) Error() string { return fmt.Sprintf("<%s>: %v", e.Recipient, e.Err) }

// Unwrap returns the reason.
func (e *RecipientError) Unwrap() error { return e.Err }
