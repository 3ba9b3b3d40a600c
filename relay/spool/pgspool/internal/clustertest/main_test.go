//go:build unix

package clustertest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

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
		notBroken: "", acknowledgesEarly: lost, leasesTwice: twice, forgetsEvents: fates,
		skipsPositions: skipped,
	} {
		t.Run(how, func(t *testing.T) {
			v := liveBroken(t, server, how, 3*time.Second)
			if want == "" {
				v.report(t)
				return
			}
			// What is broken is so by chance, and a busy machine explains much.
			for d := 6 * time.Second; !v.has(want) && d < time.Minute; d *= 2 {
				t.Logf("nothing is %s; the check finds %q", want, v.complaints)
				v = liveBroken(t, server, how, d)
			}
			if !v.has(want) {
				t.Errorf("nothing is %s; the check finds %q", want, v.complaints)
			}
		})
	}
}

// liveBroken runs two relays on a store that is broken.
func liveBroken(
	t *testing.T, server *pgspooltest.Server, how string, d time.Duration,
) *verdict {
	c := newCluster(t, server, 2, how)
	time.Sleep(d)
	if how == acknowledgesEarly || how == notBroken {
		n := c.any()
		n.kill()
		n.start()
		time.Sleep(recording)
	}
	return c.finish()
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
	c.awaitMore(20)
	replica.Exec(t, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
	c.awaitNoReceiver(replica)
	c.awaitMore(20)
	c.replica = replica
	c.failOver()
	if v := c.finish(); !v.has(lost) {
		t.Errorf("nothing is lost; the check finds %q", v.complaints)
	}
}

// awaitMore waits until so many more recipients have been acknowledged.
func (c *cluster) awaitMore(n int) {
	c.t.Helper()
	c.await(fmt.Sprintf("%d more acknowledged", n), func(from int) bool {
		return c.history.count() >= from+n
	})
}

// awaitNoReceiver waits until a replica follows nobody.
func (c *cluster) awaitNoReceiver(replica *pgspooltest.Server) {
	c.t.Helper()
	conn, err := pgx.Connect(c.t.Context(), replica.URL())
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close(c.t.Context())
	c.await("a replica that follows nobody", func(int) bool {
		var n int
		err := conn.QueryRow(
			c.t.Context(), "SELECT count(*) FROM pg_stat_wal_receiver",
		).Scan(&n)
		if err != nil {
			c.t.Fatal(err)
		}
		return n == 0
	})
}

// await waits until something has come to be, of how many recipients were
// acknowledged when it began to.
func (c *cluster) await(what string, is func(from int) bool) {
	c.t.Helper()
	from := c.history.count()
	for end := time.Now().Add(patience); !is(from); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("no %s in %v", what, patience)
		}
	}
}
