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
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	relayAddr = "127.0.0.1:29125"
	sinkAddr  = "127.0.0.1:29126"
)

// server is a running relay that listens at relayAddr and passes everything on to sinkAddr.
type server interface {
	root() int // the process that the others descend from
	stop() error
}

// awaitPort returns when somebody answers at addr.
func awaitPort(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("nobody listens at %s: %w", addr, err)
		}
		pause(ctx, 20*time.Millisecond)
	}
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

func startGateway(ctx context.Context, binary, dir string) (server, error) {
	config := filepath.Join(dir, "gateway.toml")
	if err := os.WriteFile(config, []byte(gatewayConfig), 0o600); err != nil {
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
	if err := awaitPort(ctx, relayAddr); err != nil {
		return nil, errors.Join(err, g.stop())
	}
	return g, nil
}

func (g *gateway) root() int { return g.cmd.Process.Pid }

// stop ends the gateway at once: what it still has in its queue is of no interest.
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

type postfix struct {
	config string
	master int
}

const mainCf = `compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
myhostname = relay.example.test
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
relayhost = [%[2]s]:%[3]s
`

// masterCf is Debian's, without chroot and without what only local mail needs.
const masterCf = `%[1]s     inet  n       -       n       -       -       smtpd
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
`

func startPostfix(ctx context.Context, dir string) (server, error) {
	config := filepath.Join(dir, "config")
	for _, d := range []string{config, filepath.Join(dir, "queue")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
	}
	sinkHost, sinkPort, _ := net.SplitHostPort(sinkAddr)
	for name, text := range map[string]string{
		"main.cf":   fmt.Sprintf(mainCf, dir, sinkHost, sinkPort),
		"master.cf": fmt.Sprintf(masterCf, relayAddr),
	} {
		if err := os.WriteFile(filepath.Join(config, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	// Debian maps the tables' types to shared objects here.
	if maps, err := os.ReadFile("/etc/postfix/dynamicmaps.cf"); err == nil {
		if err := os.WriteFile(filepath.Join(config, "dynamicmaps.cf"), maps, 0o644); err != nil {
			return nil, err
		}
	}
	p := &postfix{config: config}
	if err := p.command(ctx, "start"); err != nil {
		return nil, err
	}
	pid, err := os.ReadFile(filepath.Join(dir, "queue", "pid", "master.pid"))
	if err == nil {
		p.master, err = strconv.Atoi(strings.TrimSpace(string(pid)))
	}
	if err == nil {
		err = awaitPort(ctx, relayAddr)
	}
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

func (p *postfix) command(ctx context.Context, verb string) error {
	text, err := exec.CommandContext(ctx, "postfix", "-c", p.config, verb).CombinedOutput()
	if err != nil {
		return fmt.Errorf("postfix %s: %w\n%s", verb, err, text)
	}
	return nil
}

func (p *postfix) root() int { return p.master }

// stop ends Postfix at once; it returns when the last of its processes has ended.
func (p *postfix) stop() error {
	processes, err := descendants(p.master)
	if err != nil {
		return err
	}
	if err := p.command(context.Background(), "abort"); err != nil {
		return err
	}
	for _, pid := range processes {
		for i := 0; isAlive(pid); i++ {
			if i == 500 {
				return fmt.Errorf("process %d of Postfix does not end", pid)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}
