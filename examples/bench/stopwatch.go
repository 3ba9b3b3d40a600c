package main

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// delays are those of a trickle.
type delays struct {
	ms    []float64 // sorted
	never int       // have not arrived; they count with the time that they were given
}

func (d delays) at(q float64) float64 {
	return d.ms[min(len(d.ms)-1, int(q*float64(len(d.ms))))]
}

// stopwatch notes when each message of a trickle was accepted, and arrived.
type stopwatch struct {
	mu            sync.Mutex
	accepted, got []time.Time
	left          int
}

func newStopwatch(n int) *stopwatch {
	return &stopwatch{accepted: make([]time.Time, n), got: make([]time.Time, n), left: n}
}

func (w *stopwatch) sent(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.accepted[i] = time.Now()
}

// arrived notes those of the trickle, "t7@d7.example.net".
func (w *stopwatch) arrived(recipients []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range recipients {
		part, _, _ := strings.Cut(one, "@")
		i, err := strconv.Atoi(strings.TrimPrefix(part, "t"))
		if !strings.HasPrefix(part, "t") || err != nil || i >= len(w.got) || !w.got[i].IsZero() {
			continue
		}
		w.got[i] = time.Now()
		w.left--
	}
}

func (w *stopwatch) missing() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.left
}

func (w *stopwatch) delays() (d delays) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for i, begin := range w.accepted {
		end := w.got[i]
		if end.IsZero() {
			end, d.never = now, d.never+1
		}
		d.ms = append(d.ms, float64(end.Sub(begin).Microseconds())/1000)
	}
	slices.Sort(d.ms)
	return d
}
