package sched_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/relay/internal/sched"
	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

func v2bench(t *testing.T, store spool.Store, n int) *bench {
	b := newBench(t, store)
	b.sched = sched.New(sched.Config{
		Store: store, Concurrency: n, Logger: slog.New(slog.DiscardHandler),
		RouteLimit: func(string) int { return 20 },
		Local:      []string{"mailbox", "transport"},
		Owner: func(l *spool.Lease) sched.Owner {
			connector, _, _ := strings.Cut(l.Delivery.Route, "/")
			origin, report := strings.CutPrefix(l.Message.From, "reports of ")
			return sched.Owner{Connector: connector, Origin: origin, Report: report}
		},
		Deliver:  b.deliver,
		Overdue:  func(l *spool.Lease) (sched.Overdue, time.Time) { return b.overdue(l), time.Time{} },
		Conclude: func(_ context.Context, l *spool.Lease) { b.conclude(l) },
	})
	return b
}

func TestV2Small(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5, 8, 10, 15, 20} {
		for _, load := range []string{"one", "routes", "connectors", "message", "reports"} {
			t.Run(fmt.Sprint(n, load), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := memspool.New(nil)
					switch load {
					case "one":
						for range 100 {
							commit(t, store, "u", "send/slow")
						}
					case "routes":
						for i := range 100 {
							commit(t, store, fmt.Sprint("u", i), fmt.Sprintf("mx/slow%d", i))
						}
					case "connectors":
						for i := range 100 {
							commit(t, store, "u", fmt.Sprintf("s%d/slow", i))
						}
					case "message":
						commit(t, store, "u", routes("mx/slow%d", 100)...)
					case "reports":
						for i := range 100 {
							commit(t, store, fmt.Sprint("reports of ", i), fmt.Sprintf("m%d/slow", i))
						}
					}
					b := v2bench(t, store, n)
					time.Sleep(time.Millisecond)
					others := []string{"mailbox", "mx/healthy", "send/healthy"}
					each(t, store, "app", others)
					b.run(t, 300*time.Second)
					for _, r := range others {
						d, ok := b.first[r]
						if !ok || d > 2*time.Second {
							t.Errorf("%s after %v %v", r, d, ok)
						}
					}
				})
			})
		}
	}
}
