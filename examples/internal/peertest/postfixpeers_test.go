package peertest_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/examples/internal/postfix"
)

// smtpds are Postfix's servers. The gateway hands mail for NAME.example.net to
// server NAME, which relays it to the sink.
var smtpds = map[string][]string{
	"chunking":  nil,
	"data":      {"smtpd_discard_ehlo_keywords = chunking"},
	"clear":     {"smtpd_tls_security_level = none"},
	"utf8":      nil,
	"ascii":     {"smtpd_discard_ehlo_keywords = smtputf8"},
	"nodsn":     {"smtpd_discard_ehlo_keywords = dsn"},
	"small":     {"message_size_limit = 100000"},
	"smallbdat": {"message_size_limit = 100000", "smtpd_discard_ehlo_keywords = size"},
	"smalldata": {"message_size_limit = 100000", "smtpd_discard_ehlo_keywords = size, chunking"},
	"grey":      {"smtpd_recipient_restrictions = check_policy_service inet:GREY, permit"},
	"plain":     append([]string{"smtpd_sasl_mechanism_filter = plain"}, logon...),
	"login":     append([]string{"smtpd_sasl_mechanism_filter = login"}, logon...),
	"wrong":     logon,
}

var logon = []string{
	"smtpd_sasl_auth_enable = yes", "smtpd_sasl_type = dovecot", "smtpd_sasl_path = inet:AUTH",
	"smtpd_tls_auth_only = yes",
	"smtpd_sasl_authenticated_header = yes",
	"smtpd_relay_restrictions = permit_sasl_authenticated, reject",
}

// senders are Postfix's clients. Postfix hands mail for NAME.test to the
// gateway by client NAME.
var senders = map[string]struct {
	connector string // of the gateway
	settings  []string
}{
	"clear":    {"relay", []string{"smtp_connection_cache_destinations = static:all"}},
	"plain":    {"STARTTLS", append([]string{"smtp_sasl_mechanism_filter = plain"}, submits...)},
	"login":    {"STARTTLS", append([]string{"smtp_sasl_mechanism_filter = login"}, submits...)},
	"implicit": {"implicit", append([]string{"smtp_tls_wrappermode = yes"}, submits...)},
	"wrong": {
		"STARTTLS",
		append(
			submits[:len(submits)-1:len(submits)-1], "smtp_sasl_password_maps = texthash:DIR/wrong",
		),
	},
}

var submits = []string{
	"smtp_tls_security_level = secure", "smtp_tls_CAfile = DIR/ca.pem",
	"smtp_sasl_auth_enable = yes",
	"smtp_sasl_security_options = noanonymous", "smtp_sasl_password_maps = texthash:DIR/right",
}

const mainCf = `relayhost = [127.0.0.1]:%[1]s
relay_domains = example.net
relay_recipient_maps = regexp:{{/^known/ OK}}
transport_maps = texthash:%[2]s/transport
smtpd_tls_cert_file = %[2]s/cert.pem
smtpd_tls_key_file = %[2]s/key.pem
smtpd_tls_security_level = may
smtpd_tls_received_header = yes
smtpd_peername_lookup = no
smtpd_client_connection_rate_limit = 0
local_header_rewrite_clients =
message_size_limit = 40000000
disable_dns_lookups = yes
smtp_host_lookup = native
smtp_line_length_limit = 0
`

// peers are a gateway and a Postfix that hand mail to each other.
type peers struct {
	*gateway
	next   *sink
	smtpds map[string]string // their addresses
	log    journal           // of Postfix
}

