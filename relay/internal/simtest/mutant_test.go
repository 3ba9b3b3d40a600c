package simtest_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// mutant is the relay with a promise broken on purpose.
type mutant struct {
	changes map[string][]string // by file: what stands there, and what stands there instead
	sees    string              // the history must show it so
}

func mutants() map[string]mutant {
	return map[string]mutant{
		"takes replies for those of the transaction behind": {
			map[string][]string{"../outbound/flight.go": {
				"if v = t.touchDown(ctx, c, asked, v); c.dead || t.seat.owed == 0 {",
				"if v, t.seat.owed = t.touchDown(ctx, c, asked, v), 0; true {",
				"case t.misplaced(c, op, rep):", "case false:",
				"case t.misplaced(c, delivery.OpRcpt, rep):", "case false:",
				"(nobody || rep.class() != 2), t.misplaced(c, op, rep):", "false:",
			}}, "I13: ",
		},
		"sends chunks ahead without the proof": {
			map[string][]string{"../outbound/flight.go": {
				"t.seat.behind && c.skips && t.body.last", "t.seat.behind && t.body.last",
			}}, "smuggled: ",
		},
		"sends further chunks without the proof": {
			map[string][]string{
				"../outbound/run.go":  {"c.skips || binary", "true || binary"},
				"../outbound/send.go": {"!c.ext.pipelining || !c.skips", "!c.ext.pipelining"},
			}, "smuggled: ",
		},
		"tries at once what may have been taken": {
			map[string][]string{"../outbound/deliver.go": {
				"v == broken && (t.ended || ctx.Err() != nil)", "v == broken && ctx.Err() != nil",
			}}, "I9: ",
		},
		"never ends a throttle": {
			map[string][]string{"../throttle/state.go": {
				"return !now.Before(s.ends())", "return false",
			}}, "a throttle does not end",
		},
	}
}

// TestMutants sees that the simulation fails with a relay that is broken on
// purpose, and says why. Some need several worlds: what breaks has to happen
// there, and a seed does not decide which of two goroutines is first.
func TestMutants(t *testing.T) {
	for name, m := range mutants() {
		t.Run(name, func(t *testing.T) {
			seenBy(t, m.build(t), "TestSimulation", m.sees)
		})
	}
}

// maxWorlds is how many there are to see a mutant in. The one that hides best
// shows in every second one.
const maxWorlds = 25

// seenBy sees that a test of a simulation fails in one of the worlds, and says
// why.
func seenBy(t *testing.T, simulation, test, sees string, env ...string) {
	t.Helper()
	for seed := 1; seed <= maxWorlds; seed++ {
		if strings.Contains(live(t, simulation, test, seed, env), sees) {
			t.Logf("seen in world %d", seed)
			return
		}
	}
	t.Errorf("no world of %d shows %q", maxWorlds, sees)
}

// build makes the simulation of the mutant, and returns where it is.
func (m *mutant) build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "simulation")
	cmd := exec.Command("go", "test", "-c", "-overlay="+m.overlay(t), "-o", path, ".")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the mutant does not build: %v\n%s", err, out)
	}
	return path
}

// live returns why the world of a seed fails.
func live(t *testing.T, simulation, test string, seed int, env []string) string {
	t.Helper()
	cmd := exec.Command(simulation, "-test.run=^"+test+"$", "-test.timeout=8m")
	cmd.Env = append(append(os.Environ(), "SIMULATION_SEED="+strconv.Itoa(seed)), env...)
	out, err := cmd.CombinedOutput()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		t.Fatal(err)
	}
	if err == nil {
		return ""
	}
	return string(out)
}

// overlay has the go command build the mutant.
func (m *mutant) overlay(t *testing.T) string {
	t.Helper()
	replace := make(map[string]string)
	for file, changes := range m.changes {
		path, err := filepath.Abs(file)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := string(text)
		for i := 0; i < len(changes); i += 2 {
			if strings.Count(changed, changes[i]) != 1 {
				t.Fatalf("%s has not one %q: break it in another way", file, changes[i])
			}
			changed = strings.Replace(changed, changes[i], changes[i+1], 1)
		}
		replace[path] = write(t, filepath.Base(file), changed)
	}
	return write(t, "overlay.json", map[string]map[string]string{"Replace": replace})
}

// write writes a text, or JSON, and returns where it is.
func write(t *testing.T, name string, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if text, ok := v.(string); ok {
		b = []byte(text)
	}
	path := filepath.Join(t.TempDir(), name)
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}
