package outbound_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// BenchmarkDeliver is a transaction on a connection that is used again, against a sink in the same process.
func BenchmarkDeliver(b *testing.B) {
	line := strings.Repeat("x", 78) + "\r\n"
	for _, size := range []int{1 << 10, 10 << 10, 1 << 20} {
		content := "Subject: test\r\n\r\n" + strings.Repeat(line, size/80)
		for _, ext := range []string{"", "PIPELINING", "PIPELINING,CHUNKING"} {
			b.Run(fmt.Sprintf("%dK/%s", size>>10, ext), func(b *testing.B) {
				s := &sink{discard: true, extensions: strings.Split(ext, ",")}
				c := newClient(b, dialTo(listen(b, s.serve)))
				r := newRequest(content)
				r.Hop.MessagesPerConnection = -1
				b.SetBytes(int64(len(content)))
				b.ReportAllocs()
				for b.Loop() {
					if res := c.Deliver(b.Context(), r); res[0].Outcome != outbound.Delivered {
						b.Fatalf("%+v", res[0])
					}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
			})
		}
	}
}
