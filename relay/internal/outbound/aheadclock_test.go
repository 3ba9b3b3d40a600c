package outbound_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/outbound"
)

// line is deliveries that wait for one connection.
type line struct {
	t    *testing.T
	host *faultyHost
	c    *outbound.Client
	wg   sync.WaitGroup
	took map[int]time.Duration
	res  map[int][]delivery.Result
	mu   sync.Mutex
}

// stand makes a connection on which messages go ahead.
func stand(t *testing.T, h *faultyHost, extensions string) *line {
	h.extensions, h.taken = strings.Fields(extensions), make(map[string]int)
	l := &line{t: t, host: h, c: newClient(t, afar(dialPipe(h.serve), time.Millisecond))}
	l.took, l.res = make(map[int]time.Duration), make(map[int][]delivery.Result)
	for n := range 6 {
		l.wg.Go(func() { l.c.Deliver(context.Background(), pair(100+n, false)) })
	}
	l.wg.Wait()
	return l
}

// begin begins a delivery behind those before.
func (l *line) begin(ctx context.Context, n int) {
	start := time.Now()
	l.wg.Go(func() {
		res := l.c.Deliver(ctx, pair(n, false))
		l.mu.Lock()
		defer l.mu.Unlock()
		l.res[n], l.took[n] = res, time.Since(start)
	})
	time.Sleep(20 * time.Millisecond)
}

// expect waits for a delivery and compares its result for the recipient that
// exists.
func (l *line) expect(n int, want string) {
	l.t.Helper()
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if got := show(l.res[n][n%2]); got != want {
		l.t.Errorf("message %d: %s (%v), want %s", n, got, l.res[n][n%2].Err, want)
	}
}

// end checks how many connections there were, and that nothing came twice.
func (l *line) end(conns int) {
	l.t.Helper()
	l.c.Close()
	time.Sleep(time.Hour)
	l.host.mu.Lock()
	defer l.host.mu.Unlock()
	if l.host.conns != conns {
		l.t.Errorf("%d connections, want %d", l.host.conns, conns)
	}
	for key, n := range l.host.taken {
		if n != 1 {
			l.t.Errorf("%d copies of %s", n, key)
		}
	}
}

// What has sent no content leaves a connection on which the one in front waits
// for long, and no more are begun than there are connections.
func TestAheadOfSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &faultyHost{}
		l := stand(t, h, "PIPELINING")
		h.hold = time.Hour
		l.begin(context.Background(), 0)
		l.begin(context.Background(), 1)
		time.Sleep(6 * time.Second)
		if n := l.c.Limit(pair(0, false).Hop, ""); n != 1 {
			t.Errorf("room for %d", n)
		}
		l.expect(0, "temporary data 0 4.4.2 error")
		l.expect(1, "temporary dial 0 4.4.1 error")
		if d := l.took[0]; d < 10*time.Minute || d > 11*time.Minute {
			t.Errorf("in front for %v", d)
		}
		if d := l.took[1]; d < 2*time.Minute || d > 3*time.Minute {
			t.Errorf("behind for %v", d)
		}
		l.end(1)
	})
}

// A host that becomes slow gets nothing ahead.
func TestNothingAheadOfSlowHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &faultyHost{}
		l := stand(t, h, "PIPELINING")
		h.hold = 2 * time.Second
		for n := range 4 {
			l.begin(context.Background(), n)
		}
		for n := range 4 {
			l.expect(n, fmt.Sprintf(`delivered 250 2.0.0 "%d"`, n))
		}
		if n := l.c.Limit(pair(0, false).Hop, ""); n != 1 {
			t.Errorf("room for %d", n)
		}
		l.end(1)
	})
}

// The end of a context in front or in the midst leaves the others their
// connection and their replies.
func TestContextEndsAmongOthers(t *testing.T) {
	for _, ext := range []string{"PIPELINING", "PIPELINING CHUNKING"} {
		for out := range 3 {
			if ext == "PIPELINING" && out > 0 {
				continue // only the first of them has sent content
			}
			t.Run(fmt.Sprint(ext, " ", out), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := &faultyHost{}
					l := stand(t, h, ext)
					h.hold = 900 * time.Millisecond
					ctx, cancel := context.WithCancel(context.Background())
					for n := range 4 {
						mine := context.Background()
						if n == out {
							mine = ctx
						}
						l.begin(mine, n)
					}
					time.Sleep(100 * time.Millisecond)
					cancel()
					for n := range 4 {
						if n != out {
							l.expect(n, fmt.Sprintf(`delivered 250 2.0.0 "%d"`, n))
							continue
						}
						l.wg.Wait()
						if err := l.res[n][n%2].Err; !errors.Is(err, context.Canceled) {
							t.Errorf("message %d: %v", n, err)
						}
					}
					l.end(1)
				})
			})
		}
	}
}

// Content never reaches a peer as commands that runs the octets of refused
// chunks.
func TestChunksAreNotRun(t *testing.T) {
	for _, runs := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			h := &faultyHost{runs: runs, extensions: strings.Fields("PIPELINING CHUNKING")}
			h.taken = make(map[string]int)
			c := newClient(t, afar(dialPipe(h.serve), time.Millisecond))
			var wg sync.WaitGroup
			for n := range 40 {
				r := newRequest("Subject: 0\r\n\r\nSMUGGLED\r\n", "no@example.net")
				if n%4 == 0 {
					r = pair(n, false)
				}
				r.Hop.MaxConnections, r.Hop.MessagesPerConnection = 1, -1
				wg.Go(func() { c.Deliver(context.Background(), r) })
			}
			wg.Wait()
			c.Close()
			time.Sleep(time.Second)
			for _, line := range h.heard {
				if line != "XSKIP" {
					t.Errorf("run: %q", line)
				}
			}
			if got := len(h.heard); got > 1 || runs != (got == 1) || h.conns != 1 {
				t.Errorf("probed %d times on %d connections", got, h.conns)
			}
		})
	}
}
