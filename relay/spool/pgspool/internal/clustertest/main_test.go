//go:build unix

package clustertest_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// rounds returns how often each fault comes: once, or as ROUNDS says.
func rounds(t *testing.T) int {
	s := os.Getenv("ROUNDS")
	if s == "" {
		return 1
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("ROUNDS is %q, want a number", s)
	}
	return n
}

// newServer is a server with a small disk, whose replicas come back soon.
func newServer(t *testing.T) *pgspooltest.Server {
	return pgspooltest.Start(t, &pgspooltest.ServerOptions{
		DiskBytes: 512 << 20,
		Settings: map[string]string{
			"max_wal_size": "96MB", "wal_retrieve_retry_interval": "200ms",
		},
	})
}

// quiet is a while in which nothing is excused, with those around it that are.
const quiet = waking + recording + 2*time.Second

// round does each fault once, in any order.
func (c *cluster) round() {
	faults := []struct {
		name string
		do   func()
		rest time.Duration // the others are not excused by the fault of a node
	}{
		{"kill", c.killNode, 0}, {"suspend", c.suspendNode, 0}, {"cut", c.cutNode, 0},
		{"stall", c.stallNode, 0}, {"roll", c.rollNode, 0}, {"crash", c.crashDatabase, quiet},
		{"fill", c.fillDisk, quiet}, {"fail over", c.failOver, quiet},
	}
	rand.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
	for _, f := range faults {
		f.do()
		c.settle("after " + f.name)
		time.Sleep(f.rest)
	}
}

// TestCluster runs three relays on one database with a synchronous replica,
// under every fault.
func TestCluster(t *testing.T) {
	if testing.Short() {
		return // it drives PostgreSQL, which make check does without
	}
	t.Parallel()
	server := newServer(t)
	replica := server.Replica(t, nil)
	c := newCluster(t, server, 3, "")
	c.replica = replica
	n := rounds(t)
	for range n {
		c.round()
	}
	c.finish().report(t)
	if got := c.history.count(); got < 500*n {
		t.Errorf("only %d recipients were acknowledged: too few to tell anything", got)
	}
}

// report makes complaints failures of a test.
func (v *verdict) report(t *testing.T) {
	t.Helper()
	const most = 20
	for _, complaint := range v.complaints[:min(len(v.complaints), most)] {
		t.Error(complaint)
	}
	if n := len(v.complaints) - most; n > 0 {
		t.Errorf("and %d more", n)
	}
}

// TestBroken: the same check finds what is wrong with stores that are broken on
// purpose, and nothing where none is.
func TestBroken(t *testing.T) {
	if testing.Short() {
		return // it drives PostgreSQL, which make check does without
	}
	t.Parallel()
	server := newServer(t)
	for how, want := range map[string]string{
		"not": "", acknowledgesEarly: lost, leasesTwice: twice, forgetsEvents: fates,
		skipsPositions: skipped,
	} {
		t.Run(how, func(t *testing.T) {
			c := newCluster(t, server, 2, how)
			time.Sleep(3 * time.Second)
			if how == acknowledgesEarly || want == "" {
				n := c.any()
				n.kill()
				n.start()
				time.Sleep(recording)
			}
			v := c.finish()
			if want == "" {
				v.report(t)
			} else if !v.has(want) {
				t.Errorf("nothing is %s; the check finds %q", want, v.complaints)
			}
		})
	}
}

// TestLaggingReplica: after a fail-over to a replica that nobody waited for,
// acknowledged mail is gone, and the check finds that.
func TestLaggingReplica(t *testing.T) {
	if testing.Short() {
		return // it drives PostgreSQL, which make check does without
	}
	t.Parallel()
	server := newServer(t)
	replica := server.Replica(t, &pgspooltest.ReplicaOptions{Asynchronous: true})
	c := newCluster(t, server, 1, lagsBehind)
	time.Sleep(2 * time.Second)
	replica.Exec(t, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
	time.Sleep(2 * time.Second)
	c.replica = replica
	c.failOver()
	if v := c.finish(); !v.has(lost) {
		t.Errorf("nothing is lost; the check finds %q", v.complaints)
	}
}
