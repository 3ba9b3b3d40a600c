package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/examples/internal/openspool"
	"github.com/postern-mail/postern/relay/spool"
)

// openAt opens the queue at a place.
func openAt(t *testing.T, where string) (spool.Store, func()) {
	t.Helper()
	place, err := openspool.Parse(where)
	if err != nil {
		t.Fatal(err)
	}
	queue, closeQueue, err := place.Open(t.Context(), textLog(t.Output()))
	if err != nil {
		t.Fatal(err)
	}
	return queue, closeQueue
}

// queueAt puts n messages into the queue at a place. Every tenth is on hold.
func queueAt(t *testing.T, where string, n int) {
	t.Helper()
	queue, closeQueue := openAt(t, where)
	defer closeQueue()
	for i := range n {
		w, err := queue.Create(t.Context(), spool.NewID(time.Now()))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, contentOf(i)); err != nil {
			t.Fatal(err)
		}
		if err := w.Commit(t.Context(), spool.Commit{Deliveries: []spool.Delivery{{
			Key: spool.Key{Route: "out"}, Held: i%10 == 0,
			Recipients: []spool.Recipient{{Address: fmt.Sprintf("%d@example.test", i)}},
		}}}); err != nil {
			t.Fatal(err)
		}
	}
}

// contentOf is some of a few kilobytes, and some of many.
func contentOf(i int) string {
	size := i % 5 * 1000
	if i%100 == 50 {
		size = 600_000
	}
	return fmt.Sprintf("Subject: %d\r\n\r\n%s", i, strings.Repeat("x", size))
}

// wantContent sees that a message is what was queued for its recipient.
func wantContent(t *testing.T, queue spool.Store, it *spool.Item) {
	t.Helper()
	var i int
	_, err := fmt.Sscanf(it.Delivery.Recipients[0].Address, "%d@", &i)
	if err != nil {
		t.Fatal(err)
	}
	r, err := queue.Open(t.Context(), it.Message.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil || string(b) != contentOf(i) {
		t.Errorf("%d octets for %d, %v, want %d", len(b), i, err, len(contentOf(i)))
	}
}

// wantQueue sees that a queue has n messages of different recipients.
func wantQueue(t *testing.T, where string, n int) {
	t.Helper()
	queue, closeQueue := openAt(t, where)
	defer closeQueue()
	seen, held := map[string]bool{}, 0
	for q := (spool.Query{Max: 1000}); ; {
		page, err := queue.(spool.Manager).List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, it := range page {
			q.After = it.Delivery.ID
			seen[it.Delivery.Recipients[0].Address] = true
			wantContent(t, queue, &it)
			if it.State == spool.StateHeld {
				held++
			}
		}
	}
	stats, err := queue.Stats(t.Context())
	if err != nil || len(seen) != n || stats.Deliveries != int64(n) || held != (n+9)/10 {
		t.Errorf("%s has %d recipients, %d held, %+v, %v; want %d", where, len(seen), held, stats,
			err, n)
	}
}

// TestMoveSpool moves a queue from one directory to another, once.
func TestMoveSpool(t *testing.T) {
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	queueAt(t, a, 50)
	other := t.TempDir()
	for _, test := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"-move-spool", a}, 2, "Usage"},
		{[]string{"-move-spool", a, b, a}, 2, "Usage"},
		{[]string{"-move-spool", a + "x", b}, 1, "no such directory"},
		{[]string{"-move-spool", other, b}, 1, "holds no queue"},
		{[]string{"-move-spool", a, a}, 1, "directory is in use"},
		{[]string{"-move-spool", "postgres://u:hush@h/d", "postgres://u@h/d"}, 1, "the same"},
		{[]string{"-move-spool", "postgres://u:hush%zz@h/d", b}, 1, "is not a URL"},
		{[]string{"-move-spool", a, b}, 0, "moved 50 messages, 50 deliveries"},
		{[]string{"-move-spool", a, b}, 0, "moved 0 messages"},
	} {
		var out bytes.Buffer
		if code := run(test.args, nil, &out, &out); code != test.code ||
			!strings.Contains(out.String(), test.says) || strings.Contains(out.String(), "hush") {
			t.Errorf("%q: exit %d, %s", test.args, code, &out)
		}
	}
	wantQueue(t, a, 0)
	wantQueue(t, b, 50)
	if list, err := os.ReadDir(other); err != nil || len(list) > 0 {
		t.Errorf("a directory without a queue has %v now, %v", list, err)
	}
}

// TestMoveSpoolKilled kills the move again and again: nothing is lost, and
// nothing is there twice.
func TestMoveSpoolKilled(t *testing.T) {
	mailtest.Programs(t)
	const messages = 2000
	a, b := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	queueAt(t, a, messages)
	moveKilled(t, a, b)
	wantQueue(t, a, 0)
	wantQueue(t, b, messages)
}

// moveKilled kills a move again and again, each time later, until one has come
// to its end.
func moveKilled(t *testing.T, from, to string) {
	t.Helper()
	killed := 0
	for pause := 20 * time.Millisecond; ; pause += pause / 8 {
		out, err := moveFor(t, pause, from, to)
		if err == nil {
			break
		}
		if killed++; strings.Contains(out, "level=ERROR") || killed > 80 {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if killed < 5 {
		t.Errorf("killed %d times only", killed)
	}
}

// moveFor runs a move, and kills it after a pause.
func moveFor(t *testing.T, pause time.Duration, from, to string) (out string, err error) {
	t.Helper()
	cmd := command(t, "-move-spool", from, to)
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(pause, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	err = cmd.Wait()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	return b.String(), err
}
