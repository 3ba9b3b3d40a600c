package attempt

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/relay/bounce"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
)

var (
	errNoResult = errors.New("relay: the transport gave no result")
	errYesAndNo = errors.New("relay: the transport says that it was taken, and refused")
)

// enhancedDamaged is "other or undefined mail system status" (RFC 3463 section
// 3.4): the fault is neither the message's nor the recipient's.
const enhancedDamaged = "5.3.0"

// isDamaged tells of a message whose content is lost for good. Who holds its
// lease and does not find it has lost it too.
func isDamaged(err error) bool {
	return errors.Is(err, spool.ErrDamaged) || errors.Is(err, spool.ErrNotFound)
}

// classify reads what a result says of a failure; nil for a copy that was
// taken. What it leaves out is filled in, and what contradicts itself may pass.
func classify(res *delivery.Result) *delivery.Error {
	if res.OK() {
		return nil
	}
	f := &delivery.Error{Host: res.Host, Err: res.Err}
	if e, ok := errors.AsType[*delivery.Error](res.Err); ok && e != nil {
		f.Op, f.Reply, f.Permanent = e.Op, e.Reply, e.Permanent
		f.Host = cmp.Or(e.Host, res.Host)
	}
	switch {
	case res.Delivered && res.Err == nil:
		f.Err = errYesAndNo
	case res.Err == nil:
		f.Err = errNoResult
	case isDamaged(res.Err):
		f.Permanent, f.Reply = true, delivery.Reply{Enhanced: enhancedDamaged}
	}
	f.Permanent = f.Permanent && !res.Delivered
	f.Reply.Text = oneLine(f.Reply.Text)
	f.Reply.Enhanced = enhanced(f)
	return f
}

// failure is why a copy was not taken, and of which class that is.
type failure struct {
	*delivery.Error
	class bounce.Class
}

// failureOf classifies a failure: its class is asked for in several places.
func failureOf(f *delivery.Error) *failure { return &failure{f, classOf(f)} }

// failuresOf reads the results of an attempt: nil for each copy that was taken.
func failuresOf(results []delivery.Result) []*failure {
	failed := make([]*failure, len(results))
	for i := range results {
		if f := classify(&results[i]); f != nil {
			failed[i] = failureOf(f)
		}
	}
	return failed
}

// enhanced returns the enhanced code of a failure, which is of its class. A
// refused logon may pass whatever the host says: what its code tells the
// operator stays.
func enhanced(f *delivery.Error) string {
	class := byte('4')
	if f.Permanent {
		class = '5'
	}
	e := f.Reply.Enhanced
	switch {
	case len(e) < 5:
	case e[0] == class:
		return e
	case f.Op == delivery.OpAuth && int(e[0]-'0') == f.Reply.Code/100:
		return string(class) + e[1:]
	}
	return string(class) + ".0.0"
}

// classOf returns the class of a failure.
func classOf(f *delivery.Error) bounce.Class {
	return bounce.Classify(bounce.Reply{
		Code: f.Reply.Code, Enhanced: f.Reply.Enhanced, Text: f.Reply.Text,
		Step: bounce.Step(f.Op.String()), Host: f.Host,
	})
}

// textOf is what the log and the events say of a failure.
func textOf(f *delivery.Error) string {
	if f.Reply.Code != 0 || f.Reply.Text != "" || f.Err == nil {
		return f.Reply.Text
	}
	return oneLine(f.Err.Error())
}

func oneLine(s string) string {
	if strings.ContainsAny(s, "\r\n") {
		s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
			return r == '\r' || r == '\n'
		}), " ")
	}
	return s
}

// allMayPass reports whether nothing was taken and nothing failed for good.
func allMayPass(failed []*failure) bool {
	return !slices.ContainsFunc(failed, func(f *failure) bool { return f == nil || f.Permanent })
}

// anyTaken reports whether some copy was taken.
func anyTaken(failed []*failure) bool { return slices.Contains(failed, nil) }

// isReached tells whether the next hop could be talked to at all.
func isReached(failed []*failure) bool {
	return slices.ContainsFunc(failed, func(f *failure) bool {
		return f == nil || f.Permanent || !cameBefore(f.Error)
	})
}

// cameBefore tells whether a failure came before the message: it says that
// others would fare no better now. So do the replies by which a host refuses
// the connection.
func cameBefore(f *delivery.Error) bool {
	switch f.Op {
	case delivery.OpDNS, delivery.OpDial, delivery.OpGreeting, delivery.OpSTARTTLS,
		delivery.OpAuth:
		return true
	case delivery.OpEHLO, delivery.OpMail:
		return f.Reply.Code == 0 || f.Reply.Code == 421 || f.Reply.Code == 432
	}
	return false
}

// isCrash reports whether a failure is that something the application has given
// has panicked.
func isCrash(err error) bool {
	_, ok := errors.AsType[*delivery.Panic](err)
	return ok || errors.Is(err, msgauth.ErrPanicked)
}

// crashesOf tells whether copies that wait crashed the attempt, some of them or
// all.
func crashesOf(failed []*failure) (some, all bool) {
	all = true
	for _, f := range failed {
		switch {
		case f == nil || f.Permanent:
		case isCrash(f.Err):
			some = true
		default:
			all = false
		}
	}
	return some, some && all
}