func startPeers(t *testing.T) *peers {
	t.Helper()
	p := &peers{next: newSink(t), smtpds: freeAddrs(t, smtpds)}
	var out strings.Builder
	for name, addr := range p.smtpds {
		fmt.Fprintf(&out, "[[send_connector]]\nname = %[1]q\naddress_spaces = "+
			"[\"%[1]s.example.net\"]\nsmart_hosts = [%[2]q]\n"+
			"messages_per_connection = 1\n", name, addr)
		if name != "clear" {
			out.WriteString("tls = \"DomainValidation\"\ntls_domain = \"localhost\"\n")
		}
		switch name {
		case "plain", "login":
			fmt.Fprintf(&out, "username = %q\npassword_file = \"right-out\"\n", user)
		case "wrong":
			fmt.Fprintf(&out, "username = %q\npassword_file = \"wrong-out\"\n", user)
		}
	}
	dir := t.TempDir()
	mailtest.Write(t, dir+"/right-out", password+"\n")
	mailtest.Write(t, dir+"/wrong-out", "wrong\n")
	p.gateway = start(
		t, p.next,
		strings.ReplaceAll(
			strings.ReplaceAll(out.String(), "right-out", dir+"/right-out"), "wrong-out",
			dir+"/wrong-out",
		),
	)

	fill := strings.NewReplacer("GREY", greylist(t), "AUTH", authServer(t), "DIR", p.dir)
	set := func(name string, settings []string) []string {
		filled := []string{"syslog_name = postfix/" + name}
		for _, s := range settings {
			filled = append(filled, fill.Replace(s))
		}
		return filled
	}
	_, sinkPort, _ := net.SplitHostPort(p.next.addr)
	c := postfix.Config{
		Dir: openDir(t), Main: fmt.Sprintf(mainCf, sinkPort, p.dir), Log: &p.log,
		Listeners: map[string][]string{}, Clients: map[string][]string{},
	}
	for name, addr := range p.smtpds {
		c.Listeners[addr] = set(name, smtpds[name])
	}
	var transports, right, wrong strings.Builder
	for _, connector := range []string{"STARTTLS", "implicit"} {
		fmt.Fprintf(&right, "[localhost]:%s %s:%s\n", p.ports[connector], user, password)
		fmt.Fprintf(&wrong, "[localhost]:%s %s:wrong\n", p.ports[connector], user)
	}
	for name, s := range senders {
		to := "[localhost]:" + p.ports[s.connector]
		fmt.Fprintf(&transports, "%s.test to-%s:%s\n", name, name, to)
		c.Clients["to-"+name] = set("to-"+name, s.settings)
	}
	// The sink knows no original recipients beyond ASCII, as Postfix writes
	// them.
	c.Clients["no-dsn"] = []string{"smtp_discard_ehlo_keywords = dsn"}
	fmt.Fprintf(&transports, "utf8.example.net no-dsn:[127.0.0.1]:%s\n", sinkPort)
	// Mail for the gateway's own domain goes there too.
	fmt.Fprintf(&transports, "example.test to-clear:[localhost]:%s\n", p.ports["relay"])
	mailtest.Write(t, p.path("transport"), transports.String())
	mailtest.Write(t, p.path("right"), right.String())
	mailtest.Write(t, p.path("wrong"), wrong.String())

	server, err := postfix.Start(t.Context(), c)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.log.String())
	}
	t.Cleanup(func() {
		if err := server.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("Postfix's log:\n%s", p.log.String())
		}
	})
	return p
}

// openDir returns a new folder that everybody may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "postfix")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// freeAddrs are addresses that nobody listens at, one for each name.
func freeAddrs[T any](t *testing.T, names map[string]T) map[string]string {
	t.Helper()
	addrs, given := map[string]string{}, map[string]bool{}
	for name := range names {
		addr := freeAddr(t)
		for given[addr] {
			addr = freeAddr(t)
		}
		addrs[name], given[addr] = addr, true
	}
	return addrs
}

// journal is a log that tests wait for.
type journal struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.wrote != nil {
		close(j.wrote)
		j.wrote = nil
	}
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// await waits for a line of the log.
func (j *journal) await(t *testing.T, pattern string) {
	t.Helper()
	want := regexp.MustCompile(pattern)
	timeout := time.After(patience)
	for {
		j.mu.Lock()
		found := want.Match(j.text.Bytes())
		if j.wrote == nil {
			j.wrote = make(chan struct{})
		}
		wrote := j.wrote
		j.mu.Unlock()
		if found {
			return
		}
		select {
		case <-wrote:
		case <-timeout:
			t.Fatalf("no %q in Postfix's log", pattern)
		}
	}
}
