package delivery

import (
	"strconv"
	"strings"
)

// Result is what an attempt came to for one recipient. Success has to be said:
// the zero Result means "not yet", and there will be another attempt. So does
// one that contradicts itself, as Delivered with an Err or with a Reply that
// refuses. Make one with [Taken] or [Failed].
type Result struct {
	// Delivered tells that the recipient's copy was taken, by somebody who
	// answers for it from now on.
	Delivered bool
	// Err tells why it was not taken. It is final only if errors.As finds an
	// [*Error] in it that is Permanent; every other error may pass.
	Err error
	// Host is who took it or refused it, for the log, the events and reports.
	// Optional.
	Host string
	// Reply is what Host said. Optional.
	Reply Reply
	// DSN tells that who took it was given what the sender asked for by DSN,
	// and reports success itself (RFC 3461 section 5.2.1). Defaults to false:
	// the relay reports it to a sender who asked for that.
	DSN bool
}

// Taken returns the Result of a copy that was taken: by which host, and what it
// said. Both may be empty.
func Taken(host string, reply Reply) Result {
	return Result{Delivered: true, Host: host, Reply: reply}
}

// Failed returns the Result of a copy that was not taken.
func Failed(err error) Result { return Result{Err: err} }

// OK reports whether the copy was taken, and nothing in the Result speaks
// against it.
func (r *Result) OK() bool {
	return r.Delivered && r.Err == nil && (r.Reply.Code == 0 || r.Reply.Code/100 == 2)
}

// Reply is an SMTP reply, as received.
type Reply struct {
	// Code has three digits. It is 0 where no host has replied.
	Code int
	// Enhanced is the enhanced status code (RFC 3463), such as "5.1.1". May be
	// empty.
	Enhanced string
	// Text is the reply without its codes, its lines joined by spaces. Senders
	// get to read it in reports of failure and delay.
	Text string
}

// String returns the reply in one line, "550 5.1.1 No such user".
func (r Reply) String() string {
	s := r.Enhanced
	if r.Code != 0 {
		s = join(strconv.Itoa(r.Code), s)
	}
	return join(s, r.Text)
}

// ParseReply reads what String returns, as far as it is there: without three
// digits at the front, all of it is text.
func ParseReply(s string) Reply {
	head, rest, _ := strings.Cut(s, " ")
	code, err := strconv.Atoi(head)
	if err != nil || len(head) != 3 || code < 100 {
		return Reply{Text: s}
	}
	if e, text, _ := strings.Cut(rest, " "); strings.HasPrefix(e, head[:1]+".") {
		return Reply{Code: code, Enhanced: e, Text: text}
	}
	return Reply{Code: code, Text: strings.TrimPrefix(rest, " ")}
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + " " + b
}
