package outbound_test

import (
	"context"
	"io"
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
