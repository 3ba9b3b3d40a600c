//go:build unix

package clustertest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// patience is how long things get that take a second or two where nothing else
// runs.
const patience = time.Minute

// cluster is some nodes on one database, an application, and who sends.
type cluster struct {
	t        *testing.T
	history  *history
	hop      *hop
	recorder string
	server   *pgspooltest.Server // the primary
	replica  *pgspooltest.Server // its replica; nil where there is none
	url      string              // of the database there
	nodes    []*node
	app      *app
	letters  letters
	broken   string

	stop func()
	load sync.WaitGroup
}

// newCluster starts nodes on a fresh database of a server, and the load.
func newCluster(t *testing.T, server *pgspooltest.Server, nodes int, broken string) *cluster {
	t.Helper()
	h := newHistory()
	c := &cluster{
		t: t, history: h, hop: newHop(t, h), recorder: newRecorder(t, h), broken: broken,
		server: server, url: server.Database(t),
	}
	c.app = newApp(t, c)
	for i := range nodes {
		n := newNode(c, i)
		n.start()
		c.nodes = append(c.nodes, n)
	}
	go c.app.watch(t.Context())
	go c.app.pulse(t.Context())
	ctx, stop := context.WithCancel(t.Context())
	c.stop = stop
	for range 6 {
		c.load.Go(func() { c.client(ctx) })
	}
	for range 2 {
		c.load.Go(func() { c.app.order(ctx) })
	}
	return c
}

// finish ends the load, lets the nodes work off what is queued, stops them, and
// completes the history.
func (c *cluster) finish() *verdict {
	c.t.Helper()
	c.stop()
	c.load.Wait()
	ctx := c.t.Context()
	drained := c.drain()
	if err := c.app.resolve(ctx); err != nil {
		c.t.Fatal(err)
	}
	for _, n := range c.nodes {
		n.stop()
	}
	var err error
	if c.history.log, err = c.app.read(ctx, 0); err != nil {
		c.t.Fatal(err)
	}
	left, err := c.app.left(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	v := c.history.check()
	if left != "" {
		v.complain(stuck, "the tables still hold %s", left)
	}
	if !drained {
		v.complain(stuck, "the queue does not drain; %d recipients wait, and the follower was "+
			"told of %d events of %d", len(c.history.waiting(nil)), v.told, v.events)
	}
	c.t.Logf("%d recipients acknowledged, %d events, %d of them told again, %d copies again, "+
		"%d slow writes", c.history.count(), v.events, v.repeated, v.again, v.slow)
	return v
}

// drain waits until nothing is queued and the follower was told everything. It
// reports whether that came to be.
func (c *cluster) drain() bool {
	limit := patience
	switch c.broken {
	case acknowledgesEarly, leasesTwice, lagsBehind: // it may never be
		limit = 2 * leaseTime
	}
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); {
		if c.isDrained() {
			return true
		}
		time.Sleep(100 * time.Millisecond)
	}
	return false
}

func (c *cluster) isDrained() bool {
	ctx := c.t.Context()
	stats, err := c.app.queue.Stats(ctx)
	if err != nil || stats.Messages > 0 {
		return false
	}
	_, newest, err := c.app.queue.Bounds(ctx)
	if err != nil {
		return false
	}
	at, err := c.app.queue.Cursor(ctx, consumer)
	return err == nil && at == newest
}

// node is one of several relays, in a process of its own.
type node struct {
	c      *cluster
	number int
	addr   string
	proxy  *pgspooltest.Proxy // before the database
	log    string
	life   int
	cmd    *exec.Cmd
	hold   io.Closer // ends the process when it is closed
}

func newNode(c *cluster, number int) *node {
	n := &node{
		c: c, number: number, addr: freeAddr(c.t),
		proxy: pgspooltest.NewProxy(c.t, c.server.Addr()),
		log:   filepath.Join(c.t.TempDir(), "log"),
	}
	c.t.Cleanup(func() {
		if n.cmd != nil {
			n.kill()
		}
		if text, err := os.ReadFile(n.log); err == nil && c.t.Failed() {
			c.t.Logf("the log of %s:\n%s", n.host(), text[max(0, len(text)-8<<10):])
		}
	})
	return n
}

// freeAddr is an address that nobody listens at, below the ports that the
// system gives to clients.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp4", fmt.Sprint("127.0.0.1:", 10_000+rand.N(20_000)))
		if err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// host is the name of the node in its present life.
func (n *node) host() string { return fmt.Sprintf("n%d.life%d.test", n.number, n.life) }

// start begins another life, and returns when the node listens.
func (n *node) start() {
	t := n.c.t
	t.Helper()
	n.life++
	text, err := json.Marshal(settings{
		URL: n.proxy.URL(t, n.c.url), Host: n.host(), Addr: n.addr, Hop: n.c.hop.addr,
		Recorder: n.c.recorder, Broken: n.c.broken,
	})
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestNode$", "-test.timeout=3h")
	cmd.Env = append(os.Environ(), nodeVariable+"="+string(text))
	cmd.Stdout, cmd.Stderr = log, log
	if n.hold, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n.cmd = cmd
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp4", n.addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %v", n.host(), err)
		}
	}
}
