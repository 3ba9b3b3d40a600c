package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/postern-mail/postern/relay/spool"
)

const (
	places = 1000                  // deliveries under way; River has as many workers
	gather = 10 * time.Millisecond // between two looks at the queue
	ttl    = 2 * time.Minute       // of a lease
)

// worker leases, reads and settles, as the relay does.
type worker struct {
	store  spool.Store
	mail   *mail
	free   chan struct{} // tokens of free places
	leased func(d time.Duration, n int)
	// expecter leases what it commits, if the store can.
	expecter spool.Expecter

	mu      sync.Mutex
	settled int
	until   int
	done    chan struct{}
	err     error
}

func newWorker(s spool.Store, m *mail) *worker {
	w := &worker{
		store: s, mail: m, free: make(chan struct{}, places),
		leased: func(time.Duration, int) {}, done: make(chan struct{}),
	}
	w.expecter, _ = s.(spool.Expecter)
	for range places {
		w.free <- struct{}{}
	}
	return w
}

// run works until n deliveries are settled.
func (w *worker) run(ctx context.Context, n int) error {
	w.until = n
	var wake <-chan struct{}
	if store, ok := w.store.(spool.Waker); ok {
		wake = store.Wake()
	}
	for {
		wait, err := w.fill(ctx)
		if err != nil {
			return err
		}
		select {
		case <-w.done:
			return w.err
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
			time.Sleep(gather)
		case <-time.After(wait):
		}
	}
}

// fill leases as many as there are places, and tells how long to wait.
func (w *worker) fill(ctx context.Context) (time.Duration, error) {
	free := w.take()
	if free == 0 {
		return gather, nil
	}
	begin := time.Now()
	got, err := w.store.Lease(ctx, spool.LeaseRequest{Max: free, TTL: ttl})
	if err != nil {
		return 0, err
	}
	w.leased(time.Since(begin), len(got.Leases))
	w.give(free - len(got.Leases))
	if w.expecter != nil {
		n := free - len(got.Leases)
		w.expecter.Expect(spool.Expected{Max: n, TTL: ttl, Others: n})
	}
	for i := range got.Leases {
		go w.deliver(ctx, &got.Leases[i])
	}
	return gather, nil
}

// take takes all free places.
func (w *worker) take() int {
	for n := 0; ; n++ {
		select {
		case <-w.free:
		default:
			return n
		}
	}
}

func (w *worker) give(n int) {
	for range n {
		w.free <- struct{}{}
	}
}

func (w *worker) deliver(ctx context.Context, l *spool.Lease) {
	err := w.attempt(ctx, l)
	w.give(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.settled++; w.settled > w.until || w.err != nil {
		return
	}
	if w.err = err; err != nil || w.settled == w.until {
		close(w.done)
	}
}

// attempt reads the content and settles.
func (w *worker) attempt(ctx context.Context, l *spool.Lease) error {
	r, err := w.open(ctx, l.Message.ID)
	if err != nil {
		return err
	}
	defer r.Close()
	if n, err := io.Copy(io.Discard, r); err != nil || n < mailSize {
		return fmt.Errorf("read %d bytes of a message: %w", n, err)
	}
	return w.store.Settle(ctx, spool.Settlement{
		ID: l.Delivery.ID, Token: l.Token, Events: w.mail.event(),
	})
}

// open takes the content from memory where the store has it there.
func (w *worker) open(ctx context.Context, id spool.ID) (io.ReadCloser, error) {
	if r, ok := w.store.(spool.Recaller); ok {
		if content := r.Recall(id); content != nil {
			return io.NopCloser(bytes.NewReader(content)), nil
		}
	}
	return w.store.Open(ctx, id)
}
