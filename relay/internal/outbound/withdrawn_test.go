package outbound_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

// A context that ends before a delivery has said anything, behind another,
// costs neither that one nor those that come later their connection.
func TestContextEndsBeforeAWordIsSaid(t *testing.T) {
	for name, pause := range map[string]time.Duration{
		"others are behind it": 20 * time.Millisecond, "it was the last": time.Second,
	} {
		t.Run(name, func(t *testing.T) { endsUnsaid(t, pause) })
	}
}

// endsUnsaid begins another delivery after a pause.
func endsUnsaid(t *testing.T, pause time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		h := &faultyHost{}
		l := stand(t, h, "PIPELINING")
		h.hold = 500 * time.Millisecond
		l.begin(context.Background(), 0)
		ctx, cancel := context.WithCancel(context.Background())
		silent := pair(1, false)
		silent.Open = func(ctx context.Context) (io.ReadCloser, error) {
			<-ctx.Done()
			time.Sleep(time.Millisecond) // others hear of it first
			return nil, ctx.Err()
		}
		l.wg.Go(func() {
			res := l.c.Deliver(ctx, silent)
			l.mu.Lock()
			defer l.mu.Unlock()
			l.res[1] = res
		})
		time.Sleep(20 * time.Millisecond)
		cancel()
		time.Sleep(pause)
		l.begin(context.Background(), 2)
		l.expect(0, `delivered 250 2.0.0 "0"`)
		l.expect(1, "temporary content 0 4.3.0 error")
		l.expect(2, `delivered 250 2.0.0 "2"`)
		if d := l.took[2]; d > 2*time.Second {
			t.Errorf("took %v", d)
		}
		l.end(1)
	})
}
