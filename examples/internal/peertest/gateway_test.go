// Package peertest_test lets mail clients and a mail server that others wrote
// talk to the gateway example, and the gateway to that server. scripts/deps.sh
// installs them all; one that is missing fails its tests.
package peertest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/postern-mail/postern/examples/internal/gatewaybin"
	"github.com/postern-mail/postern/examples/internal/mailtest"
)

// patience bounds every wait: 20 MB take their time on a busy machine.
const patience = 3 * time.Minute

const (
	user     = "app@example.test"
	password = `s3 cret:"p%ss"\$w='/+`
)

// inbox holds what arrives until its test asks for it.
type inbox[T any] struct {
	mu  sync.Mutex
	all map[string]chan T
}

func (b *inbox[T]) at(key string) chan T {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all = map[string]chan T{}
	}
	if b.all[key] == nil {
		b.all[key] = make(chan T, 1000)
	}
	return b.all[key]
}

func (b *inbox[T]) next(t *testing.T, key string) (v T) {
	t.Helper()
	select {
	case v = <-b.at(key):
	case <-time.After(patience):
		t.Fatalf("nothing has arrived: %s", key)
	}
	return v
}

// arrival is a recipient's copy of a message.
type arrival struct {
	from    string
	mail    smtp.MailOptions
	rcpt    smtp.RcptOptions
	content []byte
}

// sink is a next hop that takes everything. Arrivals are by recipient.
type sink struct {
	inbox[arrival]
	addr string
}

func newSink(t *testing.T) *sink {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{addr: l.Addr().String()}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &session{sink: s}, nil
	}))
	server.Domain, server.MaxLineLength = "sink.example.test", 1<<20
	server.EnableSMTPUTF8, server.EnableDSN = true, true
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return s
}

type session struct {
	sink *sink
	arrival
	to  []string
	dsn []smtp.RcptOptions
}

func (s *session) Mail(from string, o *smtp.MailOptions) error {
	s.arrival = arrival{from: from, mail: *o}
	return nil
}

func (s *session) Rcpt(to string, o *smtp.RcptOptions) error {
	s.to, s.dsn = append(s.to, to), append(s.dsn, *o)
	return nil
}

func (s *session) Data(r io.Reader) error {
	var err error
	if s.content, err = io.ReadAll(r); err != nil {
		return err
	}
	for i, to := range s.to {
		s.rcpt = s.dsn[i]
		s.sink.at(to) <- s.arrival
	}
	return nil
}

func (s *session) Reset()        { s.to, s.dsn = nil, nil }
func (s *session) Logout() error { return nil }

type told struct {
	Type, Connector, User, From, To, Remote, Text, Enhanced, Host string
	Code                                                          int
}

// gateway is a running gateway. Events are by type and recipient.
type gateway struct {
	inbox[told]
	dir        string
	ports      map[string]string // by connector
	mechanisms []string
}

// TestMain builds the gateway once for all tests.
func TestMain(m *testing.M) { os.Exit(run(m)) }

var binary = filepath.Join(os.TempDir(), fmt.Sprintf("peertest-gateway-%d", os.Getpid()))

