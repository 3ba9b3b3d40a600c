package peertest_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

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

// freeAddrs are addresses that nobody listens at, one for each name. Their
// ports are below those that the system gives to clients.
func freeAddrs[T any](t *testing.T, names map[string]T) map[string]string {
	t.Helper()
	addrs := map[string]string{}
	for name := range names {
		for i := 0; addrs[name] == ""; i++ {
			l, err := net.Listen("tcp4", fmt.Sprint("127.0.0.1:", 20_000+rand.N(10_000)))
			if err != nil && i > 100 {
				t.Fatal(err)
			}
			if err == nil {
				defer l.Close()
				addrs[name] = l.Addr().String()
			}
		}
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

// serve gives every connection to a function, for the length of the test.
func serve(t *testing.T, handle func(net.Conn, *bufio.Scanner)) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				handle(c, bufio.NewScanner(c))
			}()
		}
	}()
	return l.Addr().String()
}

// greylist is a policy server that tells every recipient to come again, once.
func greylist(t *testing.T) string {
	var seen sync.Map
	return serve(t, func(c net.Conn, lines *bufio.Scanner) {
		var recipient string
		for lines.Scan() {
			if name, value, ok := strings.Cut(lines.Text(), "="); ok {
				if name == "recipient" {
					recipient = value
				}
				continue
			}
			action := "dunno"
			if _, again := seen.LoadOrStore(recipient, true); !again {
				action = "451 4.7.1 Greylisted, come again"
			}
			fmt.Fprintf(c, "action=%s\n\n", action)
		}
	})
}

// authServer knows the user, in Dovecot's protocol.
func authServer(t *testing.T) string {
	return serve(t, func(c net.Conn, lines *bufio.Scanner) {
		fmt.Fprint(
			c,
			"VERSION\t1\t1\nCUID\t1\nCOOKIE\t00\nMECH\tPLAIN\tplaintext\n"+
				"MECH\tLOGIN\tplaintext\nDONE\n",
		)
		given := map[string][]string{}
		for lines.Scan() {
			f := strings.Split(lines.Text(), "\t")
			if f[0] != "AUTH" && f[0] != "CONT" {
				continue
			}
			id, response := f[1], strings.TrimPrefix(f[len(f)-1], "resp=")
			if f[0] == "AUTH" {
				delete(given, id)
			}
			if f[0] == "CONT" || strings.HasPrefix(f[len(f)-1], "resp=") {
				b, _ := base64.StdEncoding.DecodeString(response)
				given[id] = append(
					given[id], strings.Split(strings.TrimPrefix(string(b), "\x00"), "\x00")...,
				)
			}
			switch {
			case len(given[id]) < 2:
				fmt.Fprintf(
					c, "CONT\t%s\t%s\n", id,
					base64.StdEncoding.EncodeToString(
						[]byte([]string{"Username:", "Password:"}[len(given[id])]),
					),
				)
			case slices.Equal(given[id], []string{user, password}):
				fmt.Fprintf(c, "OK\t%s\tuser=%s\n", id, user)
			default:
				fmt.Fprintf(c, "FAIL\t%s\n", id)
			}
		}
	})
}

type letter struct {
	from    string
	to      []string
	mail    smtp.MailOptions
	rcpt    smtp.RcptOptions
	content []byte
}

