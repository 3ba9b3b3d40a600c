package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// notifier tells the service manager how the gateway is (systemd's sd_notify
// protocol). Without one, it is nil and says nothing.
type notifier struct {
	conn     net.Conn
	log      *slog.Logger
	watchdog time.Duration // how often it wants to hear; 0: not at all
}

// newNotifier returns the notifier that the environment asks for.
func newNotifier(getenv func(string) string, log *slog.Logger) *notifier {
	name := getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	// A name with @ at its beginning is one of the abstract namespace, for
	// package net as well.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		log.Warn("the service manager cannot be told", "socket", name, "err", err)
		return nil
	}
	n := &notifier{conn: conn, log: log}
	pid := getenv("WATCHDOG_PID")
	if µs, err := strconv.ParseInt(getenv("WATCHDOG_USEC"), 10, 64); err == nil && µs > 0 &&
		(pid == "" || pid == strconv.Itoa(os.Getpid())) {
		n.watchdog = time.Duration(µs) * time.Microsecond
	}
	return n
}

// Send tells a new state, such as READY=1.
func (n *notifier) Send(state ...string) {
	if n == nil {
		return
	}
	_ = n.conn.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := n.conn.Write([]byte(strings.Join(state, "\n"))); err != nil {
		n.log.Warn("the service manager was not told", "state", state[0], "err", err)
	}
}

// Reloading tells that the configuration is read again. READY=1 has to follow.
func (n *notifier) Reloading() {
	n.Send("RELOADING=1", "MONOTONIC_USEC="+strconv.FormatInt(monotonic().Microseconds(), 10))
}

// Watch tells until ctx ends, twice as often as it is asked for, that the
// process lives.
func (n *notifier) Watch(ctx context.Context) {
	if n == nil || n.watchdog == 0 {
		return
	}
	tick := time.NewTicker(n.watchdog / 2)
	defer tick.Stop()
	for {
		n.Send("WATCHDOG=1")
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
