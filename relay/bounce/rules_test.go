package bounce

import (
	"bytes"
	"testing"
)

// TestRulesWithFaults names the lines that are no rules. Those of the package
// are read by every other test.
func TestRulesWithFaults(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"spam : words", "[what]\n", "[hosts]\n", "[words]\nnonsense : words",
		"[words]\nspam 5.x.1", "[words]\nspam 650", "[words]\nspam : a", "[words]\nspam x.7.9-8",
		"[words]\nspam : relay* denied", "[words]\nspam : one * a", "[words]\nspam 45",
		"[words]\nspam @dinner", "[words]\nspam",
	} {
		if _, err := readBook(text); err == nil {
			t.Errorf("%q is taken for rules", text)
		}
	}
}

// TestRulesAreReached finds rules that stand behind one that takes all they
// would.
func TestRulesAreReached(t *testing.T) {
	t.Parallel()
	b := rules()
	lists := []*list{&b.codes, &b.words, &b.rest}
	for i := range b.providers {
		lists = append(lists, &b.providers[i].list)
	}
	for _, l := range lists {
		for i := range l.rules {
			for j := range i {
				if a, b := &l.rules[j], &l.rules[i]; hides(a, b) {
					t.Errorf("%+v stands behind %+v", *b, *a)
				}
			}
		}
	}
}

// hides reports whether a rule takes all that a later one would.
func hides(a, b *rule) bool {
	if a.digit != 0 && a.digit != b.digit || a.code != 0 && a.code != b.code ||
		a.step != "" && a.step != b.step || a.codes.subject >= 0 && !a.codes.has(b.codes) {
		return false
	}
	if a.phrase == nil || b.phrase == nil {
		return a.phrase == nil
	}
	if len(b.phrase) > 1 || len(a.phrase) > 1 {
		return len(a.phrase) == 1 && len(b.phrase) > 1 && bytes.Equal(a.phrase[0], b.phrase[0])
	}
	for at := range b.phrase[0] {
		if a.phrase.begins(b.phrase[0][at:]) {
			return true
		}
	}
	return false
}
