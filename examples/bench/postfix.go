package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/postern-mail/postern/examples/internal/loopback"
	"github.com/postern-mail/postern/examples/internal/postfix"
)

// mailer is Postfix, with opendkim where mail is signed.
type mailer struct {
	*postfix.Server
	signer *exec.Cmd
}

func startPostfix(ctx context.Context, dir string, s setup) (server, error) {
	main := s.main()
	m := mailer{}
	if s.dkim != "" {
		var addr string
		var err error
		if m.signer, addr, err = startSigner(ctx, dir, s.dkim); err != nil {
			return nil, err
		}
		main += fmt.Sprintf("smtpd_milters = inet:%s\nmilter_default_action = tempfail\n", addr)
	}
	var err error
	m.Server, err = postfix.Start(ctx, postfix.Config{
		Dir: dir, Main: main, Listeners: map[string][]string{s.relay: nil}, Resolver: s.resolv,
	})
	if err != nil {
		return nil, errors.Join(err, m.stopSigner())
	}
	return m, nil
}

// main is what stands in main.cf.
func (s setup) main() string {
	var b strings.Builder
	if s.host != "" {
		fmt.Fprintf(&b, "relayhost = [%s]:%d\n", s.host, s.port)
	} else {
		fmt.Fprintf(&b, "smtp_tcp_port = %d\n", s.port)
	}
	if s.connections > 0 {
		fmt.Fprintf(&b, "smtp_destination_concurrency_limit = %d\n", s.connections)
	}
	if s.certificate != "" {
		fmt.Fprintf(&b, "smtpd_tls_cert_file = %s\nsmtpd_tls_key_file = %s\n", s.certificate, s.key)
		b.WriteString("smtpd_tls_security_level = may\nsmtp_tls_security_level = encrypt\n")
	}
	return b.String()
}

func (m mailer) roots() []int {
	all := []int{m.Master}
	if m.signer != nil {
		all = append(all, m.signer.Process.Pid)
	}
	return all
}

func (m mailer) stop() error { return errors.Join(m.Stop(), m.stopSigner()) }

const signerConfig = `Mode s
Domain example.test
Selector s1
KeyFile %s
RequireSafeKeys no
Canonicalization relaxed/relaxed
InternalHosts 127.0.0.0/8
Socket inet:%s@%s
Syslog no
`

// startSigner starts opendkim, which ends with this process.
func startSigner(ctx context.Context, dir, key string) (*exec.Cmd, string, error) {
	addr, err := loopback.FreeAddr()
	if err != nil {
		return nil, "", err
	}
	host, port, _ := strings.Cut(addr, ":")
	config := filepath.Join(dir, "opendkim.conf")
	text := fmt.Sprintf(signerConfig, key, port, host)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	cmd := exec.Command("setpriv", "--pdeathsig", "KILL", "opendkim", "-f", "-x", config)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	if err := loopback.Await(ctx, addr); err != nil {
		return nil, "", errors.Join(err, mailer{signer: cmd}.stopSigner())
	}
	return cmd, addr, nil
}

func (m mailer) stopSigner() error {
	if m.signer == nil {
		return nil
	}
	err := m.signer.Process.Kill()
	_ = m.signer.Wait() // killed
	return err
}
