package filespool_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// TestKill kills a process that commits, again and again.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	finished := map[string]bool{}
	for range 10 {
		c := exec.Command(os.Args[0], "-test.run=^TestKillChild$")
		c.Env = append(os.Environ(), "FILESPOOL_KILL_DIR="+dir)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		n, stop := 0, 50+rand.IntN(1500)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			what, id, _ := strings.Cut(lines.Text(), " ")
			switch what {
			case "committed":
				acknowledged[id] = true
			case "finished":
				finished[id] = true
			}
			if n++; n == stop {
				c.Process.Kill()
			}
		}
		if err := c.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		s := open(t, dir, nil)
		if d := s.Recovery().Damage; len(d) > 1 || len(d) == 1 && !d[0].Torn {
			t.Fatalf("damage: %+v", d)
		}
		found := holds(t, s)
		for id := range acknowledged {
			v, err := spool.ParseID(id)
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := found[spool.DeliveryID{Message: v}]; !ok && !finished[id] {
				t.Fatalf("%v was acknowledged and is lost", id)
			}
		}
		if len(acknowledged) == 0 {
			t.Fatal("nothing was acknowledged")
		}
		s.Close()
	}
}

// TestKillChild is the process that TestKill kills.
func TestKillChild(t *testing.T) {
	dir := os.Getenv("FILESPOOL_KILL_DIR")
	if dir == "" {
		return
	}
	s, err := filespool.Open(dir, &filespool.Options{SegmentBytes: 1 << 20, Threshold: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	say := func(what string, id spool.ID) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(what, id)
	}
	for range 8 {
		go func() {
			for {
				id := spool.NewID(time.Now())
				w, err := s.Create(t.Context(), id)
				if err != nil {
					panic(err)
				}
				if _, err := io.WriteString(w, contents(id, length(id))); err != nil {
					panic(err)
				}
				if err := w.Commit(
					t.Context(),
					spool.Commit{Deliveries: deliveries("a", time.Now()), Prepend: []byte("X: ")},
				); err != nil {
					panic(err)
				}
				say("committed", id)
			}
		}()
	}
	for {
		l, err := s.Lease(
			t.Context(), spool.LeaseRequest{Max: 5, TTL: time.Minute},
		)
		if err != nil {
			panic(err)
		}
		for _, l := range l.Leases {
			say("finished", l.Message.ID)
			if err := s.Settle(
				t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
			); err != nil {
				panic(err)
			}
		}
	}
}

// TestFileOfADoubtfulBatch keeps the file of a message whose record could
// neither be written nor cut off: a machine that stops then may find the
// record.
func TestFileOfADoubtfulBatch(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		disk := filespool.NewDisk(seed)
		dir := t.TempDir()
		s := openDisk(t, dir, disk)
		commit := func() (spool.ID, error) {
			id := spool.NewID(time.Now())
			w, err := s.Create(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(w, strings.Repeat("x", 20<<10)); err != nil {
				t.Fatal(err)
			}
			c := spool.Commit{Deliveries: deliveries("a", time.Now()), Prepend: []byte("X: ")}
			return id, w.Commit(t.Context(), c)
		}
		disk.Fault(func(op, name string) error {
			switch {
			case op == "write" && strings.HasSuffix(name, ".log"):
				return filespool.ErrAfter
			case op == "truncate":
				return syscall.EIO
			}
			return nil
		})
		id, err := commit()
		if err == nil {
			t.Fatal("committed")
		}
		if seed%2 == 0 {
			disk.Crash()
			s.Close()
			openDisk(t, dir, disk).Close()
			continue
		}
		disk.Fault(nil)
		if _, err := commit(); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, err := disk.OpenFile(filepath.Join(dir, "files", id.String()), 0); err == nil {
			t.Error("the file of a message that is not in the queue stays")
		}
	}
}
