package policy_test

import (
	"testing"

	"github.com/postern-mail/postern/relay/internal/policy"
)

// Every reply has a code, an enhanced code of its class, and one line of
// printable ASCII.
func TestReplies(t *testing.T) {
	for id := range policy.ReplyID(policy.Replies) {
		r := id.Reply()
		if r.Code < 400 || r.Code > 599 || len(r.Enhanced) < 5 ||
			int(r.Enhanced[0]-'0') != r.Code/100 || r.Text == "" {
			t.Errorf("%d: %d %s %q", id, r.Code, r.Enhanced, r.Text)
		}
		for _, c := range r.Text {
			if c < ' ' || c > '~' {
				t.Errorf("%d: %q", id, r.Text)
			}
		}
	}
}
