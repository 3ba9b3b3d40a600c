package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/postern-mail/postern/examples/internal/postfix"
	"github.com/postern-mail/postern/examples/internal/smtpload"
)

const (
	relayAddr = "127.0.0.1:29125"
	sinkAddr  = "127.0.0.1:29126"
)

// server is a running relay that listens at relayAddr and passes everything on
// to sinkAddr.
type server interface {
	root() int // the process that the others descend from
	stop() error
}

type gateway struct {
	cmd *exec.Cmd
	log bytes.Buffer
}

const gatewayConfig = `
hostname = "relay.example.test"
spool = "spool"

[[connector]]
name = "bench"
usage = "Custom"
bindings = ["` + relayAddr + `"]
remote_ip_ranges = ["127.0.0.1"]
permission_groups = ["AnonymousUsers"]
grants = [{ principal = "anonymous", rights = ["ms-Exch-SMTP-Accept-Any-Recipient"] }]

[connector.limits]
tarpit = "0s"
max_connections = -1
max_connections_per_source = -1
max_connections_percent_per_source = -1
connection_rate = -1
message_rate = -1

[[send_connector]]
name = "out"
address_spaces = ["*;1"]
smart_hosts = ["` + sinkAddr + `"]
tls = "None"
`

const eventLogConfig = `
[event_log]
retention = "1h"
`

func startGateway(ctx context.Context, binary, dir string, eventLog bool) (server, error) {
	config, text := filepath.Join(dir, "gateway.toml"), gatewayConfig
	if eventLog {
		text += eventLogConfig
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	events, err := os.Create(filepath.Join(dir, "events"))
	if err != nil {
		return nil, err
	}
	defer events.Close()
	cmd := exec.Command(binary, "-config", config)
	g := &gateway{cmd: cmd}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, events, &g.log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := smtpload.AwaitPort(ctx, relayAddr); err != nil {
		return nil, errors.Join(err, g.stop())
	}
	return g, nil
}

func (g *gateway) root() int { return g.cmd.Process.Pid }

// stop ends the gateway at once: what it still has in its queue is of no
// interest.
func (g *gateway) stop() error {
	if err := g.cmd.Process.Kill(); err != nil {
		return err
	}
	var killed *exec.ExitError
	if err := g.cmd.Wait(); !errors.As(err, &killed) {
		return err
	}
	if status, ok := killed.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		return fmt.Errorf("the gateway ended by itself: %w\n%s", killed, g.log.String())
	}
	return nil
}

type mailer struct{ *postfix.Server }

func startPostfix(ctx context.Context, dir string) (server, error) {
	host, port, _ := net.SplitHostPort(sinkAddr)
	s, err := postfix.Start(ctx, postfix.Config{
		Dir: dir, Main: fmt.Sprintf("relayhost = [%s]:%s\n", host, port),
		Listeners: map[string][]string{relayAddr: nil},
	})
	if err != nil {
		return nil, err
	}
	return mailer{s}, nil
}

func (m mailer) root() int   { return m.Master }
func (m mailer) stop() error { return m.Stop() }
