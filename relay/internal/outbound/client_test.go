package outbound_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// Content that cannot be read leaves the mail waiting and, unless it was on its
// way, the connection usable.
func TestOpenFails(t *testing.T) {
	s := &sink{}
	c := newClient(t, dialTo(listen(t, s.serve)))
	r := newRequest("hi\r\n")
	open := r.Open
	r.Open = func(context.Context) (io.ReadCloser, error) { return nil, io.ErrClosedPipe }
	expect(t, c.Deliver(t.Context(), r), "temporary content 0 4.3.0 error")
	r.Open = open
	expect(t, c.Deliver(t.Context(), r), taken)
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// Content that breaks off on its way ends the connection short of the end of
// the message.
func TestContentBreaksOff(t *testing.T) {
	for _, ext := range []string{"PIPELINING", "CHUNKING"} {
		s := &sink{extensions: []string{"8BITMIME", ext}}
		c := newClient(t, dialTo(listen(t, s.serve)))
		r := newRequest("")
		r.Open = func(context.Context) (io.ReadCloser, error) {
			text := strings.NewReader(strings.Repeat("Twenty-five octets here\r\n", 10000))
			return io.NopCloser(io.MultiReader(text, iotest.ErrReader(io.ErrClosedPipe))), nil
		}
		res := c.Deliver(t.Context(), r)
		expect(t, res, "temporary content 0 4.3.0 error")
		if !errors.Is(res[0].Err, io.ErrClosedPipe) {
			t.Error(res[0].Err)
		}
		r = newRequest("hi\r\n")
		expect(t, c.Deliver(t.Context(), r), taken)
		if n := s.accepted.Load(); n != 1 || s.conns.Load() != 2 {
			t.Errorf("%s: %d messages on %d connections", ext, n, s.conns.Load())
		}
	}
}

// The steps are in the log, and the password is not.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	n := &network{down: map[string]bool{"10.0.0.1": true}, serve: func(c net.Conn) {
		defer c.Close()
		follow(c, []string{
			"S: 220 mx", "C: EHLO relay.example.test", "S: 250-mx", "S: 250 AUTH PLAIN",
			"C: AUTH PLAIN AGFwcABzM2NyM3Q=", "S: 235 ok",
			"C: MAIL FROM:<alice@example.com>", "S: 421 4.3.2 closing",
		})
	}}
	c := newClient(t, n.dial, func(cfg *outbound.Config) {
		cfg.Logger = slog.New(
			slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}),
		)
	})
	r := poolOf3("hi\r\n")
	r.Hop.Username, r.Hop.Password, r.Hop.AllowPlaintextAuth = "app", "s3cr3t", true
	c.Deliver(t.Context(), r)
	for _, want := range []string{
		"connection failed", "connection refused", "connected", "id=1", "code=421", "10.0.0.3",
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log", want)
		}
	}
	if strings.Contains(log.String(), "code=0") || strings.Contains(log.String(), `=""`) {
		t.Errorf("keys without a value in the log:\n%s", &log)
	}
	for _, secret := range []string{"s3cr3t", "AGFwcABzM2NyM3Q="} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q in the log", secret)
		}
	}
}

func TestResultDSN(t *testing.T) {
	for _, ext := range []string{"DSN", "HELP"} {
		c := newClient(t, dialTo(listen(t, (&sink{extensions: []string{ext}}).serve)))
		if res := c.Deliver(t.Context(), newRequest("hi\r\n")); res[0].DSN != (ext == "DSN") {
			t.Errorf("%s: DSN %v", ext, res[0].DSN)
		}
	}
}

func TestUnixSocket(t *testing.T) {
	path := t.TempDir() + "/lmtp"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &sink{lmtp: true}
	go func() {
		if nc, err := l.Accept(); err == nil {
			s.serve(nc)
		}
	}()
	c := newClient(t, nil)
	r := newRequest("hi\r\n")
	r.Hop.Hosts, r.Hop.LMTP = []string{"unix:" + path}, true
	res := c.Deliver(t.Context(), r)
	expect(t, res, `delivered 250 2.0.0 "taken"`)
	if res[0].Host != "unix:"+path {
		t.Errorf("host %s", res[0].Host)
	}
}
