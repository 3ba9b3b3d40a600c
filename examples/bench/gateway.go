package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/postern-mail/postern/examples/internal/gatewaybin"
	"github.com/postern-mail/postern/examples/internal/loopback"
	"github.com/postern-mail/postern/examples/internal/nameserver"
)

type gateway struct {
	cmd *exec.Cmd
	log bytes.Buffer
}

// config is the gateway's configuration file.
func (s setup) config() string {
	var top, out, more strings.Builder
	if s.streams {
		fmt.Fprintf(&top, "stream_header = %q\n", streamHeader)
	}
	level := "None"
	if s.certificate != "" {
		level = "EncryptionOnly"
		fmt.Fprintf(&more, "[tls]\ncertificate = %q\nkey = %q\n", s.certificate, s.key)
	}
	fmt.Fprintf(&out, "tls = %q\nport = %d\n", level, s.port)
	if s.host != "" {
		fmt.Fprintf(&out, "smart_hosts = [%q]\n", s.host)
	} else {
		fmt.Fprintln(&out, "allow_private_addresses = true")
	}
	if s.connections > 0 {
		fmt.Fprintf(&out, "max_connections = %d\n", s.connections)
	}
	if s.single {
		fmt.Fprintln(&out, "messages_per_connection = 1")
	}
	if s.dkim != "" {
		fmt.Fprintf(
			&more, "[[dkim]]\ndomain = \"example.test\"\nselector = \"s1\"\nkey = %q\n", s.dkim,
		)
	}
	if s.provider != "" {
		fmt.Fprintf(&more, "[[shaping.providers]]\nname = \"slow\"\nexchangers = [%q]\n"+
			"limits = { connections = 20 }\n", s.provider)
	}
	if s.eventLog {
		more.WriteString("[event_log]\nretention = \"1h\"\n")
	}
	return gatewaybin.Config(top.String(), s.relay, out.String()+more.String())
}

// startGateway returns when the gateway listens. It ends with this process,
// however that ends.
func startGateway(ctx context.Context, binary, dir string, s setup) (server, error) {
	config := filepath.Join(dir, "gateway.toml")
	if err := os.WriteFile(config, []byte(s.config()), 0o600); err != nil {
		return nil, err
	}
	events, err := os.Create(filepath.Join(dir, "events"))
	if err != nil {
		return nil, err
	}
	defer events.Close()
	words := []string{"setpriv", "--pdeathsig", "KILL", binary, "-config", config}
	cmd := exec.Command(words[0], words[1:]...)
	if s.resolv != "" {
		cmd = nameserver.Command(s.resolv, words[0], words[1:]...)
	}
	g := &gateway{cmd: cmd}
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, events, &g.log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if err := loopback.Await(ctx, s.relay); err != nil {
		return nil, errors.Join(err, g.stop(), errors.New(g.log.String()))
	}
	return g, nil
}

func (g *gateway) roots() []int { return []int{g.cmd.Process.Pid} }

// stop ends the gateway at once: what it still has in its queue is of no
// interest.
func (g *gateway) stop() error {
	if err := g.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
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
