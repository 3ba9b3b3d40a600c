package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/postern-mail/postern/examples/internal/proc"
)

// What is told of a start with a full queue.
const (
	listens   = iota // s
	firstMail        // s
	rate             // deliveries per second from then on
	backPeak         // MB
)

// backlog measures starts with a short queue, a long one, and one of many
// streams.
func (b *bench) backlog(ctx context.Context) error {
	total, domains := b.messages(1_000_000), max(100, b.messages(10_000))
	measured := max(100, b.messages(10_000))
	short := measured + measured/(deadPart-1) + deadPart
	fmt.Fprintf(b.out, "\n(backlog) %d deliveries for %d domains, one in %d is dead; the "+
		"first %d are measured, rounds: %d\n", total, domains, deadPart, measured, b.rounds)
	queues := []struct {
		name                string
		deliveries, streams int
	}{
		{fmt.Sprintf("%d deliveries", short), short, 1},
		{fmt.Sprintf("%d deliveries", total), total, 1},
		{fmt.Sprintf("%d in 1,000 streams", total), total, 1000},
	}
	all := make([][]figures, len(queues))
	for range b.rounds {
		for i, q := range queues {
			got, err := inFolder(b.dir, func(dir string) (figures, error) {
				return b.startWith(ctx, dir, q.deliveries, domains, q.streams, measured)
			})
			if err != nil {
				return fmt.Errorf("%s: %w", q.name, err)
			}
			all[i] = append(all[i], got)
		}
	}
	w := b.columns("listens after s", "first delivery after s", "deliveries/s", "peak MB")
	var m [3]figures
	for i, q := range queues {
		m[i] = median(all[i])
		fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%.0f\t%.0f\t\n", q.name, m[i][listens],
			m[i][firstMail], m[i][rate], m[i][backPeak])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	b.atMost("listens after s", m[1][listens], 3)
	b.atMost("first delivery after s", m[1][firstMail], 1)
	b.atMost("peak MB", m[1][backPeak], 250)
	b.atLeast("rate beside that of the short queue", ratio(m[1][rate], m[0][rate]), 0.9)
	b.atLeast("the same in 1,000 streams", ratio(m[2][rate], m[0][rate]), 0.8)
	return nil
}

// arrivals notes when mail arrives.
type arrivals struct {
	count, want int64
	first, last atomic.Pointer[time.Time]
	done        chan struct{} // closed when as many have arrived as are wanted
}

func (a *arrivals) note(recipients []string) {
	now := time.Now()
	for range recipients {
		switch atomic.AddInt64(&a.count, 1) {
		case 1:
			a.first.Store(&now)
		case a.want:
			a.last.Store(&now)
			close(a.done)
		}
	}
}

func (b *bench) startWith(
	ctx context.Context, dir string, deliveries, domains, streams, measured int,
) (got figures, err error) {
	a := &arrivals{want: int64(measured), done: make(chan struct{})}
	c := comparison{own: true, nextHop: nextHop{mx: true}}
	h, err := b.open(ctx, c, dir, a.note)
	if err != nil {
		return got, err
	}
	defer h.close()
	set, err := h.ready(c)
	if err != nil {
		return got, err
	}
	// With many deliveries for a domain a connection carries several; the rates
	// would tell that, and not what finding them costs.
	set.single = true
	err = fill(ctx, dir, stock{
		deliveries: deliveries, perMessage: 10,
		to: func(i int) string {
			if i = i % domains; i%deadPart == 0 {
				return deadOf(i)
			}
			return domainOf(i)
		},
		stream: func(i int) string {
			if streams == 1 {
				return ""
			}
			return fmt.Sprintf("s%d", i%streams)
		},
	})
	if err != nil {
		return got, err
	}
	begin := time.Now()
	s, err := b.start(ctx, "gateway", dir, set)
	if err != nil {
		return got, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	got[listens] = time.Since(begin).Seconds()
	memory := proc.WatchMemory(s.roots()...)
	defer func() { got[backPeak] = memory.Stop() }()
	select {
	case <-a.done:
	case <-ctx.Done():
		return got, ctx.Err()
	case <-time.After(2 * time.Minute):
		return got, fmt.Errorf("only %d of %d arrived", atomic.LoadInt64(&a.count), measured)
	}
	first, last := *a.first.Load(), *a.last.Load()
	got[firstMail] = first.Sub(begin).Seconds()
	got[rate] = float64(measured-1) / last.Sub(first).Seconds()
	return got, nil
}
