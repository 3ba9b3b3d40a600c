package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postern-mail/postern/examples/internal/smtpload"
)

const (
	trickleDomains = 50
	trickleEvery   = 50 * time.Millisecond
	lateLimit      = time.Minute // for what has not arrived by the end
)

// fair measures how long a trickle of mail takes, alone and beside what is in
// the way of others.
func (b *bench) fair(ctx context.Context) error {
	trickle, bulk := max(100, b.messages(600)), b.messages(100_000)
	fmt.Fprintf(b.out, "\n(fair) %d messages, 20 a second, to %d domains 50 ms away; beside "+
		"%d of another stream to the same, %d stalled destinations and a slow provider\n",
		trickle, trickleDomains, bulk, stalled)
	w := b.columns("accepted to delivered, ms: median", "99 %", "longest", "never")
	var all []delays
	for _, one := range []struct {
		name   string
		stocks []stock
	}{{"alone", nil}, {"beside others", b.crowd(bulk)}} {
		got, err := inFolder(b.dir, func(dir string) (delays, error) {
			return b.trickle(ctx, dir, trickle, one.stocks)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f\t%d\t\n", one.name, got.at(0.5), got.at(0.99),
			got.at(1), got.never)
		all = append(all, got)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	never := all[0].never + all[1].never
	fmt.Fprintf(b.out, "  never arrived: %d, at most 0: %s\n", never, b.verdict(never == 0))
	b.atMost("99 %, times that of alone", ratio(all[1].at(0.99), all[0].at(0.99)), 2)
	return nil
}

// trickle measures a trickle through a gateway that has stocks already.
func (b *bench) trickle(
	ctx context.Context, dir string, messages int, stocks []stock,
) (d delays, err error) {
	watch := newStopwatch(messages)
	h, err := b.crowdHosts(dir, watch.arrived)
	if err != nil {
		return d, err
	}
	defer h.close()
	set, err := h.ready(comparison{nextHop: nextHop{mx: true}})
	if err != nil {
		return d, err
	}
	set.provider = exchangersOf("slow")
	if err := fill(ctx, dir, stocks...); err != nil {
		return d, err
	}
	s, err := b.start(ctx, "gateway", dir, set)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	pause(ctx, 5*time.Second) // until all that is in the way is
	load := smtpload.Source{
		Load: smtpload.Load{Sessions: 1, Size: 10 << 10, Messages: messages, Reuse: true},
		Recipients: func(i int) []string {
			return []string{fmt.Sprintf("t%d@%s", i, domainOf(i%trickleDomains))}
		},
		Sent: watch.sent, Every: trickleEvery,
	}
	if err := load.Send(ctx, set.relay); err != nil {
		return d, err
	}
	for late := time.Now(); watch.missing() > 0 && time.Since(late) < lateLimit; {
		if pause(ctx, 10*time.Millisecond); ctx.Err() != nil {
			return d, ctx.Err()
		}
	}
	return watch.delays(), nil
}
