package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern-mail/postern/examples/internal/mailtest"
)

// TestReloadDuringStart sends SIGHUP to a gateway that is still reading its
// file.
func TestReloadDuringStart(t *testing.T) {
	config := site(t, strings.ReplaceAll(base, "SINK", mailtest.NewSink(t).Addr))
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(config); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(config, 0o600); err != nil {
		t.Fatal(err)
	}
	give := func(before func()) {
		f, err := os.OpenFile(config, os.O_WRONLY, 0) // waits for a reader
		if err != nil {
			t.Error(err)
			return
		}
		before()
		if _, err := f.Write(text); err != nil {
			t.Error(err)
		}
		_ = f.Close()
	}
	go give(func() {
		_ = syscall.Kill(reading(t, config), syscall.SIGHUP)
		time.Sleep(50 * time.Millisecond) // nothing tells that the signal has come
	})
	g := startAt(t, config)
	give(func() {})
	g.log(`msg="configuration reloaded"`)
	g.stop()
}

// reading returns the process whose arguments name a file, other than this one.
func reading(t *testing.T, name string) int {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		args, _ := os.ReadFile(path)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if slices.Contains(strings.Split(string(args), "\x00"), name) && pid != os.Getpid() {
			return pid
		}
	}
	t.Errorf("no process reads %s", name)
	return os.Getpid()
}

// TestServiceManager is told what systemd wants to know, by a path and by an
// abstract name.
func TestServiceManager(t *testing.T) {
	for _, name := range []string{
		filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@postern-test-%d", os.Getpid()),
	} {
		manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer manager.Close()
		t.Setenv("NOTIFY_SOCKET", name)
		t.Setenv("WATCHDOG_USEC", "200000")
		t.Setenv("WATCHDOG_PID", "")
		g := startAt(t, site(t, strings.ReplaceAll(base, "SINK", mailtest.NewSink(t).Addr)))
		told := func(want string) string {
			t.Helper()
			b := make([]byte, 1000)
			for {
				_ = manager.SetReadDeadline(time.Now().Add(mailtest.Patience))
				n, err := manager.Read(b)
				if err != nil {
					t.Fatalf("not told %s: %v", want, err)
				}
				switch s := string(b[:n]); {
				case strings.HasPrefix(s, want):
					return s
				case s != "WATCHDOG=1":
					t.Fatalf("told %s, want %s", s, want)
				}
			}
		}
		told("READY=1")
		told("WATCHDOG=1")
		told("WATCHDOG=1")
		g.signal(syscall.SIGHUP)
		_, µs, _ := strings.Cut(told("RELOADING=1"), "\nMONOTONIC_USEC=")
		if n, err := strconv.ParseInt(µs, 10, 64); err != nil || n <= 0 {
			t.Errorf("the time of the reload: %q", µs)
		}
		told("READY=1")
		c := g.dial("127.0.0.1", "apps") // a session to wait for
		err = errors.Join(c.Mail("app@example.test"), c.Rcpt("somebody@example.net"))
		content, refused := c.Data()
		if err := errors.Join(err, refused); err != nil {
			t.Fatal(err)
		}
		g.signal(syscall.SIGTERM)
		told("STOPPING=1")
		g.signal(syscall.SIGHUP)
		g.log("since the gateway stops")
		told("WATCHDOG=1") // and nothing else
		told("WATCHDOG=1")
		if err := content.Close(); err != nil {
			t.Errorf("a message under way: %v", err)
		}
		_ = c.Close()
		g.wait()
	}
}

// TestNoServiceManager says nothing, and fails at nothing.
func TestNoServiceManager(t *testing.T) {
	environment := map[string]string{}
	getenv := func(name string) string { return environment[name] }
	var none *notifier
	for _, n := range []*notifier{none, newNotifier(getenv, textLog(t.Output()))} {
		n.Send("READY=1")
		n.Reloading()
		n.Watch(context.Background())
	}
	environment["NOTIFY_SOCKET"] = filepath.Join(t.TempDir(), "none")
	if n := newNotifier(getenv, textLog(t.Output())); n != nil {
		t.Error("a socket that nobody has")
	}
}

// TestWatchdogOfAnother: a deadline that is not for this process is not kept.
func TestWatchdogOfAnother(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	for _, tt := range []struct {
		µs, pid string
		want    time.Duration
	}{
		{"3000000", strconv.Itoa(os.Getpid()), 3 * time.Second}, {"3000000", "", 3 * time.Second},
		{"3000000", "1", 0}, {"", "", 0}, {"-1", "", 0}, {"soon", "", 0},
	} {
		environment := map[string]string{"NOTIFY_SOCKET": name, "WATCHDOG_USEC": tt.µs,
			"WATCHDOG_PID": tt.pid}
		n := newNotifier(func(name string) string { return environment[name] }, textLog(t.Output()))
		if n == nil || n.watchdog != tt.want {
			t.Errorf("%+v: %+v", tt, n)
		}
	}
}
