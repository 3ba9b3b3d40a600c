package simtest

import (
	"context"
	"sync"
	"time"
)

// Run lives through the plan, mends everything, waits until the queue is empty
// and checks the history.
func (w *World) Run() Outcome {
	for i := range w.lives {
		w.begin(i)
	}
	ctx, stop := context.WithTimeout(context.Background(), w.plan.Lasts)
	raging := make(chan struct{})
	go func() {
		defer close(raging)
		w.rage(ctx)
	}()
	var attending sync.WaitGroup
	attending.Go(func() { w.attend(ctx) })
	w.send(context.Background())
	w.bursts.Wait()
	w.regrets.Wait()
	stop()
	<-raging
	attending.Wait()
	w.settle()
	w.drain()
	w.unthrottle()
	w.drain()
	log := w.readLog()
	for i := range w.lives {
		w.end(w.node(i))
	}
	w.check(log)
	h := w.history
	return Outcome{
		Faults: h.faults, Recipients: len(h.sent), Twice: h.twice, Ahead: h.ahead,
		Throttles: len(h.throttles), Expected: h.expected,
	}
}

// Outcome is what there was in a world.
type Outcome struct {
	Faults     map[Fault]int // how often each came
	Recipients int
	// Twice is how many copies were made once more because a node could not
	// write them down.
	Twice int
	// Ahead is how many messages had come behind others before those were
	// answered, and Throttles what the relays did by themselves.
	Ahead, Throttles int
	// Expected is how many deliveries were leased by their commits and handed
	// out so.
	Expected int
}

// drain waits until nothing is in the queue.
func (w *World) drain() {
	for begun := time.Now(); time.Since(begun) < patience; time.Sleep(5 * time.Second) {
		w.release()
		s, err := w.node(0).relay.Stats(context.Background())
		if err != nil {
			w.t.Fatal(err)
		}
		if s.Messages == 0 && s.Deliveries == 0 {
			time.Sleep(time.Minute) // for those who follow the log
			return
		}
	}
	s, err := w.node(0).relay.Stats(context.Background())
	w.t.Errorf("the queue is not empty after %v: %+v, %v", patience, s, err)
}
