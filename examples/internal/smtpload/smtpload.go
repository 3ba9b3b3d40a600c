// Package smtpload drives a relay with Postfix's smtp-source and takes what it
// delivers with smtp-sink.
package smtpload

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/examples/internal/loopback"
)

// Load is the mail of one smtp-source.
type Load struct {
	Sessions int
	Size     int // of the body, in bytes
	Messages int
	Reuse    bool // of connections
}

// Send runs smtp-source and returns when the relay at addr has taken all
// messages.
func (l Load) Send(ctx context.Context, addr string) error {
	args := []string{
		"-s", strconv.Itoa(l.Sessions), "-l", strconv.Itoa(l.Size), "-m", strconv.Itoa(l.Messages),
		"-M", "load.example.test", "-f", "sender@example.test", "-t", "recipient@example.net",
	}
	if l.Reuse {
		args = append(args, "-d")
	}
	text, err := exec.CommandContext(
		ctx, "smtp-source", append(args, addr)...,
	).CombinedOutput()
	if err != nil {
		return fmt.Errorf("smtp-source: %w\n%s", err, text)
	}
	return nil
}

// Sink is a running smtp-sink.
type Sink struct {
	cmd   *exec.Cmd
	count atomic.Int64 // messages so far
	done  sync.WaitGroup
}

// StartSink returns when the sink listens at addr.
func StartSink(ctx context.Context, addr string) (*Sink, error) {
	args := []string{"-c", "-h", "sink.example.test"}
	if os.Geteuid() == 0 {
		args = append(args, "-u", "nobody")
	}
	s := &Sink{cmd: exec.Command("smtp-sink", append(args, addr, "256")...)}
	s.cmd.Stderr = os.Stderr
	counters, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.done.Go(func() { s.read(counters) })
	if err := loopback.Await(ctx, addr); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// read follows the counters, which smtp-sink prints as "sess=1 quit=1 mesg=1\r"
// after each step. It reads in large pieces, so that counting costs little
// beside the work that is measured.
func (s *Sink) read(counters io.Reader) {
	buf := make([]byte, 64<<10)
	var n int
	for {
		m, err := counters.Read(buf[n:])
		n += m
		if i := bytes.LastIndexByte(buf[:n], '\r'); i >= 0 {
			line := buf[:i]
			if j := bytes.LastIndexByte(line, '='); j >= 0 {
				if count, err := strconv.ParseInt(
					string(bytes.TrimSpace(line[j+1:])), 10, 64,
				); err == nil {
					s.count.Store(count)
				}
			}
			n = copy(buf, buf[i+1:n])
		}
		if err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Wait returns when the sink has received so many messages since it started.
func (s *Sink) Wait(ctx context.Context, messages int) error {
	deadline := time.Now().Add(2 * time.Minute)
	for s.count.Load() < int64(messages) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("only %d of %d messages arrived", s.count.Load(), messages)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// Stop ends the sink.
func (s *Sink) Stop() {
	_ = s.cmd.Process.Kill()
	s.done.Wait()
	_ = s.cmd.Wait()
}
