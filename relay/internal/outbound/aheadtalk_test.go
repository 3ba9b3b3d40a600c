package outbound_test

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/postern-mail/postern/relay/delivery"
)

// Messages that wait for one connection go out on it ahead of their turn. Of
// each dialogue the first message goes alone, and the others come while the
// second is on its way.
func TestAheadDialogues(t *testing.T) {
	names, err := filepath.Glob("testdata/ahead-*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no dialogues (%v)", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			d := readDialogue(t, name)
			synctest.Test(t, d.together)
		})
	}
}

// together plays a dialogue whose deliveries wait for each other.
func (d *dialogue) together(t *testing.T) {
	var peers sync.WaitGroup
	made := 0
	c := newClient(t, func(context.Context, string, string) (net.Conn, error) {
		if made++; made > len(d.connections) {
			t.Errorf("%d connections", made)
			return nil, net.ErrClosed
		}
		ours, theirs := net.Pipe()
		script, n := d.connections[made-1], made
		peers.Go(func() {
			defer theirs.Close()
			if err := follow(theirs, script); err != nil {
				t.Errorf("connection %d: %v", n, err)
			}
		})
		return ours, nil
	})
	results := make([][]delivery.Result, len(d.requests))
	results[0] = c.Deliver(t.Context(), d.requests[0])
	var wg sync.WaitGroup
	for i := 1; i < len(d.requests); i++ {
		wg.Go(func() { results[i] = c.Deliver(t.Context(), d.requests[i]) })
		synctest.Wait()
	}
	wg.Wait()
	c.Close()
	peers.Wait()
	var got []delivery.Result
	for _, list := range results {
		got = append(got, list...)
	}
	expect(t, got, d.results...)
	if made != len(d.connections) {
		t.Errorf("%d connections, want %d", made, len(d.connections))
	}
}
