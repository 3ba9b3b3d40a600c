//go:build unix

package clustertest_test

import (
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

// overLease is how long a node is cut off: longer than its leases last.
const overLease = leaseTime + 3*time.Second

// signal sends a signal to the node's process.
func (n *node) signal(s os.Signal) {
	n.c.t.Helper()
	if err := n.cmd.Process.Signal(s); err != nil {
		n.c.t.Fatalf("%s has ended by itself: %v", n.host(), err)
	}
}

// kill ends the node as kill -9 does. It has to run.
func (n *node) kill() {
	n.c.t.Helper()
	n.c.history.begin("kill", n.host())
	n.signal(syscall.SIGKILL)
	_ = n.cmd.Wait()
	n.cmd = nil
}

// stop ends the node as an operator does.
func (n *node) stop() {
	n.c.t.Helper()
	n.signal(syscall.SIGTERM)
	if err := n.cmd.Wait(); err != nil {
		n.c.t.Errorf("%s, after SIGTERM: %v", n.host(), err)
	}
	n.cmd = nil
}

// any is one of the nodes.
func (c *cluster) any() *node { return c.nodes[rand.N(len(c.nodes))] }

// without lets the others do without a node for longer than its leases last,
// until they have done what it leaves.
func (c *cluster) without(n *node, what string) {
	c.t.Helper()
	began := time.Now()
	time.Sleep(time.Second) // for some mail to come to the others
	c.settle("the node is " + what)
	time.Sleep(time.Until(began.Add(overLease)))
}

// killNode kills a node, and starts it again.
func (c *cluster) killNode() {
	n := c.any()
	n.kill()
	c.without(n, "killed")
	n.start()
}

// suspendNode stops a node, and wakes it.
func (c *cluster) suspendNode() {
	n := c.any()
	end := c.history.begin("suspend", n.host())
	n.signal(syscall.SIGSTOP)
	c.without(n, "suspended")
	n.signal(syscall.SIGCONT)
	end()
}

// cutNode ends the connections of a node to the database.
func (c *cluster) cutNode() {
	n := c.any()
	end := c.history.begin("cut", n.host())
	n.proxy.Cut()
	c.without(n, "cut off")
	n.proxy.Restore()
	end()
}

// stallNode loses what a node and the database say to each other.
func (c *cluster) stallNode() {
	n := c.any()
	end := c.history.begin("stall", n.host())
	n.proxy.Stall()
	c.without(n, "stalled")
	n.proxy.Restore()
	end()
}

// rollNode restarts a node as for a new version, which explains nothing.
func (c *cluster) rollNode() {
	n := c.any()
	n.stop()
	n.start()
}

// crashDatabase stops the database at once, and starts it again, in less time
// than a lease lasts: what was delivered and cannot be settled within that
// rests for an hour, and may go out again then.
func (c *cluster) crashDatabase() {
	end := c.history.begin("crash", "")
	c.server.Kill(c.t)
	time.Sleep(rand.N(time.Second / 2))
	c.server.Restart(c.t)
	end()
}

// fillDisk takes all room from the database for a while.
func (c *cluster) fillDisk() {
	end := c.history.begin("fill", "")
	restore := c.server.FillDisk(c.t)
	time.Sleep(4 * time.Second)
	restore()
	if !c.server.Running() {
		c.server.Restart(c.t)
	}
	c.server.Await(c.t)
	end()
}

// failOver kills the primary, makes its replica the next, and gives that a
// replica.
func (c *cluster) failOver() {
	end := c.history.begin("fail over", "")
	c.server.Kill(c.t)
	c.server = c.replica
	c.server.Promote(c.t)
	for _, n := range c.nodes {
		n.proxy.Redirect(c.server.Addr())
	}
	c.app.proxy.Redirect(c.server.Addr())
	end()
	c.replica = c.server.Replica(c.t, nil)
}

// settle waits until everything that was acknowledged until now has its fate:
// it tells how long that took, and complains after a minute.
func (c *cluster) settle(when string) {
	c.t.Helper()
	began := time.Now()
	list := c.history.waiting(nil)
	n := len(list)
	for len(list) > 0 {
		if time.Since(began) > patience {
			c.t.Errorf("%s: %d recipients still wait, such as %s:\n%s",
				when, len(list), list[0], c.logged(list[0]))
			return
		}
		time.Sleep(50 * time.Millisecond)
		list = c.history.waiting(list)
	}
	c.t.Logf("%s: %d recipients that waited were done in %v", when, n,
		time.Since(began).Round(100*time.Millisecond))
}

// logged is what the nodes have logged of a recipient, and of its message.
func (c *cluster) logged(to string) string {
	id, _, _ := strings.Cut(strings.TrimLeft(to, "refus"), "-")
	from := "from=s" + id + "@"
	var lines []string
	queued := make(map[string]bool)
	for _, n := range c.nodes {
		text, err := os.ReadFile(n.log)
		if err != nil {
			return err.Error()
		}
		lines = append(lines, strings.Split(string(text), "\n")...)
	}
	queueID := func(line string) string {
		_, rest, _ := strings.Cut(line, "queue_id=")
		id, _, _ := strings.Cut(rest, " ")
		return id
	}
	for _, line := range lines {
		if strings.Contains(line, from) || strings.Contains(line, to) {
			queued[queueID(line)] = true
		}
	}
	about := slices.DeleteFunc(lines, func(line string) bool {
		return !queued[queueID(line)] || queueID(line) == ""
	})
	slices.Sort(about)
	return strings.Join(about, "\n")
}
