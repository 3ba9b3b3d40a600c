package bounce_test

import (
	"testing"

	"github.com/postern-mail/postern/relay/bounce"
)

func TestClassesAsText(t *testing.T) {
	t.Parallel()
	seen := map[bounce.Class]bool{}
	for _, c := range append(bounce.Classes(), "") {
		text, err := c.MarshalText()
		got := bounce.Class("before")
		if err == nil {
			err = got.UnmarshalText(text)
		}
		if err != nil || got != c || string(text) != c.String() || seen[c] {
			t.Errorf("%q: %q, %v", c, got, err)
		}
		seen[c] = true
	}
	for _, unknown := range []string{"spam ", "Spam", "later"} {
		if err := new(bounce.Class).UnmarshalText([]byte(unknown)); err == nil {
			t.Errorf("%q is a class", unknown)
		}
	}
}

// TestEveryClassIsFound has a reply for each class.
func TestEveryClassIsFound(t *testing.T) {
	t.Parallel()
	found := map[bounce.Class]bool{}
	for _, s := range readReplies(t) {
		found[s.class] = true
	}
	for _, c := range bounce.Classes() {
		if !found[c] {
			t.Errorf("no reply is for %s", c)
		}
	}
}
