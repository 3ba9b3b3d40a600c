package main

import (
	"context"
	"errors"
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/examples/internal/loopback"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool"
)

// nodeCommand, as the first argument, makes this program a relay.
const nodeCommand = "node"

// node is a relay in a process of its own.
type node struct {
	addr string
	cmd  *exec.Cmd
}

// startNode starts a relay with its queue at store, a URL or a directory. It
// passes everything on to sink.
func startNode(ctx context.Context, store, sink string, events bool) (*node, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	addr, err := loopback.FreeAddr()
	if err != nil {
		return nil, err
	}
	n := &node{addr: addr, cmd: exec.Command(
		program, nodeCommand, "-listen", addr, "-sink", sink, "-spool", store,
	)}
	if events {
		n.cmd.Args = append(n.cmd.Args, "-events")
	}
	n.cmd.Stdout, n.cmd.Stderr = os.Stderr, os.Stderr
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	if err := loopback.Await(ctx, addr); err != nil {
		return nil, errors.Join(err, n.stop())
	}
	return n, nil
}

func (n *node) root() int { return n.cmd.Process.Pid }

// stop ends the relay at once: what it still has in its queue is of no
// interest.
func (n *node) stop() error {
	err := n.cmd.Process.Kill()
	_ = n.cmd.Wait()
	return err
}

// runNode is the relay's process.
func runNode(ctx context.Context, args []string) error {
	var listen, sink, store string
	var events bool
	f := flag.NewFlagSet(nodeCommand, flag.ContinueOnError)
	f.StringVar(&listen, "listen", "", "address to listen at")
	f.StringVar(&sink, "sink", "", "smart host")
	f.StringVar(&store, "spool", "", "directory or URL of the queue")
	f.BoolVar(&events, "events", false, "keep events")
	if err := f.Parse(args); err != nil {
		return err
	}
	q, err := openAt(ctx, store)
	if err != nil {
		return err
	}
	config, err := nodeConfig(q, listen, sink)
	if err != nil {
		return errors.Join(err, q.Close())
	}
	if events {
		config.EventLog.Retention = time.Hour
	}
	r, err := relay.New(config)
	if err != nil {
		return errors.Join(err, q.Close())
	}
	return errors.Join(r.Run(ctx), q.Close())
}

// openAt opens the queue at a URL or in a directory.
func openAt(ctx context.Context, store string) (spool.Store, error) {
	if !strings.HasPrefix(store, "postgres:") {
		return openDirectory(filepath.Clean(store))
	}
	pool, err := connect(ctx, store, connections)
	if err != nil {
		return nil, err
	}
	return openPool(ctx, pool)
}

func nodeConfig(q spool.Store, listen, sink string) (c relay.Config, err error) {
	apps := connector.AnonymousRelay("apps", connector.Loopback()...)
	addr, err := netip.ParseAddrPort(listen)
	if err != nil {
		return c, err
	}
	apps.Bindings = []netip.AddrPort{addr}
	apps.Limits.MaxConnections, apps.Limits.ConnectionRate = -1, -1
	apps.Limits.MaxConnectionsPerSource, apps.Limits.MaxConnectionsPercentPerSource = -1, -1
	return relay.Config{
		Hostname: "relay.example.test", Spool: q, Connectors: []*connector.Connector{apps},
		SendConnectors: []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(),
			NextHop: connector.NextHop{Hosts: []string{sink}, TLS: connector.TLSNone},
		}},
	}, nil
}
