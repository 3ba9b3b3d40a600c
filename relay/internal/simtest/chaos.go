package simtest

import (
	"context"
	"slices"
	"time"

	"github.com/postern-mail/postern/relay/relaytest"
)

const (
	expires = 40 * time.Minute
	maxStep = 10 * time.Minute // of the wall clock
)

// calamities are the faults that come from outside, beside those that the
// peers make by themselves.
func (w *World) calamities() map[Fault]func(context.Context) {
	all := map[Fault]func(context.Context){
		StoreCut:     w.cutStore,
		ProcessStops: w.stopProcess,
		NetworkCuts:  w.breakNetwork,
		NetworkStops: w.breakNetwork,
		DNSErrs:      w.breakDNS,
		Reload:       w.reload,
		ClockSteps:   w.stepClock,
		DiskFails:    w.breakDisk,
		DiskScarce:   w.breakDisk,
		DiskFull:     w.breakDisk,
		DiskForgets:  func(ctx context.Context) { w.die(ctx, DiskForgets, true) },
		ProcessDies:  func(ctx context.Context) { w.die(ctx, ProcessDies, false) },
		Restart:      w.restart,
		HostSlows:    w.setMood,
		HostBlocks:   w.setMood,
		HostDoubts:   w.setMood,
	}
	for _, f := range w.plan.without() {
		delete(all, f)
	}
	return all
}

// without is what does not come.
func (p *Plan) without() []Fault {
	disk := []Fault{DiskFails, DiskScarce, DiskFull, DiskForgets}
	nodes := []Fault{StoreCut, ProcessStops}
	switch {
	case p.Nodes > 1:
		return slices.Concat(p.Without, disk)
	case p.Durable:
		return slices.Concat(p.Without, nodes)
	}
	return slices.Concat(p.Without, nodes, disk, []Fault{ProcessDies, Restart})
}

// Faults lists the kinds that come in a plan.
func (p *Plan) Faults() []Fault {
	without := p.without()
	return slices.DeleteFunc(faults(), func(f Fault) bool { return slices.Contains(without, f) })
}

// rage makes faults, one after another, until ctx ends.
func (w *World) rage(ctx context.Context) {
	all := w.calamities()
	kinds := make([]Fault, 0, len(all))
	for f := range all {
		kinds = append(kinds, f)
	}
	slices.Sort(kinds)
	gap := w.plan.Lasts / time.Duration(calamityRounds*len(kinds))
	for {
		w.mu.Lock()
		w.random.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		w.mu.Unlock()
		for _, f := range kinds {
			if !pause(ctx, w.between(gap/2, gap+gap/2)) {
				return
			}
			w.kind = f
			w.history.calamity(f)
			all[f](ctx)
		}
	}
}

// calamityRounds is how often each kind comes in a plan.
const calamityRounds = 5

func (w *World) breakNetwork(ctx context.Context) {
	address := w.hops[w.below(len(w.hops))]
	f := relaytest.Fault{}
	switch kind := w.below(4); {
	case w.kind == NetworkCuts:
		f.CutAfter = int64(1 + w.below(600))
	case kind == 0:
		f.StallAfter = int64(1 + w.below(600))
	case kind == 1:
		f.Silent = true
	case kind == 2:
		f.Refuse = true
	default:
		f.Latency = w.between(time.Millisecond, 3*time.Second)
	}
	w.history.count(w.kind)
	begun := time.Now()
	_ = w.net.Break(address, f)
	go func() {
		pause(ctx, w.between(time.Second, 90*time.Second))
		_ = w.net.Break(address, relaytest.Fault{})
		w.history.troubleAt(address, span{begun, time.Now()})
	}()
}

func (w *World) reload(context.Context) {
	l := w.take()
	if l == nil {
		return
	}
	if err := l.relay.Reload(w.config(l)); err != nil {
		w.t.Errorf("reload: %v", err)
	}
	w.history.count(Reload)
}

// stepClock sets the wall clock of a node, and sets it right again later: by
// more in sum no message grows old.
func (w *World) stepClock(context.Context) {
	w.mu.Lock()
	if step := &w.steps[w.random.IntN(len(w.steps))]; *step != 0 {
		*step = 0
	} else {
		*step = time.Duration(w.random.Int64N(int64(2*maxStep))) - maxStep
	}
	w.mu.Unlock()
	w.history.count(ClockSteps)
}

func (w *World) breakDisk(ctx context.Context) {
	defer w.history.outage(time.Now())
	w.history.count(w.kind)
	switch w.kind {
	case DiskFull:
		w.machine.Fill()
	case DiskScarce:
		w.machine.Lack()
	default:
		w.history.trouble(0, now())
		w.machine.Fail()
	}
	pause(ctx, w.between(time.Second, 10*time.Second))
	w.machine.Mend()
	if w.kind == DiskScarce {
		w.goesOn()
	}
	if w.kind == DiskFails {
		// A store that cannot promise anything any more has to be opened anew.
		w.anew(w.node(0))
	}
}

// goesOn sees that a lack that has passed is no failure for good (I12).
func (w *World) goesOn() {
	time.Sleep(10 * time.Second)
	if err := w.submitNew(w.from(0), []string{w.newAddress(goodDomain)}, wish{}); err != nil {
		w.t.Errorf("I12: nothing is taken after a lack of descriptors: %v", err)
	}
}

// die has a process die, and begin again: where there are others, after a
// while.
func (w *World) die(ctx context.Context, f Fault, powerLost bool) {
	l := w.take()
	if l == nil {
		return
	}
	w.history.count(f)
	w.setOut(l, true)
	w.aim(l, func() { w.kill(l, powerLost) })
	begun := time.Now()
	w.bury(l)
	again := func() {
		w.begin(l.node)
		w.history.outage(begun)
	}
	if !w.shared() {
		again()
		return
	}
	w.mending.Go(func() {
		pause(ctx, w.between(0, 2*w.plan.Lease))
		again()
	})
}

func (w *World) restart(context.Context) {
	l := w.take()
	if l == nil {
		return
	}
	defer w.history.outage(time.Now())
	w.history.count(Restart)
	w.anew(l)
}

// anew ends a process and begins another. What the one cannot end in good time
// it gives up, and the other has it.
func (w *World) anew(l *life) {
	begun := time.Now()
	w.end(l)
	w.history.trouble(l.node, span{begun, time.Now()})
	w.begin(l.node)
}

func (w *World) isCalm() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calm
}

// settle mends everything.
func (w *World) settle() {
	w.mu.Lock()
	w.calm = true
	clear(w.steps)
	w.mu.Unlock()
	w.mending.Wait()
	w.machine.Mend()
	for _, a := range w.hops {
		_ = w.net.Break(a, relaytest.Fault{})
	}
}
