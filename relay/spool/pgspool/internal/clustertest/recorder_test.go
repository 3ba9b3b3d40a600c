//go:build unix

package clustertest_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool"
)

// told is an event as a node passes it on.
type told struct {
	At    spool.Cursor
	Event event.Event
}

// newRecorder listens for what the followers of the nodes are told, and notes
// it in the order of arrival. It returns its address.
func newRecorder(t *testing.T, h *history) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go record(h, c)
		}
	}()
	return l.Addr().String()
}

// record notes batches, each a line, and answers each with a line. One that a
// kill has cut short is not taken.
func record(h *history, c net.Conn) {
	defer c.Close()
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		var batch []told
		if err := json.Unmarshal(line, &batch); err != nil {
			return
		}
		events := make([]logged, len(batch))
		for i, e := range batch {
			events[i] = logged{e.At, e.Event}
		}
		h.see(events)
		if _, err := c.Write([]byte("taken\n")); err != nil {
			return
		}
	}
}

// tell is the function of a follower that passes events on to a recorder.
func tell(addr string) func(context.Context, []event.Event) error {
	return func(ctx context.Context, events []event.Event) error {
		batch := make([]told, len(events))
		for i, e := range events {
			batch[i] = told{spool.Cursor(e.Cursor), e}
		}
		line, err := json.Marshal(batch)
		if err != nil {
			return err
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp4", addr)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := c.Write(append(line, '\n')); err != nil {
			return err
		}
		answer, err := bufio.NewReader(c).ReadString('\n')
		if err == nil && answer != "taken\n" {
			err = errors.New("not taken: " + answer)
		}
		return err
	}
}
