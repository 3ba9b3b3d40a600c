package bounce_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/bounce"
)

// said is a line of testdata/replies.txt.
type said struct {
	line  int
	class bounce.Class
	reply bounce.Reply
}

// readReplies reads testdata/replies.txt.
func readReplies(t testing.TB) []said {
	t.Helper()
	text, err := os.ReadFile("testdata/replies.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []said
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.SplitN(line, " ", 5)
		code, err := strconv.Atoi(f[3])
		if err != nil || len(f) < 5 {
			t.Fatalf("line %d: %q", i+1, line)
		}
		r := bounce.Reply{Code: code, Step: bounce.Step(f[1]), Text: f[4]}
		if f[2] != "-" {
			r.Host = f[2] + " [192.0.2.25]"
		}
		if e, rest, _ := strings.Cut(f[4], " "); strings.HasPrefix(e, f[3][:1]+".") {
			r.Enhanced, r.Text = e, rest
		}
		all = append(all, said{i + 1, bounce.Class(f[0]), r})
	}
	return all
}

// TestReplies classifies what hosts say.
func TestReplies(t *testing.T) {
	t.Parallel()
	all := readReplies(t)
	if len(all) < 250 {
		t.Errorf("only %d replies", len(all))
	}
	for _, s := range all {
		if !slices.Contains(bounce.Classes(), s.class) {
			t.Errorf("line %d: no class is %q", s.line, s.class)
		}
		if got := bounce.Classify(s.reply); got != s.class {
			t.Errorf("line %d: %s, want %s: %+v", s.line, got, s.class, s.reply)
		}
	}
}
