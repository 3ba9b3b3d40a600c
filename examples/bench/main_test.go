package main

import (
	"strings"
	"testing"
)

// TestGateway runs a little of every kind of scenario. Postfix is left out: it
// needs root.
func TestGateway(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("drives other programs, which -short leaves out")
	}
	var out strings.Builder
	err := run(t.Context(), []string{
		"-servers", "gateway", "-rounds", "1", "-dir", t.TempDir(),
		"-scenario", "b,d2,queued,idle", "-scale", "0.02", "-queued", "100", "-idle", "50",
	}, &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"(b) 20 × 10 KB", "(d2) 100 × 1 KB, reused", "100 × 10 KB queued", "50 idle sessions: ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	got := median([]figures{{1, 30, 2, 5}, {3, 10, 2, 4}, {2, 20, 9, 6}})
	if want := (figures{2, 20, 2, 5}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
