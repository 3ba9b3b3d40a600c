package main

import (
	"os"
	"strings"
	"testing"
)

// TestMain lets the benchmark start relays: it runs its own program for each.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == nodeCommand {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestScenarios runs a little of each. Postfix is left out: it needs root.
func TestScenarios(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		return // it drives other programs, which make check does without
	}
	var out strings.Builder
	err := start(t.Context(), []string{
		"-quick", "-scenario", "accept,store,relay,nodes,backlog,outbox,snapshot",
		"-only", "spool,River,node",
	}, &out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		"accepted per second", "beside River's InsertManyFast", "end to end per second",
		"two beside one", "a lease of 64 keys", "beyond the own commit",
		"last tenth beside the first",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	got := median([]figures{{1, 30}, {3, 10}, {2, 20}})
	if got[0] != 2 || got[1] != 20 {
		t.Errorf("got %v", got)
	}
}

// TestTargets holds the figures to theirs; what was not measured misses none.
func TestTargets(t *testing.T) {
	t.Parallel()
	s := scenario{
		subjects: []subject{{name: "a"}, {name: "b"}}, columns: []column{{title: "x"}},
		targets: []target{
			atLeast("a at least 3", "a", 0, 3), atMost("a at most 2", "a", 0, 2),
			fraction("a beside b at least 2", "a", "b", 0, 2), atLeast("c", "c", 0, 1),
		},
	}
	var out strings.Builder
	b := &bench{out: &out}
	if err := b.print(s, results{"a": {4}, "b": {1}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"a at least 3: 4, reached", "a at most 2: 4, MISSED", "a beside b at least 2: 4, reached",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "c:") || !b.missed {
		t.Errorf("missed is %v in\n%s", b.missed, out.String())
	}
}
