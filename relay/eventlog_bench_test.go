package relay_test

import (
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/filespool"
)

// BenchmarkSubmit takes messages into a durable queue, with the event log off
// and on.
func BenchmarkSubmit(b *testing.B) {
	for name, retention := range map[string]time.Duration{"off": 0, "on": time.Hour} {
		b.Run("log="+name, func(b *testing.B) {
			store, err := filespool.Open(b.TempDir(), &filespool.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			r, err := relay.New(relay.Config{
				Hostname: "relay.example.test", Spool: store,
				EventLog: relay.EventLog{Retention: retention},
				Pressure: relay.Pressure{QueueMedium: -1, QueueHigh: -1},
			})
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			content := "From: app@example.test\n\n" + strings.Repeat("a line of text\n", 100)
			b.SetParallelism(20)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, err := r.Submit(b.Context(), &relay.Message{
						From: "app@example.test", To: []string{"x@elsewhere.test"},
						Content: strings.NewReader(content),
					})
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
