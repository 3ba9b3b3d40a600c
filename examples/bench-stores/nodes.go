package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/postern-mail/postern/examples/internal/loopback"
	"github.com/postern-mail/postern/examples/internal/smtpload"
)

// nodes measures what it costs to share a database.
func (b *bench) nodes() scenario {
	load := smtpload.Load{Sessions: 100, Size: mailSize, Messages: b.messages(5000)}
	with := func(n int) func(context.Context) (figures, error) {
		return func(ctx context.Context) (figures, error) { return b.nodesOn(ctx, n, load) }
	}
	return scenario{
		title:    "Nodes: relays on one database, 100 sessions and the same mail in all",
		columns:  costs(),
		subjects: []subject{{"one node", with(1)}, {"two nodes", with(2)}},
		targets: []target{
			fraction("two beside one, at least 0.9", "two nodes", "one node", rate, 0.9),
		},
	}
}

// nodesOn sends mail through n relays with one queue.
func (b *bench) nodesOn(ctx context.Context, n int, load smtpload.Load) (f figures, err error) {
	sinkAddr, err := loopback.FreeAddr()
	if err != nil {
		return nil, err
	}
	sink, err := smtpload.StartSink(ctx, sinkAddr)
	if err != nil {
		return nil, err
	}
	defer sink.Stop()
	url, drop, err := b.server.fresh(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, drop()) }()
	var all []mta
	var addrs []string
	for range n {
		one, err := startNode(ctx, url, sinkAddr, false)
		if err != nil {
			return nil, err
		}
		defer one.stop()
		all, addrs = append(all, one), append(addrs, one.addr)
	}
	return b.feed(ctx, sink, all, addrs, load)
}

// settle is how long what works beside the mail gets to come to rest.
const settle = 500 * time.Millisecond

// feed sends the mail of load, shared among relays, and waits until the sink
// has it.
func (b *bench) feed(
	ctx context.Context, sink *smtpload.Sink, all []mta, addrs []string, load smtpload.Load,
) (figures, error) {
	warm := load
	warm.Messages = 2 * load.Sessions * len(all)
	if err := share(ctx, warm, addrs); err != nil {
		return nil, err
	}
	if err := sink.Wait(ctx, warm.Messages); err != nil {
		return nil, err
	}
	time.Sleep(settle)
	var roots []int
	for _, m := range all {
		roots = append(roots, m.root())
	}
	meter, err := b.measure(roots...)
	if err != nil {
		return nil, err
	}
	if err := share(ctx, load, addrs); err != nil {
		return nil, err
	}
	if err := sink.Wait(ctx, warm.Messages+load.Messages); err != nil {
		return nil, fmt.Errorf("at the sink: %w", err)
	}
	return meter.end(load.Messages)
}

// share sends a part of the load to each address.
func share(ctx context.Context, load smtpload.Load, addrs []string) error {
	n := len(addrs)
	g, ctx := errgroup.WithContext(ctx)
	for i, addr := range addrs {
		part := load
		part.Sessions = load.Sessions / n
		part.Messages = load.Messages*(i+1)/n - load.Messages*i/n
		g.Go(func() error { return part.Send(ctx, addr) })
	}
	return g.Wait()
}
