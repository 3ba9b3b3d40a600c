package relay

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/postern-mail/postern/relay/internal/callback"
)

// endGrace is what sessions, attempts and Events have to return in when they
// were told to end.
const endGrace = time.Second

// Shutdown stops accepting, lets messages and attempts under way finish and
// hands over their events, until ctx ends. Then it ends what is left. It
// returns ctx's error if something had to be ended, and names what does not
// end: it waits for nothing longer than a second after ctx. A second call
// waits for the first.
//
// Called by a function that a relay calls, such as Events, a Transport or a
// Policy, it cannot wait for that one: it lets the end begin, which keeps to
// ctx's deadline, and returns nil at once. [Relay.Run] returns at the end.
func (r *Relay) Shutdown(ctx context.Context) error {
	if ctx == nil {
		return errNoContext
	}
	first := r.beginEnd()
	switch called := callback.Within(); {
	case called && first:
		go func() { // ctx itself may end with the function
			ctx, cancel := detach(ctx)
			defer cancel()
			_ = r.drain(ctx)
		}()
		return nil
	case called:
		return nil
	case first:
		return r.drain(ctx)
	}
	select {
	case <-r.shutdown:
		return r.leftBehind
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends everything at once. What was accepted stays in the spool. An error
// names what does not end. Like [Relay.Shutdown] it may be called by a function
// that a relay calls.
func (r *Relay) Close() error {
	r.kill()
	_ = r.Shutdown(r.killed)
	if callback.Within() {
		return nil
	}
	<-r.shutdown
	return r.leftBehind
}

// beginEnd reports whether the relay was not ending yet.
func (r *Relay) beginEnd() (first bool) {
	r.end.Do(func() {
		close(r.closed)
		first = true
	})
	return first
}

func (r *Relay) isClosed() bool {
	select {
	case <-r.closed:
		return true
	default:
		return false
	}
}

// drain is the end. It is called once.
func (r *Relay) drain(ctx context.Context) error {
	defer close(r.shutdown)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.killed, cancel)()
	late, stop := delayed(ctx, endGrace)
	defer stop()
	r.begin.Do(func() { // it never delivered, and does not begin now
		r.leasing, r.working, r.alive = func() {}, func() {}, func() {}
		close(r.idle)
		close(r.gone)
	})
	wait(late, async(r.closeListeners)) // a Listen or Reload under way may take its time
	r.leasing()
	err := r.server.Shutdown(ctx)
	wait(ctx, r.idle)
	r.working()
	sessions := r.server.Wait(late)
	wait(late, r.idle)
	r.alive()
	wait(late, r.gone)
	r.events.drain(late)
	if err == nil {
		err = ctx.Err()
	}
	wait(late, async(func() { _ = r.client.Close() }))
	events := r.events.close()
	if err == nil {
		return nil
	}
	left := leftovers{
		{sessions, "session"}, {r.attempts.UnderWay(), "delivery"}, {events, "event"},
		{r.calls.left(), "call of the application"},
	}.String()
	if left == "" {
		return err // what did not end in time was ended
	}
	r.leftBehind = fmt.Errorf("relay: %s left behind: %w", left, err)
	return r.leftBehind
}

func (r *Relay) closeListeners() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for b, l := range r.listeners {
		_ = l.Close()
		delete(r.listeners, b)
	}
}

// leftovers are numbers of things that have not ended.
type leftovers []struct {
	n    int
	what string
}

// String returns "1 session, 2 events"; empty if there is nothing.
func (l leftovers) String() string {
	var all []string
	for _, v := range l {
		switch {
		case v.n == 1:
			all = append(all, "1 "+v.what)
		case v.n > 1:
			all = append(all, fmt.Sprint(v.n, " ", plural(v.what)))
		}
	}
	return strings.Join(all, ", ")
}

func plural(s string) string {
	switch s {
	case "delivery":
		return "deliveries"
	case "call of the application":
		return "calls of the application"
	}
	return s + "s"
}

// wait waits for done until ctx ends.
func wait(ctx context.Context, done <-chan struct{}) {
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// async calls f on a goroutine of its own and returns what is closed behind it.
func async(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}

// detach returns a context that keeps nothing of ctx but its deadline.
func detach(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		return context.WithDeadline(context.WithoutCancel(ctx), end)
	}
	return context.WithCancel(context.WithoutCancel(ctx))
}

// delayed returns a context that ends d after ctx.
func delayed(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-late.Done():
		}
	})
	return late, func() { stop(); cancel() }
}