func run(m *testing.M) int {
	flag.Parse()
	if testing.Short() {
		return 0 // all of it needs other programs
	}
	defer os.Remove(binary)
	if err := gatewaybin.Build(context.Background(), binary); err != nil {
		fmt.Println(err)
		return 1
	}
	defer os.RemoveAll(binary + ".java")
	if out, err := compile(); err != nil {
		fmt.Printf("%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// config has connectors for relaying hosts, and for users with STARTTLS and
// with TLS from the first byte.
const config = `
hostname = "relay.example.test"
spool = "spool"
users = "users"
[tls]
certificate = "cert.pem"
key = "key.pem"
[[connector]]
name = "relay"
bindings = ["127.0.0.1:0"]
remote_ip_ranges = ["127.0.0.1"]
permission_groups = ["AnonymousUsers"]
grants = [{ principal = "anonymous", rights = ["ms-Exch-SMTP-Accept-Any-Recipient"] }]
limits = { tarpit = "0s", max_connections_per_source = -1, max_connections_percent_per_source = -1 }
[[connector]]
name = "STARTTLS"
usage = "Client"
bindings = ["127.0.0.1:0"]
remote_ip_ranges = ["127.0.0.1"]
limits = { tarpit = "0s", auth_tarpit = "0s", message_rate = -1, max_connections_per_source = -1, max_connections_percent_per_source = -1 }
[[connector]]
name = "implicit"
usage = "Client"
bindings = ["127.0.0.1:0"]
remote_ip_ranges = ["127.0.0.1"]
implicit_tls = true
limits = { tarpit = "0s", auth_tarpit = "0s", message_rate = -1, max_connections_per_source = -1, max_connections_percent_per_source = -1 }
[[accepted_domain]]
name = "example.test"
recipients = ["sender", "app"]
[mailboxes]
deliver = "smtp://SINK"
[[send_connector]]
name = "out"
address_spaces = ["*;1"]
smart_hosts = ["SINK"]
[retry]
schedule = ["1s"]
greylisted = "1s"
`

// keeper ends the gateway when its standard input is closed, also by the death
// of the tests.
const keeper = `"$0" -config "$1" </dev/null & read -r _; kill $!; wait $!`

// start runs a gateway for the length of the test, with more lines of
// configuration.
func start(t *testing.T, next *sink, more string) *gateway {
	t.Helper()
	return startWith(t, next, "", more)
}

// startWith is start with more lines at the top of the configuration, too.
func startWith(t *testing.T, next *sink, top, more string) *gateway {
	t.Helper()
	g := &gateway{
		dir: t.TempDir(), ports: map[string]string{}, mechanisms: []string{"PLAIN", "LOGIN"},
	}
	mailtest.Certificate(t, g.dir)
	mailtest.Htpasswd(t, g.path("users"), user, password)
	lines := strings.ReplaceAll(config, "SINK", next.addr)
	mailtest.Write(t, g.path("gateway.toml"), top+lines+more)
	cmd := exec.Command("sh", "-c", keeper, binary, g.path("gateway.toml"))
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+g.path("ca.pem"))
	life, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var (
		output sync.WaitGroup
		log    bytes.Buffer
		addrs  = make(chan [2]string, 3)
	)
	output.Go(func() {
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			var e told
			if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
				t.Errorf("event %q: %v", lines.Text(), err)
			}
			g.at(e.Type + " " + e.To) <- e
		}
	})
	output.Go(func() {
		defer close(addrs)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(&log, lines.Text())
			if _, rest, ok := strings.Cut(lines.Text(), "msg=listening connector="); ok {
				name, addr, _ := strings.Cut(rest, " addresses=[")
				addrs <- [2]string{name, strings.TrimSuffix(addr, "]")}
			}
		}
	})
	t.Cleanup(func() {
		life.Close()
		output.Wait()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", log.String())
		}
	})
	for range 3 {
		a, ok := <-addrs
		if !ok {
			t.Fatal("the gateway does not listen")
		}
		_, g.ports[a[0]], _ = net.SplitHostPort(a[1])
	}
	return g
}

func (g *gateway) path(name string) string { return filepath.Join(g.dir, name) }

// message has a header and a body of so many octets, without a line end behind
// the last of them.
func message(from, to string, size int) []byte {
	head := "From: <" + from + ">\r\nTo: <" + to + ">\r\nSubject: " + fmt.Sprint(
		size,
	) + " octets\r\n" +
		"Date: Mon, 05 Jan 2026 10:00:00 +0000\r\nMessage-ID: <" + to + ">\r\n" +
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" +
		"Content-Transfer-Encoding: 8bit\r\n\r\n"
	// What clients and servers get wrong, and what most of a message is.
	odd := ".\r\n..\r\n.begins with a dot\r\n\r\nGröße, 10 €\r\nspace at the end " +
		"\r\n\ttab\t\r\nFrom the mbox format\r\n" +
		strings.Repeat("y", 998) + "\r\n"
	plain := strings.Repeat(strings.Repeat("x", 76)+"\r\n", 100)
	b := make([]byte, 0, len(head)+size)
	b = append(b, head...)
	end := len(head) + size
	for _, part := range []string{odd, plain} {
		for first := true; len(b)+len(part) < end && (first || part == plain); first = false {
			b = append(b, part...)
		}
	}
	for len(b) < end {
		if line := strings.Repeat("z", 60) + "\r\n"; len(b)+len(line) < end {
			b = append(b, line...)
			continue
		}
		b = append(b, 'z')
	}
	return b
}

// wantContent fails unless the content ends as it was sent.
func wantContent(t *testing.T, got, sent []byte) {
	t.Helper()
	if bytes.HasSuffix(got, sent) {
		return
	}
	i := 1
	for i <= min(len(got), len(sent)) && got[len(got)-i] == sent[len(sent)-i] {
		i++
	}
	around := func(b []byte) []byte {
		return b[max(0, len(b)-i-100):min(len(b), max(0, len(b)-i+20))]
	}
	t.Errorf(
		"%d octets arrived of %d that were sent; %d from the end:\n%q\nwas\n%q", len(got),
		len(sent), i, around(got), around(sent),
	)
}

// output runs a program and returns all it writes.
func output(ctx context.Context, stdin io.Reader, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = stdin
	// No settings of whoever runs the tests.
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/bin", "HOME=/nonexistent", "LC_ALL=C.UTF-8",
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
