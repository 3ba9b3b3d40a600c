package main

import (
	"context"
	"errors"
	"net"
	"os"

	"github.com/postern-mail/postern/examples/internal/loopback"
	"github.com/postern-mail/postern/examples/internal/postfix"
	"github.com/postern-mail/postern/examples/internal/smtpload"
)

// mta is a running relay that passes everything on to a sink.
type mta interface {
	root() int // the process that the others descend from
	stop() error
}

// relay measures whole relays.
func (b *bench) relay() scenario {
	load := smtpload.Load{Sessions: 20, Size: mailSize, Messages: b.messages(5000)}
	through := func(
		start func(context.Context, string) (mta, string, func() error, error),
	) func(context.Context) (figures, error) {
		return func(ctx context.Context) (figures, error) {
			return b.relayThrough(ctx, start, load)
		}
	}
	return scenario{
		title:   "Relay: smtp-source, 20 sessions, 10 KB, to smtp-sink, on the same cores",
		columns: costs(),
		subjects: []subject{
			{"pgspool", through(b.nodeOnPostgres(false))},
			{"pgspool, events", through(b.nodeOnPostgres(true))},
			{"filespool", through(b.nodeInDirectory)},
			{"Postfix", through(b.postfix)},
		},
		targets: []target{
			atLeast("end to end per second, at least 1,200", "pgspool", rate, 1200),
			fraction("beside Postfix, at least 1.5", "pgspool", "Postfix", rate, 1.5),
		},
	}
}

// starter starts a relay that passes on to sink. It returns where it listens
// and what removes what it leaves behind.
type starter = func(ctx context.Context, sink string) (mta, string, func() error, error)

func (b *bench) nodeOnPostgres(events bool) starter {
	return func(ctx context.Context, sink string) (mta, string, func() error, error) {
		url, drop, err := b.server.fresh(ctx)
		if err != nil {
			return nil, "", nil, err
		}
		n, err := startNode(ctx, url, sink, events)
		if err != nil {
			return nil, "", nil, errors.Join(err, drop())
		}
		return n, n.addr, drop, nil
	}
}

func (b *bench) nodeInDirectory(
	ctx context.Context, sink string,
) (mta, string, func() error, error) {
	dir, err := os.MkdirTemp(b.dir, "spool")
	if err != nil {
		return nil, "", nil, err
	}
	n, err := startNode(ctx, dir, sink, false)
	if err != nil {
		return nil, "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return n, n.addr, func() error { return os.RemoveAll(dir) }, nil
}

type mailer struct{ *postfix.Server }

func (m mailer) root() int   { return m.Master }
func (m mailer) stop() error { return m.Stop() }

func (b *bench) postfix(ctx context.Context, sink string) (mta, string, func() error, error) {
	dir, err := os.MkdirTemp(b.dir, "postfix")
	if err != nil {
		return nil, "", nil, err
	}
	clean := func() error { return os.RemoveAll(dir) }
	addr, err := loopback.FreeAddr()
	if err != nil {
		return nil, "", nil, errors.Join(err, clean())
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, "", nil, errors.Join(err, clean())
	}
	host, port, _ := net.SplitHostPort(sink)
	s, err := postfix.Start(ctx, postfix.Config{
		Dir: dir, Main: "relayhost = [" + host + "]:" + port + "\n",
		Listeners: map[string][]string{addr: nil},
	})
	if err != nil {
		return nil, "", nil, errors.Join(err, clean())
	}
	return mailer{s}, addr, clean, nil
}

// relayThrough sends mail through one relay.
func (b *bench) relayThrough(
	ctx context.Context, start starter, load smtpload.Load,
) (f figures, err error) {
	sinkAddr, err := loopback.FreeAddr()
	if err != nil {
		return nil, err
	}
	sink, err := smtpload.StartSink(ctx, sinkAddr)
	if err != nil {
		return nil, err
	}
	defer sink.Stop()
	m, addr, clean, err := start(ctx, sinkAddr)
	if err != nil {
		return nil, err
	}
	f, err = b.feed(ctx, sink, []mta{m}, []string{addr}, load)
	if _, ok := m.(mailer); ok && err == nil {
		f = f.withoutDatabase()
	}
	return f, errors.Join(err, m.stop(), clean())
}