// post hands a letter to a server in the clear.
func post(t *testing.T, addr string, l letter) {
	t.Helper()
	c, err := smtp.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Mail(l.from, &l.mail); err != nil {
		t.Fatal(err)
	}
	for _, to := range l.to {
		if err := c.Rcpt(to, &l.rcpt); err != nil {
			t.Fatal(err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(l.content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_ = c.Quit()
}

func TestPostfix(t *testing.T) {
	t.Parallel()
	p := startPeers(t)
	t.Run("to", func(t *testing.T) { testToPostfix(t, p) })
	t.Run("from", func(t *testing.T) { testFromPostfix(t, p) })
}

const sender = "sender@example.test"

func testToPostfix(t *testing.T, p *peers) {
	post := func(t *testing.T, l letter) {
		t.Helper()
		if l.from == "" {
			l.from = sender
		}
		post(t, "127.0.0.1:"+p.ports["relay"], l)
	}
	// report waits for the bounce of a recipient's copy and the report of it.
	report := func(t *testing.T, to, diagnostic string) told {
		t.Helper()
		e := p.gateway.next(t, "bounced "+to)
		m := p.next.next(t, sender)
		text := strings.Join(strings.Fields(string(m.content)), " ")
		if m.from != "" || !strings.Contains(text, "multipart/report") ||
			!strings.Contains(text, diagnostic) || !strings.Contains(text, to) {
			t.Errorf("report without %q from <%s>:\n%s", diagnostic, m.from, m.content)
		}
		return e
	}

	for name, how := range map[string]struct{ with, verbs string }{
		"chunking": {"ESMTPS", `starttls=1 mail=1 rcpt=1 bdat=\d`},
		"data":     {"ESMTPS", `starttls=1 mail=1 rcpt=1 data=1`},
		"clear":    {"ESMTP", `from \S+ ehlo=1 mail=1 rcpt=1 bdat=\d`},
	} {
		for _, size := range sizes {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				to := fmt.Sprintf("known.%d@%s.example.net", size, name)
				l := letter{to: []string{to}, content: message(sender, to, size)}
				post(t, l)
				e := p.gateway.next(t, "delivered "+to)
				if e.Code != 250 || !strings.Contains(e.Text, "queued as") ||
					!strings.HasSuffix(e.Host, p.smtpds[name][len("127.0.0.1"):]) {
					t.Errorf("delivered: %+v", e)
				}
				m := p.next.next(t, to)
				wantContent(t, m.content, append(l.content, '\r', '\n'))
				if !strings.Contains(
					string(m.content), "by postfix.example.test (Postfix) with "+how.with+" id",
				) {
					t.Errorf("not %s: %s", how.with, m.content[:min(1000, len(m.content))])
				}
				p.log.await(t, `postfix/`+name+`/smtpd.*disconnect.*`+how.verbs)
			})
		}
	}

	for _, name := range []string{"chunking", "data"} {
		t.Run("unknown recipient "+name, func(t *testing.T) {
			known, unknown, other := "known.a@"+name+".example.net", "nobody@"+name+
				".example.net", "known.b@"+name+".example.net"
			post(
				t,
				letter{to: []string{known, unknown, other}, content: message(sender, known, 1000)},
			)
			p.gateway.next(t, "delivered "+known)
			p.gateway.next(t, "delivered "+other)
			p.next.next(t, known)
			p.next.next(t, other)
			e := report(
				t, unknown,
				"Diagnostic-Code: smtp; 550 5.1.1 <"+unknown+
					">: Recipient address rejected: User unknown in relay recipient table",
			)
			if e.Code != 550 || e.Enhanced != "5.1.1" {
				t.Errorf("bounced: %+v", e)
			}
		})
	}

	for _, name := range []string{"small", "smallbdat", "smalldata"} {
		t.Run("too large "+name, func(t *testing.T) {
			to := "known.large@" + name + ".example.net"
			post(t, letter{to: []string{to}, content: message(sender, to, 1<<20)})
			if e := report(t, to, "Status: 5.3.4"); e.Enhanced != "5.3.4" {
				t.Errorf("bounced: %+v", e)
			}
			// What is below the limit passes.
			post(t, letter{to: []string{to}, content: message(sender, to, 50_000)})
			p.gateway.next(t, "delivered "+to)
			p.next.next(t, to)
		})
	}

	t.Run("greylist", func(t *testing.T) {
		to := "known@grey.example.net"
		post(t, letter{to: []string{to}, content: message(sender, to, 1000)})
		if e := p.gateway.next(t, "deferred "+to); e.Code != 451 || e.Enhanced != "4.7.1" ||
			!strings.Contains(e.Text, "Greylisted, come again") {
			t.Errorf("deferred: %+v", e)
		}
		p.gateway.next(t, "delivered "+to)
		p.next.next(t, to)
	})

	t.Run("SMTPUTF8", func(t *testing.T) {
		to := "known.größe@utf8.example.net"
		l := letter{
			from: "käse@example.org", to: []string{to}, mail: smtp.MailOptions{UTF8: true},
			content: message("käse@example.org", to, 1000),
		}
		post(t, l)
		p.gateway.next(t, "delivered "+to)
		if m := p.next.next(t, to); m.from != l.from || !m.mail.UTF8 {
			t.Errorf("arrived: from %s, %+v", m.from, m.mail)
		} else {
			wantContent(t, m.content, append(l.content, '\r', '\n'))
		}
	})
	t.Run("SMTPUTF8 not offered", func(t *testing.T) {
		to := "known.größe@ascii.example.net"
		post(
			t,
			letter{
				to: []string{to}, mail: smtp.MailOptions{UTF8: true},
				content: message(sender, "x@example.net", 1000),
			},
		)
		if e := report(t, to, "Status: 5.6.7"); e.Enhanced != "5.6.7" {
			t.Errorf("bounced: %+v", e)
		}
		// Clients ask for it wherever it is offered.
		to = "known@ascii.example.net"
		post(
			t,
			letter{
				to: []string{to}, mail: smtp.MailOptions{UTF8: true},
				content: message(sender, to, 1000),
			},
		)
		p.gateway.next(t, "delivered "+to)
		p.next.next(t, to)
	})

	dsn := letter{
		mail: smtp.MailOptions{EnvelopeID: "envelope+7=8", Return: smtp.DSNReturnHeaders},
		rcpt: smtp.RcptOptions{
			Notify:                []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure},
			OriginalRecipientType: smtp.DSNAddressTypeRFC822,
			OriginalRecipient:     "first+7@example.org",
		},
	}
	t.Run("DSN", func(t *testing.T) {
		l := dsn
		l.to = []string{"known.dsn@data.example.net"}
		l.content = message(sender, l.to[0], 1000)
		post(t, l)
		p.gateway.next(t, "delivered "+l.to[0])
		m := p.next.next(t, l.to[0])
		if m.mail.EnvelopeID != l.mail.EnvelopeID || m.mail.Return != l.mail.Return ||
			!slices.Equal(m.rcpt.Notify, l.rcpt.Notify) ||
			m.rcpt.OriginalRecipient != l.rcpt.OriginalRecipient {
			t.Errorf("arrived: %+v %+v", m.mail, m.rcpt)
		}
	})
	t.Run("DSN not offered", func(t *testing.T) {
		l := dsn
		l.to = []string{"known.dsn@nodsn.example.net"}
		l.content = message(sender, l.to[0], 1000)
		post(t, l)
		p.gateway.next(t, "delivered "+l.to[0])
		p.next.next(t, l.to[0])
	})

	for _, name := range []string{"plain", "login"} {
		t.Run("logon "+name, func(t *testing.T) {
			to := "known@" + name + ".example.net"
			post(t, letter{to: []string{to}, content: message(sender, to, 1000)})
			p.gateway.next(t, "delivered "+to)
			if m := p.next.next(t, to); !strings.Contains(
				string(m.content), "(Authenticated sender: "+user+")",
			) {
				t.Errorf("not as the user: %s", m.content)
			}
			p.log.await(
				t,
				`postfix/`+name+`/smtpd.*sasl_method=`+strings.ToUpper(
					name,
				)+`, sasl_username=`+user,
			)
		})
	}
	t.Run("logon refused", func(t *testing.T) {
		to := "known@wrong.example.net"
		post(t, letter{to: []string{to}, content: message(sender, to, 1000)})
		if e := p.gateway.next(t, "deferred "+to); e.Code != 535 {
			t.Errorf("deferred: %+v", e)
		}
	})
}

func testFromPostfix(t *testing.T, p *peers) {
	post := func(t *testing.T, l letter) {
		t.Helper()
		if l.from == "" {
			l.from = user
		}
		post(t, p.smtpds["clear"], l)
	}
	for _, name := range []string{"clear", "plain", "login", "implicit"} {
		for _, size := range sizes {
			t.Run(fmt.Sprint(name, " ", size), func(t *testing.T) {
				to := fmt.Sprintf("x.%d@%s.test", size, name)
				l := letter{to: []string{to}, content: message(user, to, size)}
				post(t, l)
				e := p.gateway.next(t, "accepted "+to)
				logon := user
				if name == "clear" {
					logon = ""
				}
				if e.From != user || e.User != logon || e.Connector != senders[name].connector {
					t.Errorf("accepted: %+v", e)
				}
				wantContent(t, p.next.next(t, to).content, append(l.content, '\r', '\n'))
			})
		}
	}
	t.Run("wrong password", func(t *testing.T) {
		to := "x@wrong.test"
		post(t, letter{to: []string{to}, content: message(user, to, 1)})
		p.log.await(
			t,
			`postfix/to-wrong/smtp.*to=<`+to+
				`>.*dsn=4.7.8, status=deferred \(SASL authentication failed.*said: 535 5.7.8`,
		)
	})
	t.Run("sender of another", func(t *testing.T) {
		to := "y@plain.test"
		post(t, letter{from: "z@clear.test", to: []string{to}, content: message(sender, to, 1)})
		p.log.await(
			t, `postfix/to-plain/smtp.*to=<`+to+`>.*dsn=5.7.60, status=bounced .*said: 550 5.7.60`,
		)
		p.next.next(t, "z@clear.test")
	})
	// What the gateway refuses comes back from Postfix, through the gateway.
	t.Run("unknown recipient", func(t *testing.T) {
		from, known, unknown := "back@clear.test", "sender@example.test", "nobody@example.test"
		post(
			t,
			letter{from: from, to: []string{unknown, known}, content: message(from, unknown, 1000)},
		)
		p.gateway.next(t, "accepted "+known)
		p.next.next(t, known)
		if m := p.next.next(t, from); m.from != "" ||
			!strings.Contains(string(m.content), "550 5.1.1") {
			t.Errorf("report from <%s>: %s", m.from, m.content)
		}
	})
	t.Run("reused connection", func(t *testing.T) {
		const messages = 10
		seen := map[string]bool{}
		for i := range messages {
			to := fmt.Sprintf("reused.%d@clear.test", i)
			post(t, letter{to: []string{to}, content: message(user, to, 10_000)})
			seen[p.gateway.next(t, "accepted "+to).Remote] = true
			p.next.next(t, to)
		}
		if len(seen) == messages {
			t.Errorf("%d connections for %d messages", len(seen), messages)
		}
	})
	t.Run("SMTPUTF8", func(t *testing.T) {
		to := "größe@clear.test"
		l := letter{
			from: "käse@example.org", to: []string{to}, mail: smtp.MailOptions{UTF8: true},
			content: message("käse@example.org", to, 1000),
		}
		post(t, l)
		m := p.next.next(t, to)
		if m.from != l.from || !m.mail.UTF8 {
			t.Errorf("arrived: from %s, %+v", m.from, m.mail)
		}
		wantContent(t, m.content, append(l.content, '\r', '\n'))
	})
}
