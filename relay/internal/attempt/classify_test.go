package attempt

import (
	"testing"

	"github.com/postern-mail/postern/relay/delivery"
)

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
		if got := isReached([]delivery.Result{delivery.Failed(&test.err)}); got == test.want {
			t.Errorf("%s %d: %v", test.err.Op, test.err.Reply.Code, got)
		}
	}
}
