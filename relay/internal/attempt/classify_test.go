package attempt

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
)

var errSecret = errors.New("dial tcp 10.0.0.7: password hunter2")

// TestClassify reads failures of every form: what is final says so without
// contradiction, and every failure has an enhanced code of its class.
func TestClassify(t *testing.T) {
	reply := func(code int, enhanced, text string) delivery.Reply {
		return delivery.Reply{Code: code, Enhanced: enhanced, Text: text}
	}
	failed := func(e delivery.Error) delivery.Result { return delivery.Failed(&e) }
	lost := fmt.Errorf("read: %w", spool.ErrDamaged)
	for name, tt := range map[string]struct {
		res       delivery.Result
		permanent bool
		enhanced  string
		shown     string // the start of what a sender reads
		text      string // what the log says
	}{
		"zero": {delivery.Result{}, false, "4.0.0", "The connection", errNoResult.Error()},
		"an error": {
			delivery.Failed(errSecret), false, "4.0.0", "The connection", errSecret.Error(),
		},
		"refused": {
			failed(delivery.Error{Reply: reply(550, "5.1.1", "No"), Permanent: true}),
			true, "5.1.1", "550 5.1.1 No", "No",
		},
		"code of another class": {
			failed(delivery.Error{Reply: reply(451, "5.1.1", "No")}),
			false, "4.0.0", "451 4.0.0 No", "No",
		},
		"logon refused": {
			failed(delivery.Error{Op: delivery.OpAuth, Reply: reply(535, "5.7.139", "No")}),
			false, "4.7.139", "535 4.7.139 No", "No",
		},
		"own words": {
			failed(delivery.Error{Reply: reply(0, "5.7.1", "Not you\r\nX: y"), Permanent: true}),
			true, "5.7.1", "Not you X: y", "Not you X: y",
		},
		"local cause": {
			failed(delivery.Error{Op: delivery.OpDNS, Err: errSecret}),
			false, "4.0.0", "The mail hosts", "dns: " + errSecret.Error(),
		},
		"lost": {delivery.Failed(lost), true, "5.3.0", "The message was damaged", lost.Error()},
		"yes and for good": {
			delivery.Result{Delivered: true, Err: &delivery.Error{Permanent: true, Err: errSecret}},
			false, "4.0.0", "The connection", errSecret.Error(),
		},
		"yes and a refusal": {
			delivery.Taken("mx", reply(550, "5.1.1", "No")), false, "4.0.0", "The connection",
			errYesAndNo.Error(),
		},
	} {
		f := classify(&tt.res)
		if f == nil {
			t.Errorf("%s: taken", name)
			continue
		}
		if f.Permanent != tt.permanent || f.Reply.Enhanced != tt.enhanced {
			t.Errorf("%s: permanent %v, %s", name, f.Permanent, f.Reply.Enhanced)
		}
		if got := diagnostic(f); !strings.HasPrefix(got, tt.shown) ||
			strings.Contains(got, "hunter2") || strings.ContainsAny(got, "\r\n") {
			t.Errorf("%s: the sender reads %q", name, got)
		}
		if got := textOf(f); got != tt.text {
			t.Errorf("%s: the log says %q", name, got)
		}
	}
	taken := delivery.Taken("mx", reply(250, "", ""))
	if f := classify(&taken); f != nil {
		t.Errorf("taken, and failed by %v", f)
	}
}

// TestLocalCausesAreConstant shows a sender no text of an internal error,
// whatever step failed.
func TestLocalCausesAreConstant(t *testing.T) {
	for op := delivery.OpOther; op <= delivery.OpMailbox; op++ {
		for _, permanent := range []bool{false, true} {
			res := delivery.Failed(&delivery.Error{Op: op, Err: errSecret, Permanent: permanent})
			got := diagnostic(classify(&res))
			if got == "" || strings.Contains(got, "hunter2") {
				t.Errorf("%v: %q", op, got)
			}
		}
	}
}

// TestKeptFailure reads a failure back from the queue as it was.
func TestKeptFailure(t *testing.T) {
	for _, f := range []delivery.Error{
		{Host: "mx", Reply: delivery.Reply{Code: 451, Enhanced: "4.2.1", Text: "Later"}},
		{Host: "mx", Reply: delivery.Reply{Enhanced: "4.7.1", Text: "Not now"}},
	} {
		var rcpt spool.Recipient
		keep(&rcpt, &f)
		if got := lastFailure(&rcpt); got.Host != f.Host || got.Reply != f.Reply {
			t.Errorf("%+v became %+v", f, got)
		}
	}
	if got := lastFailure(new(spool.Recipient)); got.Reply.Enhanced != "4.4.1" ||
		got.Reply.Text == "" {
		t.Errorf("nothing became %+v", got)
	}
}

// A route rests after failures that any message would meet.
func TestFailuresThatRestARoute(t *testing.T) {
	for _, test := range []struct {
		err  delivery.Error
		want bool
	}{
		{delivery.Error{Op: delivery.OpDNS}, true},
		{delivery.Error{Op: delivery.OpDNS, Permanent: true}, false},
		{delivery.Error{Op: delivery.OpDial}, true},
		{delivery.Error{Op: delivery.OpGreeting}, true},
		{delivery.Error{Op: delivery.OpGreeting, Reply: delivery.Reply{Code: 421}}, true},
		{delivery.Error{Op: delivery.OpAuth}, true},
		{delivery.Error{Op: delivery.OpAuth, Reply: delivery.Reply{Code: 535}}, true},
		{delivery.Error{Op: delivery.OpEHLO}, true},
		{delivery.Error{Op: delivery.OpEHLO, Reply: delivery.Reply{Code: 421}}, true},
		{delivery.Error{Op: delivery.OpEHLO, Reply: delivery.Reply{Code: 450}}, false},
		{delivery.Error{Op: delivery.OpMail}, true},
		{delivery.Error{Op: delivery.OpMail, Permanent: true}, false},
		{delivery.Error{Op: delivery.OpRcpt}, false},
		{delivery.Error{Op: delivery.OpMail, Reply: delivery.Reply{Code: 421}}, true},
		{delivery.Error{Op: delivery.OpMail, Reply: delivery.Reply{Code: 432}}, true},
		{delivery.Error{Op: delivery.OpMail, Reply: delivery.Reply{Code: 451}}, false},
		{delivery.Error{Op: delivery.OpRcpt, Reply: delivery.Reply{Code: 421}}, false},
		{delivery.Error{Op: delivery.OpData, Reply: delivery.Reply{Code: 432}}, false},
		{
			delivery.Error{
				Op: delivery.OpGreeting, Permanent: true, Reply: delivery.Reply{Code: 554},
			},
			false,
		},
	} {
		failed := failuresOf([]delivery.Result{delivery.Failed(&test.err)})
		if got := isReached(failed); got == test.want {
			t.Errorf("%s %d: %v", test.err.Op, test.err.Reply.Code, got)
		}
	}
}
