package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay"
)

// problem is the body of an error (RFC 9457). It is also the error of what has
// no SMTP reply.
type problem struct {
	Type   string     `json:"type"`
	Title  string     `json:"title"`
	Status int        `json:"status"`
	Detail string     `json:"detail,omitempty"`
	SMTP   *smtpReply `json:"smtp,omitempty"`
	Errors []fault    `json:"errors,omitempty"`
	retry  int        // seconds

	challenges []string // of a 401
}

// Error returns the detail.
func (p problem) Error() string { return p.Detail }

// smtpReply is the reply that a session would have had.
type smtpReply struct {
	Code     int    `json:"code"`
	Enhanced string `json:"enhanced"`
	Text     string `json:"text"`
}

// fault is what is wrong with one recipient or one field.
type fault struct {
	Recipient string     `json:"recipient,omitempty"`
	Pointer   string     `json:"pointer,omitempty"` // RFC 6901, as a fragment: "#/to/0"
	Detail    string     `json:"detail"`
	SMTP      *smtpReply `json:"smtp,omitempty"`
}

const (
	retryRate  = 60 // seconds: rates are counted by the minute
	retryOther = 5
)

// problemOf makes a problem of an error of the relay. Nothing but constant
// replies gets out.
func problemOf(err error) problem {
	if p, ok := errors.AsType[problem](err); ok {
		return p
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return problemOfAll(joined.Unwrap())
	}
	reply, ok := errors.AsType[*relay.ReplyError](err)
	if !ok {
		return problem{Status: http.StatusServiceUnavailable, Detail: "Temporary server error, " +
			"try again later",
			SMTP: &smtpReply{451, "4.3.0", "Temporary server error, try again later"}}
	}
	p := problem{
		Status: status(reply), Detail: reply.Text,
		SMTP: &smtpReply{reply.Code, reply.Enhanced, reply.Text},
	}
	if t, ok := errors.AsType[*auth.ThrottledError](reply); ok {
		p.Status = http.StatusTooManyRequests
		p.retry = int((t.RetryAfter + time.Second - 1) / time.Second)
	} else if c, ok := errors.AsType[*auth.CredentialError](reply); ok && c.Temporary() {
		p.Status, p.retry = http.StatusTooManyRequests, retryRate
		if c.Refusal == auth.DayReached {
			const day = 24 * 60 * 60 // UTC, as the cap is counted
			p.retry = day - int(time.Now().Unix()%day)
		}
	} else if p.Status == http.StatusTooManyRequests {
		p.retry = retryRate
	}
	return p
}

// problemOfAll makes one problem of several refused recipients. One refused for
// good decides, since repeating the request would not help.
func problemOfAll(errs []error) problem {
	var p problem
	var faults []fault
	for _, err := range errs {
		one := problemOf(err)
		if p.Status == 0 ||
			p.SMTP != nil && one.SMTP != nil && p.SMTP.Code < 500 && one.SMTP.Code >= 500 {
			p = one
		}
		if r, ok := errors.AsType[*relay.RecipientError](err); ok {
			faults = append(
				faults, fault{Recipient: r.Recipient, Detail: one.Detail, SMTP: one.SMTP},
			)
		}
	}
	p.Errors = faults
	return p
}

// status is the table in the package's documentation.
func status(r *relay.ReplyError) int {
	switch {
	case r.Code == 421 && r.Enhanced == "4.4.2":
		return http.StatusTooManyRequests
	case r.Code == 452 && r.Enhanced == "4.5.3":
		return http.StatusUnprocessableEntity // fewer must be tried, not later
	case r.Code < 500:
		return http.StatusServiceUnavailable
	case r.Code == 535, r.Code == 504 && r.Enhanced == "5.7.4", r.Code == 530 &&
		r.Enhanced == "5.7.1":
		return http.StatusUnauthorized
	case r.Code == 502, r.Code == 530, r.Code == 538, strings.HasPrefix(r.Enhanced, "5.7."):
		return http.StatusForbidden
	case r.Enhanced == "5.3.4":
		return http.StatusRequestEntityTooLarge
	case r.Enhanced == "5.1.3", r.Enhanced == "5.1.7", strings.HasPrefix(r.Enhanced, "5.5."):
		return http.StatusBadRequest
	}
	return http.StatusUnprocessableEntity
}

func fail(w http.ResponseWriter, r *http.Request, err error) { write(w, r, problemOf(err)) }

// write sends a problem.
func write(w http.ResponseWriter, r *http.Request, p problem) {
	if p.Status == http.StatusUnauthorized && len(p.challenges) == 0 {
		p.Status = http.StatusForbidden // RFC 9110 section 15.5.2: 401 says how to log on
	}
	p.Type, p.Title = "about:blank", http.StatusText(p.Status)
	h := w.Header()
	switch p.Status {
	case http.StatusUnauthorized:
		h["Www-Authenticate"] = p.challenges
	case http.StatusServiceUnavailable:
		if p.retry == 0 {
			p.retry = retryOther
		}
	}
	if p.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retry))
	}
	h.Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	if r.Method != http.MethodHead {
		_ = json.NewEncoder(w).Encode(p) // the client has gone
	}
}

// faults collects what is wrong with a message.
type faults []fault

func (f *faults) add(pointer, detail string) {
	if len(*f) < maxFaults {
		*f = append(*f, fault{Pointer: pointer, Detail: detail})
	}
}
