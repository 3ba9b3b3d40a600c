package main

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	flushEvery = 20 * time.Millisecond  // at most one write in this time
	retryEvery = 250 * time.Millisecond // after a write that failed
	lastWords  = 2 * time.Second        // for what is left at the end
)

// outlet writes lines to a place that may be slow, full, or not read at all.
// Who adds a line never waits: one goroutine writes, and a burst of lines costs
// few writes. Beyond a bounded size lines are dropped, and a line in their
// place says how many. What cannot be written is tried again until it can.
type outlet struct {
	w    io.Writer
	most int                // octets that wait; twice as many while a write is under way
	gap  func(n int) []byte // the line in the place of n dropped ones
	log  *slog.Logger       // told of trouble

	mu      sync.Mutex
	pending []byte
	dropped int // since the last write began
	wake    chan struct{}
	quit    chan struct{}
	done    chan struct{}
}

func newOutlet(w io.Writer, most int, gap func(n int) []byte, log *slog.Logger) *outlet {
	o := &outlet{
		w: w, most: most, gap: gap, log: log,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	go o.run()
	return o
}

// newLog returns the outlet of a log.
func newLog(w io.Writer) *outlet {
	gap := func(n int) []byte {
		var line bytes.Buffer
		slog.New(
			slog.NewTextHandler(&line, nil),
		).Warn("lines of the log were dropped, since nobody "+
			"read it", "lines", n)
		return line.Bytes()
	}
	return newOutlet(w, 1<<20, gap, slog.New(slog.DiscardHandler))
}

// Write adds whole lines. It never fails.
func (o *outlet) Write(p []byte) (int, error) {
	o.add(bytes.Count(p, []byte("\n")), func(b []byte) []byte { return append(b, p...) })
	return len(p), nil
}

// add lets f append a number of lines, or drops them.
func (o *outlet) add(lines int, f func([]byte) []byte) {
	o.mu.Lock()
	first := false
	if o.dropped > 0 || len(o.pending) >= o.most {
		first = o.dropped == 0
		o.dropped += lines
	} else {
		o.pending = f(o.pending)
	}
	o.mu.Unlock()
	if first {
		o.log.Warn("events are dropped, since nobody reads them or they cannot be written")
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// Close writes what is left, but does not wait long for a reader.
func (o *outlet) Close() {
	close(o.quit)
	select {
	case <-o.done:
	case <-time.After(lastWords):
	}
}

func (o *outlet) run() {
	defer close(o.done)
	var batch []byte
	for running := true; running; {
		select {
		case <-o.wake:
		case <-o.quit:
			running = false
		}
		if batch = o.take(batch); len(batch) == 0 {
			continue
		}
		o.deliver(batch)
		select {
		case <-time.After(flushEvery):
		case <-o.quit:
		}
	}
}

// take returns what is pending, and has the next lines gather in spare.
func (o *outlet) take(spare []byte) []byte {
	o.mu.Lock()
	batch, n := o.pending, o.dropped
	o.pending, o.dropped = spare[:0], 0
	o.mu.Unlock()
	if n > 0 {
		batch = append(batch, o.gap(n)...)
		o.log.Warn("events were dropped", "lines", n)
	}
	return batch
}

// deliver writes a batch, however often it takes, and gives up at the end only.
func (o *outlet) deliver(batch []byte) {
	torn := false // a line was cut off
	for failed := false; ; failed = true {
		if torn {
			if _, err := o.w.Write([]byte("\n")); err == nil {
				torn = false
			}
		}
		n, err := 0, error(nil)
		if !torn {
			n, err = o.w.Write(batch)
		}
		if err == nil && !torn {
			if failed {
				o.log.Info("events are written again")
			}
			return
		}
		if !failed {
			o.log.Error("cannot write events; they wait for a while", "err", err)
		}
		// What was cut off is written again as a whole.
		whole := bytes.LastIndexByte(batch[:n], '\n') + 1
		torn = torn || whole < n
		batch = batch[whole:]
		select {
		case <-time.After(retryEvery):
		case <-o.quit:
			o.log.Error(
				"the last events could not be written", "lines", bytes.Count(batch, []byte("\n")),
			)
			return
		}
	}
}
