package peertest_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/postern-mail/postern/examples/internal/loopback"
	"github.com/postern-mail/postern/examples/internal/mailtest"
)

// haproxyConfig has a frontend for clients, and backends that are checked in
// every way. HAProxy comes from 127.0.0.3, which no connector takes.
const haproxyConfig = `
global
	stats socket STATS mode 600
defaults
	mode tcp
	timeout connect 5s
	timeout client 60s
	timeout server 60s
	timeout check 5s
frontend clients
	bind 127.0.0.1:FRONT
	default_backend v2
backend v2
	option smtpchk EHLO haproxy.example.test
	server gw 127.0.0.1:RELAY source 127.0.0.3 send-proxy-v2 check check-send-proxy inter 100ms
backend v1
	option smtpchk
	server gw 127.0.0.1:RELAY source 127.0.0.3 send-proxy check inter 100ms
backend tls
	option smtpchk
	server gw 127.0.0.1:IMPLICIT source 127.0.0.3 send-proxy-v2 check check-ssl verify none inter 100ms
backend connects
	server gw 127.0.0.1:RELAY source 127.0.0.3 check inter 100ms
backend connects-and-sends
	server gw 127.0.0.1:RELAY source 127.0.0.3 check check-send-proxy inter 100ms
`

// HAProxy finds the gateway in health by every kind of check, though no
// connector takes it as itself, and its clients are who they are.
func TestHAProxy(t *testing.T) {
	next := newSink(t)
	g := startWith(t, next, `proxies = ["127.0.0.3"]`, "")
	front := freePort(t)
	stats := g.path("stats")
	mailtest.Write(t, g.path("haproxy.cfg"), strings.NewReplacer("STATS", stats, "FRONT", front,
		"RELAY", g.ports["relay"], "IMPLICIT", g.ports["implicit"]).Replace(haproxyConfig))
	cmd := exec.Command("sh", "-c", `"$0" -db -f "$1" </dev/null & read -r _; kill $!; wait $!`,
		"/usr/sbin/haproxy", g.path("haproxy.cfg"))
	life, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		life.Close()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("HAProxy's log:\n%s", log.String())
		}
	})

	want := map[string]string{
		"v2": "L7OK", "v1": "L7OK", "tls": "L7OK", "connects": "L4OK", "connects-and-sends": "L4OK",
	}
	well := func() {
		t.Helper()
		for began := time.Now(); ; time.Sleep(100 * time.Millisecond) {
			got, err := checks(stats)
			if err == nil && fmt.Sprint(got) == fmt.Sprint(want) {
				return
			}
			if time.Since(began) > patience {
				t.Fatalf("HAProxy says %v, %v; want %v", got, err, want)
			}
		}
	}
	well()
	const to = "haproxy@elsewhere.test"
	c, err := smtp.Dial("127.0.0.1:" + front)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SendMail(user, []string{to}, bytes.NewReader(message(user, to, 100))); err != nil {
		t.Fatal(err)
	}
	next.next(t, to)
	if e := g.next(t, "accepted "+to); !strings.HasPrefix(e.Remote, "127.0.0.1:") {
		t.Errorf("accepted from %s", e.Remote)
	}
	// The checks go on as well; on a busy machine some may fail.
	time.Sleep(time.Second)
	well()
}

// checks asks HAProxy for the outcome of the last check of each backend.
func checks(socket string) (map[string]string, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "show stat\n"); err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(c).ReadAll()
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	status := 0
	for i, name := range rows[0] {
		if name == "check_status" {
			status = i
		}
	}
	outcome := map[string]string{}
	for _, row := range rows[1:] {
		if row[1] == "gw" {
			outcome[row[0]] = strings.TrimPrefix(row[status], "* ") // one is under way
		}
	}
	return outcome, nil
}

func freePort(t *testing.T) string {
	t.Helper()
	_, port, _ := net.SplitHostPort(freeAddr(t))
	return port
}

func freeAddr(t *testing.T) string {
	t.Helper()
	addr, err := loopback.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
