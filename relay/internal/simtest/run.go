package simtest

import (
	"context"
	"time"
)

// Run lives through the plan, mends everything, waits until the queue is empty
// and checks the history. It returns how often each fault came, and how many
// recipients there were.
func (w *World) Run() (faults map[Fault]int, recipients int) {
	w.begin()
	ctx, stop := context.WithTimeout(context.Background(), w.plan.Lasts)
	raging := make(chan struct{})
	go func() {
		defer close(raging)
		w.rage(ctx)
	}()
	w.send(context.Background())
	w.regrets.Wait()
	stop()
	<-raging
	w.settle()
	w.drain()
	log := w.readLog()
	w.end()
	w.check(log)
	return w.history.faults, len(w.history.sent)
}

// drain waits until nothing is in the queue.
func (w *World) drain() {
	for begun := time.Now(); time.Since(begun) < patience; time.Sleep(5 * time.Second) {
		s, err := w.current().relay.Stats(context.Background())
		if err != nil {
			w.t.Fatal(err)
		}
		if s.Messages == 0 && s.Deliveries == 0 {
			time.Sleep(time.Minute) // for those who follow the log
			return
		}
	}
	s, err := w.current().relay.Stats(context.Background())
	w.t.Errorf("the queue is not empty after %v: %+v, %v", patience, s, err)
}
