// Package crashtest_test kills the gateway example while mail passes through it
// and checks that nothing it has promised to deliver is lost.
package crashtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/examples/internal/gatewaybin"
	"github.com/postern-mail/postern/examples/internal/loopback"
	"github.com/postern-mail/postern/examples/internal/mailtest"
)

const (
	sessions = 20

	// A settlement may wait this long to be written: the store's 50
	// milliseconds, and the syncs of a disk, but for what the machine stands
	// still meanwhile. What was delivered longer before a kill must not be
	// delivered again; some lives of the gateway last long enough to tell.
	unsettled = time.Second

	// Above the length that the store keeps in its log: such a message has a
	// file of its own.
	largeBody = 300 << 10
	smallBody = 4 << 10
)

// kills returns how often the gateway is killed: 30 times, or as KILLS says.
func kills(t *testing.T) int {
	s := os.Getenv("KILLS")
	if s == "" {
		return 30
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("KILLS is %q, want a number", s)
	}
	return n
}

// TestKill lets 20 sessions send while the gateway is killed again and again.
// Every message that got its 250 must arrive, whole. One may arrive twice only
// if the gateway was killed soon after its delivery.
func TestKill(t *testing.T) {
	mailtest.Programs(t)
	t.Parallel()
	g, kills := newGateway(t), kills(t)
	var (
		sent      ledger
		ids       atomic.Int64
		clients   sync.WaitGroup
		load, end = context.WithCancel(t.Context())
	)
	defer end()
	g.start()
	watch := watchMachine(t, g.dir)
	for range sessions {
		clients.Go(func() {
			for load.Err() == nil {
				session(load, g.addr, &ids, &sent)
			}
		})
	}
	// On a busy machine it takes more lives to get enough mail.
	for i := 0; i < kills || len(sent.ids()) < kills*sessions && i < 10*kills; i++ {
		life := 50*time.Millisecond + rand.N(950*time.Millisecond)
		if i%10 == 9 {
			life += 2 * unsettled
		}
		wait(t.Context(), life)
		g.kill()
		g.start()
	}
	end()
	clients.Wait()

	acknowledged := sent.ids()
	g.sink.await(t, acknowledged)
	g.stop()
	lulls := watch.stop()

	again, oldest := 0, time.Duration(0)
	for id, deliveries := range g.sink.all() {
		for i, d := range deliveries {
			if !d.whole {
				t.Errorf("message %s arrived damaged", id)
			}
			if i == 0 {
				continue
			}
			again++
			before := deliveries[i-1]
			if before.life == d.life {
				t.Errorf("message %s was delivered twice without a kill between", id)
				continue
			}
			age := lulls.without(before.at, g.killed[before.life])
			oldest = max(oldest, age)
			if age > unsettled {
				t.Errorf(
					"message %s was delivered again though the gateway was killed %v after the "+
						"first time",
					id, age,
				)
			}
		}
	}
	t.Logf("%d kills, %d messages sent, %d of them acknowledged, %d arrived; %d delivered again, "+
		"at most %v after the first time the gateway was killed",
		len(g.killed), ids.Load(), len(acknowledged), len(g.sink.all()), again, oldest)
	if len(acknowledged) < kills*sessions {
		t.Errorf("only %d messages were acknowledged: too few to tell anything", len(acknowledged))
	}
}

// session sends messages over one connection until something fails, and notes
// those that got their final 250.
func session(ctx context.Context, addr string, ids *atomic.Int64, sent *ledger) {
	// Also what keeps the load within what a busy machine delivers.
	pause := func() { wait(ctx, rand.N(20*time.Millisecond)) }
	defer pause()
	// Nobody may answer who connects at the very moment of a kill.
	c, err := mailtest.DialFor("127.0.0.1", addr, 10*time.Second)
	if err != nil {
		return
	}
	defer c.Close()
	for range 10 {
		id := fmt.Sprint(ids.Add(1))
		if send(c, id) != nil {
			return
		}
		sent.add(id)
		pause()
		if ctx.Err() != nil {
			return
		}
	}
	_ = c.Quit()
}

func send(c *smtp.Client, id string) error {
	if err := c.Mail("sender@example.test"); err != nil {
		return err
	}
	if err := c.Rcpt("recipient@example.net"); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	size := rand.N(smallBody)
	if rand.N(50) == 0 {
		size = largeBody
	}
	line := strings.Repeat("x", 70) + "\r\n"
	body := strings.Repeat(line, size/len(line))
	if _, err := fmt.Fprintf(
		w, "Subject: <%s>\r\n\r\n%send of <%s>\r\n", id, body, id,
	); err != nil {
		return err
	}
	return w.Close()
}

// ledger is a list of messages.
type ledger struct {
	mu   sync.Mutex
	list []string
}

func (l *ledger) add(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, id)
}

func (l *ledger) ids() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.list
}

// gateway is a gateway that is killed and started again with the same spool.
type gateway struct {
	t      *testing.T
	addr   string
	sink   *sink
	dir    string
	cmd    *exec.Cmd
	killed []time.Time // the ends of its lives
}

// toSink is where the gateway leads.
const toSink = `smart_hosts = [%q]
tls = "None"

[retry]
schedule = ["1s"]
`

func newGateway(t *testing.T) *gateway {
	t.Helper()
	addr, err := loopback.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t, dir: t.TempDir(), addr: addr}
	g.sink = newSink(t)
	if err := gatewaybin.Build(t.Context(), g.path("gateway")); err != nil {
		t.Fatal(err)
	}
	config := gatewaybin.Config("", g.addr, fmt.Sprintf(toSink, g.sink.addr))
	mailtest.Write(t, g.path("gateway.toml"), config)
	t.Cleanup(func() {
		if g.cmd != nil {
			_ = g.cmd.Process.Kill()
			_ = g.cmd.Wait()
		}
		if log, err := os.ReadFile(g.path("log")); err == nil && t.Failed() {
			t.Logf("the gateway's log:\n%s", log[max(0, len(log)-8<<10):])
		}
	})
	return g
}

func (g *gateway) path(name string) string { return filepath.Join(g.dir, name) }

// start begins another life and returns when the gateway accepts connections.
func (g *gateway) start() {
	g.t.Helper()
	log, err := os.OpenFile(g.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		g.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(g.path("gateway"), "-config", g.path("gateway.toml"))
	cmd.Dir, cmd.Stderr = g.dir, log
	g.sink.life.Store(int64(len(g.killed)))
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.cmd = cmd
	if err := loopback.Await(g.t.Context(), g.addr); err != nil {
		g.t.Fatal(err)
	}
}

// kill ends the gateway as kill -9 does.
func (g *gateway) kill() {
	g.t.Helper()
	if err := g.cmd.Process.Kill(); err != nil {
		g.t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := g.cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		g.t.Fatalf("the gateway ended by itself: %v", err)
	}
	g.killed = append(g.killed, time.Now())
}

// stop ends the gateway as an operator does.
func (g *gateway) stop() {
	g.t.Helper()
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		g.t.Fatal(err)
	}
	if err := g.cmd.Wait(); err != nil {
		g.t.Errorf("after SIGTERM: %v", err)
	}
	g.cmd = nil
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
