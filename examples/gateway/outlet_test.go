package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// disk takes so many octets, as a full one does.
type disk struct {
	bytes.Buffer
	mu   sync.Mutex
	room int
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(p), d.room)
	d.Buffer.Write(p[:n])
	if d.room -= n; n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (d *disk) free(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = n
}

// reader reads nothing until it is let go.
type reader struct {
	bytes.Buffer
	open chan struct{}
}

func (r *reader) Write(p []byte) (int, error) {
	<-r.open
	return r.Buffer.Write(p)
}

func gap(n int) []byte { return fmt.Appendf(nil, "gap of %d\n", n) }

// TestOutletAfterFullDisk: what was written while the disk was full comes when
// there is room. A line that was cut off is written again.
func TestOutletAfterFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{room: 10}
		var log bytes.Buffer
		o := newOutlet(d, 1<<20, gap, slog.New(slog.NewTextHandler(&log, nil)))
		for i := range 5 {
			fmt.Fprintf(o, "line %d\n", i)
			time.Sleep(time.Second)
		}
		d.free(1 << 20)
		time.Sleep(time.Second)
		fmt.Fprintln(o, "line 5")
		o.Close()
		if want := "line 0\nlin\nline 1\nline 2\nline 3\nline 4\nline 5\n"; d.String() != want {
			t.Errorf("%q, want %q", d.String(), want)
		}
		if text := log.String(); strings.Count(text, "\n") != 2 ||
			!strings.Contains(text, "no space left") || !strings.Contains(text, "written again") {
			t.Errorf("log: %s", text)
		}
	})
}

// TestOutletWithoutReader: nobody waits for a reader, what is kept for it is
// bounded, and it is told what it missed.
func TestOutletWithoutReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{open: make(chan struct{})}
		var log bytes.Buffer
		const most, lines = 1000, 500
		o := newOutlet(r, most, gap, slog.New(slog.NewTextHandler(&log, nil)))
		for i := range lines {
			fmt.Fprintf(o, "line %03d\n", i)
			synctest.Wait()
		}
		close(r.open)
		time.Sleep(time.Second)
		fmt.Fprintln(o, "line")
		o.Close()
		got := strings.Split(strings.TrimSpace(r.String()), "\n")
		missed := lines + 2 - len(got)
		if n := len(r.String()); n > 2*most || missed < lines/2 {
			t.Errorf("%d octets, %d lines missed", n, missed)
		}
		if want := fmt.Sprintf("gap of %d", missed); got[len(got)-2] != want ||
			got[len(got)-1] != "line" {
			t.Errorf("%q at the end, want %q before the last", got[len(got)-2:], want)
		}
		if text := log.String(); strings.Count(text, "\n") != 2 ||
			!strings.Contains(text, fmt.Sprintf("lines=%d", missed)) {
			t.Errorf("log: %s", text)
		}
	})
}

// TestOutletEnds: neither a reader that never comes nor a disk that stays full
// keeps the process.
func TestOutletEnds(t *testing.T) {
	for name, w := range map[string]io.Writer{
		"no reader": &reader{open: make(chan struct{})}, "full": &disk{}, "closed": closed{},
	} {
		r, _ := w.(*reader)
		synctest.Test(t, func(t *testing.T) {
			if r != nil {
				r.open = make(chan struct{}) // of this bubble
			}
			o := newOutlet(w, 1000, gap, slog.New(slog.DiscardHandler))
			for range 500 {
				fmt.Fprintln(o, "line")
			}
			begin := time.Now()
			o.Close()
			if d := time.Since(begin); d > lastWords {
				t.Errorf("%s: %v", name, d)
			}
			if r != nil {
				close(r.open)
			}
		})
	}
}

type closed struct{}

func (closed) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestLogTellsOfItsGap: the line in the place of dropped ones is one of the
// log.
func TestLogTellsOfItsGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{open: make(chan struct{})}
		lines := newLog(r)
		log := textLog(lines)
		for range 40_000 {
			log.Info("a line of some length for the log, so that not all of them find room")
		}
		close(r.open)
		lines.Close()
		want := `level=WARN msg="lines of the log were dropped, since nobody read it" lines=`
		if !strings.Contains(r.String(), want) {
			t.Errorf("…%s", r.String()[max(0, r.Len()-300):])
		}
	})
}

// TestEventsTellOfTheirGap: the line in the place of dropped events is JSON
// with their number.
func TestEventsTellOfTheirGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{open: make(chan struct{})}
		l := newEventLog(r, slog.New(slog.DiscardHandler))
		const all = 120_000
		for range all {
			l.Add(full())
		}
		close(r.open)
		l.Close()
		lines := strings.Split(strings.TrimSpace(r.String()), "\n")
		var last struct {
			Time  time.Time
			Type  string
			Count int
		}
		err := json.Unmarshal([]byte(lines[len(lines)-1]), &last)
		if err != nil || last.Type != "lost" || last.Count != all-len(lines)+1 ||
			last.Time.IsZero() {
			t.Errorf("%d lines, the last %+v, %v", len(lines), last, err)
		}
	})
}
