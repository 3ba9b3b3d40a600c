package simtest

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// Seeds lives through worlds of a plan, each with a seed of its own.
// SIMULATION_SEED runs one again, SIMULATION_SEEDS sets how many there are: two
// if it is not set, 25 by make simulate, a thousand by make soak. It ends with
// the first that fails. Each kind of fault must have come often.
//
// live makes a world, in a bubble of its own. pkg is the package of the test,
// for who runs a seed again.
func Seeds(t *testing.T, pkg string, p Plan, live func(*testing.T, Plan) *World) {
	if s := os.Getenv("SIMULATION_SEED"); s != "" {
		p.Seed = number(t, s)
		simulate(t, pkg, p, live)
		return
	}
	seeds := 2
	if s := os.Getenv("SIMULATION_SEEDS"); s != "" {
		seeds = int(number(t, s))
	}
	begun, sum := time.Now(), Outcome{Faults: make(map[Fault]int)}
	for range seeds {
		p.Seed = rand.Uint64() >> 1
		o := simulate(t, pkg, p, live)
		if t.Failed() {
			return // its output is the last
		}
		sum.Recipients += o.Recipients
		sum.Twice += o.Twice
		sum.Ahead += o.Ahead
		sum.Throttles += o.Throttles
		sum.Expected += o.Expected
		for kind, n := range o.Faults {
			sum.Faults[kind] += n
		}
	}
	all := 0
	for _, kind := range p.Faults() {
		n := sum.Faults[kind]
		t.Logf("%-34s %5d", kind, n)
		all += n
		if least := 4 * seeds; n < least && seeds > 2 {
			t.Errorf("%s came %d times, fewer than %d", kind, n, least)
		}
	}
	if sum.Twice == 0 && p.Nodes > 1 && seeds > 2 {
		t.Error("no node had handed over a copy that it could not write down")
	}
	if seeds > 2 && (sum.Ahead < 10*seeds || sum.Throttles < seeds) {
		t.Errorf("%d messages went ahead, and there were %d throttles", sum.Ahead, sum.Throttles)
	}
	if p.Nodes > 1 && seeds > 2 && sum.Expected < 10*seeds {
		t.Errorf("%d deliveries were leased by their commits", sum.Expected)
	}
	t.Logf("%d messages went ahead, and there were %d throttles", sum.Ahead, sum.Throttles)
	t.Logf("%d deliveries were leased by their commits", sum.Expected)
	t.Logf("%d recipients and %d faults in %v; %d copies were made again for want of the store",
		sum.Recipients, all, time.Since(begun), sum.Twice)
}

func number(t *testing.T, s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func simulate(
	t *testing.T, pkg string, p Plan, live func(*testing.T, Plan) *World,
) (o Outcome) {
	test := t.Name()
	t.Run(strconv.FormatUint(p.Seed, 10), func(t *testing.T) {
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("again: SIMULATION_SEED=%d go test -run '^%s$' %s", p.Seed, test, pkg)
			}
		})
		synctest.Test(t, func(t *testing.T) { o = live(t, p).Run() })
	})
	return o
}
