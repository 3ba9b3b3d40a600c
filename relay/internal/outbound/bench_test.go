package outbound_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// BenchmarkDeliver is a transaction on a connection that is used again, against
// a sink in the same process.
func BenchmarkDeliver(b *testing.B) {
	line := strings.Repeat("x", 78) + "\r\n"
	for _, size := range []int{1 << 10, 10 << 10, 1 << 20} {
		content := "Subject: test\r\n\r\n" + strings.Repeat(line, size/80)
		for _, ext := range []string{"", "PIPELINING", "PIPELINING,CHUNKING"} {
			b.Run(fmt.Sprintf("%dK/%s", size>>10, ext), func(b *testing.B) {
				s := &sink{discard: true, extensions: strings.Split("8BITMIME,"+ext, ",")}
				c := newClient(b, dialTo(listen(b, s.serve)))
				r := newRequest(content)
				r.Hop.MessagesPerConnection = -1
				b.SetBytes(int64(len(content)))
				b.ReportAllocs()
				for b.Loop() {
					if res := c.Deliver(b.Context(), r); !res[0].Delivered {
						b.Fatalf("%+v", res[0])
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
			})
		}
	}
}

// BenchmarkTransaction is the client's own share: the peer is a table of
// replies.
func BenchmarkTransaction(b *testing.B) {
	content := "Subject: test\r\n\r\n" + strings.Repeat(strings.Repeat("x", 78)+"\r\n", 128)
	for _, ext := range []string{"PIPELINING", "CHUNKING"} {
		b.Run(ext, func(b *testing.B) {
			c := newClient(b, func(context.Context, string, string) (net.Conn, error) {
				return &canned{ext: ext, next: "220 mx\r\n"}, nil
			})
			r := newRequest(content)
			r.Hop.MessagesPerConnection = -1
			src := strings.NewReader(content)
			body := io.NopCloser(src)
			r.Open = func(context.Context) (io.ReadCloser, error) {
				src.Reset(content)
				return body, nil
			}
			b.ReportAllocs()
			for b.Loop() {
				if res := c.Deliver(b.Context(), r); !res[0].Delivered {
					b.Fatalf("%+v", res[0])
				}
			}
		})
	}
}

// canned is a peer that answers what was last written.
type canned struct {
	net.Conn
	ext, next string
}

func (c *canned) Write(p []byte) (int, error) {
	switch {
	case bytes.HasSuffix(p, []byte("DATA\r\n")):
		c.next = "250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go on\r\n"
	case bytes.HasPrefix(p, []byte("EHLO")):
		c.next = "250-mx\r\n250-8BITMIME\r\n250 " + c.ext + "\r\n"
	case bytes.HasPrefix(p, []byte("MAIL")), bytes.HasPrefix(p, []byte("RCPT")):
		c.next = "250 ok\r\n"
	default:
		c.next = "250 2.0.0 queued as 4F1A2B3C4D\r\n"
	}
	return len(p), nil
}

func (c *canned) Read(p []byte) (int, error) {
	n := copy(p, c.next)
	c.next = c.next[n:]
	return n, nil
}

func (c *canned) SetReadDeadline(time.Time) error  { return nil }
func (c *canned) SetWriteDeadline(time.Time) error { return nil }
func (c *canned) Close() error                     { return nil }
