package outbound_test

import (
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// crashes are the ways in which what the application has given may end a
// delivery.
var crashes = map[string]func(){
	"panic":  func() { panic("out of content") },
	"no map": func() { fill(nil) },
	"Goexit": runtime.Goexit,
}

func fill(m map[string]int) { m["x"]++ }

// crashing is content that crashes when it is read: the first block is good.
type crashing struct {
	io.Reader
	crash func()
}

func (c crashing) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF {
		c.crash()
	}
	return n, err
}

// spoilt are requests that crash at several places.
func spoilt(crash func()) map[string]*outbound.Request {
	open, read, long := numbered(1), numbered(2), numbered(3)
	open.Open = func(context.Context) (io.ReadCloser, error) {
		crash()
		return nil, nil
	}
	read.Open = func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(crashing{strings.NewReader("x"), crash}), nil
	}
	long.Open = func(context.Context) (io.ReadCloser, error) {
		lines := strings.NewReader(strings.Repeat("Subject: 3\r\n", 20_000))
		return io.NopCloser(crashing{lines, crash}), nil
	}
	return map[string]*outbound.Request{"open": open, "read": read, "long": long}
}

// A crash costs its own connection at most: no place leaks, and those behind
// get their turn.
func TestCrashesLeakNoPlaces(t *testing.T) {
	for how, crash := range crashes {
		for where, bad := range spoilt(crash) {
			for _, extensions := range []string{"HELP", "PIPELINING", "PIPELINING CHUNKING"} {
				t.Run(how+" "+where+" "+extensions, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := &sink{extensions: strings.Fields(extensions)}
						c := newClient(t, afar(dialPipe(s.serve), time.Millisecond))
						n := 0
						for range 8 {
							for range 3 { // side by side: it goes ahead of others
								go func() {
									defer func() { _ = recover() }()
									c.Deliver(context.Background(), bad)
								}()
							}
							several(t, c, n, 4, false)
							n += 4
						}
						synctest.Wait()
						s.has(t, n)
						c.Close()
						time.Sleep(time.Second)
						if open := c.Connections(bad.Hop, []string{bad.Domain}); open != 0 {
							t.Errorf("%d connections are still counted", open)
						}
					})
				})
			}
		}
	}
}

// brittle is a connection of the application's that crashes when it is used.
type brittle struct {
	net.Conn
	crash func()
}

func (b brittle) Write([]byte) (int, error) {
	b.crash()
	return 0, nil
}

// A crash before MAIL keeps nobody waiting for word of the logon.
func TestCrashedLogonHoldsNobodyUp(t *testing.T) {
	script := []string{
		"S: 220 mx", "C: EHLO relay.example.test", "S: 250-mx", "S: 250 AUTH PLAIN",
		"C: AUTH PLAIN AGFwcABzZWNyZXQ=", "S: 235 2.7.0 ok",
		"C: MAIL FROM:<alice@example.com>", "S: 250 ok", "C: RCPT TO:<bob@example.net>",
		"S: 250 ok", "C: DATA", "S: 354 go on", `C> hi\r\n.\r\n`, "S: 250 2.0.0 taken",
	}
	for how, crash := range crashes {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dial := dialPipe(func(c net.Conn) {
					defer c.Close()
					speak(c, script)
				})
				healthy := false
				c := newClient(t, func(
					ctx context.Context, network, addr string,
				) (net.Conn, error) {
					nc, err := dial(ctx, network, addr)
					if !healthy {
						return brittle{nc, crash}, err
					}
					return nc, err
				})
				r := newRequest("hi\r\n")
				r.Hop.Username, r.Hop.Password, r.Hop.AllowPlaintextAuth = "app", "secret", true
				go func() {
					defer func() { _ = recover() }()
					c.Deliver(context.Background(), r)
				}()
				synctest.Wait()
				healthy = true
				begin := time.Now()
				expect(t, c.Deliver(context.Background(), r), taken)
				if d := time.Since(begin); d > time.Second {
					t.Errorf("waited for %v", d)
				}
			})
		})
	}
}
