package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// send runs smtp-source and returns when the relay has taken all messages.
func (l load) send(ctx context.Context) error {
	args := []string{
		"-s", strconv.Itoa(l.sessions), "-l", strconv.Itoa(l.size), "-m", strconv.Itoa(l.messages),
		"-M", "load.example.test", "-f", "sender@example.test", "-t", "recipient@example.net",
	}
	if l.reuse {
		args = append(args, "-d")
	}
	text, err := exec.CommandContext(
		ctx, "smtp-source", append(args, relayAddr)...,
	).CombinedOutput()
	if err != nil {
		return fmt.Errorf("smtp-source: %w\n%s", err, text)
	}
	return nil
}

// sink is a running smtp-sink.
type sink struct {
	cmd   *exec.Cmd
	count atomic.Int64 // messages so far
	done  sync.WaitGroup
}

func startSink(ctx context.Context) (*sink, error) {
	args := []string{"-c", "-h", "sink.example.test"}
	if os.Geteuid() == 0 {
		args = append(args, "-u", "nobody")
	}
	s := &sink{cmd: exec.Command("smtp-sink", append(args, sinkAddr, "256")...)}
	s.cmd.Stderr = os.Stderr
	counters, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.done.Go(func() { s.read(counters) })
	if err := awaitPort(ctx, sinkAddr); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// read follows the counters, which smtp-sink prints as "sess=1 quit=1 mesg=1\r"
// after each step. It reads in large pieces, so that counting costs little
// beside the work that is measured.
func (s *sink) read(counters io.Reader) {
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

// wait returns when the sink has received so many messages since it started.
func (s *sink) wait(ctx context.Context, messages int) error {
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

func (s *sink) stop() {
	_ = s.cmd.Process.Kill()
	s.done.Wait()
	_ = s.cmd.Wait()
}

// openSessions opens connections to the relay that say EHLO and nothing else.
func openSessions(ctx context.Context, n int) ([]net.Conn, error) {
	var conns []net.Conn
	var d net.Dialer
	for range n {
		c, err := d.DialContext(ctx, "tcp", relayAddr)
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
		if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return conns, err
		}
		text := textproto.NewConn(c)
		if _, _, err := text.ReadResponse(220); err != nil {
			return conns, err
		}
		if err := text.PrintfLine("EHLO idle.example.test"); err != nil {
			return conns, err
		}
		if _, _, err := text.ReadResponse(250); err != nil {
			return conns, err
		}
	}
	return conns, nil
}
