package main

import (
	"os"
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
	want := []string{
		"(b) 20 sessions: 50 × 10 KB", "(d2) 100 sessions: 100 × 1 KB, reused", "(rcpts) ",
		"(tls) ", "(dkim) ", "(streams) ", "(far) ", "(far-chunks) ", "100 × 10 KB queued",
		"10 idle sessions: ",
	}
	scenarios := "b,d2,rcpts,tls,dkim,streams,far,far-chunks,queued,idle"
	if os.Geteuid() == 0 {
		scenarios += ",mx,backlog" // with a DNS of their own
		want = append(want, "(mx) ", "(backlog) ")
	}
	var out strings.Builder
	err := run(t.Context(), []string{
		"-servers", "gateway", "-rounds", "1", "-dir", t.TempDir(), "-scenario", scenarios,
		"-scale", "0.01",
	}, &out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range want {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
