package peertest_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/textproto"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// behind is where the clients of the proxies come from.
const behind = "127.0.0.5"

// proxied is a relay behind proxies at 127.0.0.1, which serves clients of
// another address only.
type proxied struct {
	inbox[told]
	port   string
	client *tls.Config
	dir    string
}

func startProxied(t *testing.T, next *sink, change func(*relay.Config)) *proxied {
	t.Helper()
	p := &proxied{dir: t.TempDir()}
	_, _, p.client = mailtest.Certificate(t, p.dir)
	apps := connector.AnonymousRelay("apps", connector.MustParseRange(behind))
	apps.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	cfg := relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil),
		Connectors: []*connector.Connector{apps},
		SendConnectors: []*connector.SendConnector{{
			Name: "out", AddressSpaces: connector.AllDomains(),
			NextHop: connector.NextHop{Hosts: []string{next.addr}},
		}},
		Events: func(e event.Event) {
			key := e.Kind.String()
			if e.Kind == event.Accepted {
				key += " " + e.To[0]
			}
			p.at(key) <- told{Remote: e.Remote.Addr().String(), Text: e.Reason}
		},
	}
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	change(&cfg)
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, r)
	_, p.port, _ = net.SplitHostPort(r.Addrs("apps")[0].String())
	return p
}

// daemon runs a program in the foreground until the test ends, and waits until
// something listens at the port.
func daemon(t *testing.T, port, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var log strings.Builder
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() {
			t.Logf("%s:\n%s", name, log.String())
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp4", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("%s ended", name)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not listen: %v", name, err)
		}
	}
}

// sendThrough sends a message through a proxy, in TLS with a config, and checks
// whom the relay took for the client.
func (p *proxied) sendThrough(t *testing.T, next *sink, port, to string, config *tls.Config) {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(behind)}}
	conn, err := dialer.Dial("tcp4", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if config != nil {
		conn = tls.Client(conn, config)
	}
	c := smtp.NewClient(conn)
	content := message(user, to, 50_000)
	if err := c.SendMail(user, []string{to}, strings.NewReader(string(content))); err != nil {
		t.Fatal(err)
	}
	if e := p.next(t, "accepted "+to); e.Remote != behind {
		t.Errorf("the client is %s", e.Remote)
	}
	wantContent(t, next.next(t, to).content, append(content, '\r', '\n'))
	_ = c.Quit()
}

// TestProxies puts proxies in front that others wrote: HAProxy, stunnel, and
// nginx, each with the PROXY protocol, nginx with XCLIENT too.
func TestProxies(t *testing.T) {
	t.Parallel()
	next := newSink(t)
	p := startProxied(t, next, func(c *relay.Config) {
		c.Proxies = []connector.Range{connector.MustParseRange("127.0.0.1")}
	})
	t.Run("haproxy", func(t *testing.T) { testHAProxy(t, p, next) })
	t.Run("stunnel4", func(t *testing.T) { testStunnel(t, p, next) })
	t.Run("nginx", func(t *testing.T) {
		testNginx(t, p, next, "nginx", "proxy_protocol on; xclient off;")
	})
	t.Run("nginx xclient", func(t *testing.T) {
		p := startProxied(t, next, func(c *relay.Config) {
			c.XClient = []connector.Range{connector.MustParseRange("127.0.0.1")}
			// A session begins as the proxy's own.
			ranges := []connector.Range{connector.MustParseRange("127.0.0.1-" + behind)}
			c.Connectors[0].RemoteIPRanges = ranges
		})
		typesXClient(t, testNginx(t, p, next, "xclient", "xclient on;"))
	})
}

func testHAProxy(t *testing.T, p *proxied, next *sink) {
	for name, send := range map[string]string{"v1": "send-proxy", "v2": "send-proxy-v2"} {
		t.Run(name, func(t *testing.T) {
			port, config := freePort(t), filepath.Join(t.TempDir(), "haproxy.cfg")
			mailtest.Write(t, config, fmt.Sprintf(`
defaults
	mode tcp
	timeout connect 10s
	timeout client 60s
	timeout server 60s
listen clients
	bind 127.0.0.1:%s
	server relay 127.0.0.1:%s %s
`, port, p.port, send))
			daemon(t, port, "/usr/sbin/haproxy", "-db", "-f", config)
			p.sendThrough(t, next, port, name+"@haproxy.test", nil)
		})
	}
}

func testStunnel(t *testing.T, p *proxied, next *sink) {
	port, config := freePort(t), filepath.Join(p.dir, "stunnel.conf")
	mailtest.Write(t, config, fmt.Sprintf(`
foreground = yes
pid =
[smtps]
accept = 127.0.0.1:%s
connect = 127.0.0.1:%s
cert = %s
key = %s
protocol = proxy
`, port, p.port, filepath.Join(p.dir, "cert.pem"), filepath.Join(p.dir, "key.pem")))
	daemon(t, port, "stunnel4", config)
	p.sendThrough(t, next, port, "x@stunnel.test", p.client)
}

// typesXClient is a client that names itself anew behind a proxy which, once it
// has named it, passes on everything.
func typesXClient(t *testing.T, port string) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(behind)}}
	conn, err := dialer.Dial("tcp4", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	c := textproto.NewConn(conn)
	for _, step := range []struct {
		say  string
		code int
	}{
		{"", 220}, {"HELO client.test", 250}, {"MAIL FROM:<a@client.test>", 250},
		{"RCPT TO:<b@nginx.test>", 250}, {"RSET", 250}, {"XCLIENT ADDR=127.0.0.1", 421},
	} {
		if step.say != "" {
			if err := c.PrintfLine("%s", step.say); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := c.ReadResponse(step.code); err != nil {
			t.Fatalf("%q: %v, want %d", step.say, err, step.code)
		}
	}
	if line, err := c.ReadLine(); err != io.EOF {
		t.Errorf("after the 421: %q, %v", line, err)
	}
}

func testNginx(t *testing.T, p *proxied, next *sink, name, how string) string {
	t.Helper()
	ask := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Auth-Status", "OK")
		w.Header().Set("Auth-Server", "127.0.0.1")
		w.Header().Set("Auth-Port", p.port)
	}))
	t.Cleanup(ask.Close)
	dir := t.TempDir()
	port, implicit := freePort(t), freePort(t)
	config := filepath.Join(dir, "nginx.conf")
	mailtest.Write(t, config, fmt.Sprintf(`
load_module /usr/lib/nginx/modules/ngx_mail_module.so;
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
mail {
	server_name nginx.example.test;
	auth_http %[2]s/;
	smtp_auth none;
	smtp_capabilities 8BITMIME PIPELINING SMTPUTF8;
	%[3]s
	server {
		protocol smtp;
		listen 127.0.0.1:%[4]s;
	}
	server {
		protocol smtp;
		listen 127.0.0.1:%[5]s ssl;
		ssl_certificate %[6]s/cert.pem;
		ssl_certificate_key %[6]s/key.pem;
	}
}
`, dir, ask.URL, how, port, implicit, p.dir))
	daemon(t, port, "/usr/sbin/nginx", "-c", config, "-e", "stderr")
	p.sendThrough(t, next, port, name+"@nginx.test", nil)
	p.sendThrough(t, next, implicit, name+".tls@nginx.test", p.client)
	return port
}
