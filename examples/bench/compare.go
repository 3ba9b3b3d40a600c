package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/postern-mail/postern/examples/internal/proc"
	"github.com/postern-mail/postern/examples/internal/smtpload"
)

// titleOf says what is sent.
func titleOf(key, title string, l smtpload.Load) string {
	size := fmt.Sprintf("%d KB", l.Size>>10)
	if l.Size >= 1<<20 {
		size = fmt.Sprintf("%d MB", l.Size>>20)
	}
	connections := "new connections"
	if l.Reuse {
		connections = "reused connections"
	}
	return fmt.Sprintf("(%s) %s: %d × %s, %s", key, title, l.Messages, size, connections)
}

func (b *bench) compare(ctx context.Context, c comparison) error {
	c.Messages = max(c.Sessions, b.messages(c.Messages))
	return b.rivals(ctx, titleOf(c.key, c.title, c.Load), c.bars, func(
		ctx context.Context, name, dir string,
	) (figures, error) {
		return b.measure(ctx, c, name, dir)
	})
}

// rivals measures the servers in turns, each round in a new folder, and prints
// the medians.
func (b *bench) rivals(
	ctx context.Context, title string, bars []bar,
	measure func(ctx context.Context, server, dir string) (figures, error),
) error {
	all := map[string][]figures{}
	for round := range b.rounds {
		order := slices.Clone(b.servers)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, name := range order {
			got, err := inFolder(b.dir, func(dir string) (figures, error) {
				return measure(ctx, name, dir)
			})
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			all[name] = append(all[name], got)
		}
	}
	var medians []figures
	for _, name := range b.servers {
		medians = append(medians, median(all[name]))
	}
	if err := b.table(title, medians); err != nil {
		return err
	}
	b.judge(bars, medians)
	return nil
}

// inFolder calls f with a new folder, and removes it.
func inFolder[T any](parent string, f func(dir string) (T, error)) (got T, err error) {
	dir, err := os.MkdirTemp(parent, "round")
	if err != nil {
		return got, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return got, err
	}
	return f(dir)
}

const settle = 500 * time.Millisecond

// measure sends the mail of c through a server to its next hop.
func (b *bench) measure(
	ctx context.Context, c comparison, name, dir string,
) (f figures, err error) {
	hop, err := b.open(ctx, c, dir, nil)
	if err != nil {
		return f, err
	}
	defer hop.close()
	set, err := hop.ready(c)
	if err != nil {
		return f, err
	}
	set.eventLog = b.eventLog
	s, err := b.start(ctx, name, dir, set)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()

	// Postfix starts its processes, and both open their connections, before the
	// clock runs.
	warm := max(2*c.Sessions, c.domains)
	if err := b.send(ctx, c, set.relay, warm); err != nil {
		return f, err
	}
	perMessage := max(1, c.recipients)
	if err := hop.sink.Wait(ctx, warm*perMessage); err != nil {
		return f, err
	}
	pause(ctx, settle)
	return meter(ctx, s, c.Messages, func() error {
		return b.send(ctx, c, set.relay, c.Messages)
	}, func() error { return hop.sink.Wait(ctx, (warm+c.Messages)*perMessage) })
}

// meter measures a server while messages are sent, and arrive.
func meter(
	ctx context.Context, s server, messages int, send, arrive func() error,
) (f figures, err error) {
	before, err := proc.CPU(s.roots()...)
	if err != nil {
		return f, err
	}
	memory := proc.WatchMemory(s.roots()...)
	n, start := float64(messages), time.Now()
	err = send()
	f[accepted] = n / time.Since(start).Seconds()
	if err == nil && arrive != nil {
		err = arrive()
		f[endToEnd] = n / time.Since(start).Seconds()
	}
	if err == nil && arrive == nil {
		pause(ctx, 2*time.Second) // for what it does with what it cannot send
	}
	f[peak] = memory.Stop()
	if err != nil {
		return f, err
	}
	pause(ctx, settle)
	after, err := proc.CPU(s.roots()...)
	f[cpu] = (after - before).Seconds() / n * 1000
	return f, err
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
