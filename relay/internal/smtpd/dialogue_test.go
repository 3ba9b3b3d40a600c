package smtpd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// TestDialogue plays scripts of testdata. A line of a script is one of
//
//	# a comment
//	set <field> <value>     a field of the connector or the policy; comes first
//	from <address>          the client's address and port, before all but set
//	C: <line>               the client sends a line
//	> <text>                the client sends a Go string without its quotes, as it is
//	repeat <n> <text>       the same, n times
//	S: <pattern>            the server answers; * stands for any text
//	S+ <n> <pattern>        the server answers n times
//	EHLO                    EHLO, and the keywords are compared with nothing
//	tls                     the client does a TLS handshake
//	wait <duration>         the client does nothing
//	silent                  the server has nothing to say just now
//	hangup                  the client closes the connection
//	close                   the server closes the connection
//	took <sender> | <recipients> | <Go string>  the message the backend got; in order
//	took-long <n>           the same, for content of n octets
//
// At the end of the script every message must have been named by took.
func TestDialogue(t *testing.T) { dialogues(t, "[a-z][a-z]*.txt") }

// The rows of weaknesses of go-smtp that the relay does not have. S13, S22 and S23
// have tests of their own.
func TestS1TimeoutInContent(t *testing.T)   { dialogues(t, "s01-*.txt") }
func TestS2ContentCutShort(t *testing.T)    { dialogues(t, "s02-*.txt") }
func TestS3MalformedBDAT(t *testing.T)      { dialogues(t, "s03-*.txt") }
func TestS4QuotedLocalPart(t *testing.T)    { dialogues(t, "s04-*.txt") }
func TestS5BadAddresses(t *testing.T)       { dialogues(t, "s05-*.txt") }
func TestS6PartialLine(t *testing.T)        { dialogues(t, "s06-*.txt") }
func TestS7SecondMail(t *testing.T)         { dialogues(t, "s07-*.txt") }
func TestS8ErrorTexts(t *testing.T)         { dialogues(t, "s08-*.txt") }
func TestS9BareLineEndings(t *testing.T)    { dialogues(t, "s09-*.txt") }
func TestS10StartTLS(t *testing.T)          { dialogues(t, "s10-*.txt") }
func TestS11CountedCommands(t *testing.T)   { dialogues(t, "s11-*.txt") }
func TestS12Panic(t *testing.T)             { dialogues(t, "s12-*.txt") }
func TestS14Clocks(t *testing.T)            { dialogues(t, "s14-*.txt") }
func TestS15LineLengths(t *testing.T)       { dialogues(t, "s15-*.txt") }
func TestS16HandshakeDeadline(t *testing.T) { dialogues(t, "s16-*.txt") }
func TestS17BDATAfterRSET(t *testing.T)     { dialogues(t, "s17-*.txt") }
func TestS18SizeLimit(t *testing.T)         { dialogues(t, "s18-*.txt") }
func TestS19CarriageReturns(t *testing.T)   { dialogues(t, "s19-*.txt") }
func TestS20ReplyCodes(t *testing.T)        { dialogues(t, "s20-*.txt") }
func TestS21ClosingAndEcho(t *testing.T)    { dialogues(t, "s21-*.txt") }

func dialogues(t *testing.T, pattern string) {
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogues", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txt")
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, mode := range []string{"Read", "WriteTo"} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				certificate()
				synctest.Test(t, func(t *testing.T) { play(t, string(text), mode == "WriteTo") })
			})
		}
	}
}

func play(t *testing.T, script string, byWriteTo bool) {
	c := open()
	list := []*connector.Connector{c}
	var policy smtpd.Policy
	noAuth, from := false, "192.0.2.7:40000"
	lines := strings.Split(strings.TrimRight(script, "\n"), "\n")
	for len(lines) > 0 {
		f := strings.Fields(lines[0])
		if len(f) > 0 && f[0] == "from" {
			from = f[1]
		} else if len(f) > 0 && f[0] != "#" && f[0] != "set" {
			break
		}
		if len(f) > 0 && f[0] == "set" {
			switch f[1] {
			case "Proxies":
				policy.Proxies = []connector.Range{connector.MustParseRange(f[2])}
			case "XClient":
				policy.XClient = []connector.Range{connector.MustParseRange(f[2])}
			case "NoAuth":
				noAuth = true
			case "Relay": // a second connector, for these clients
				list = append(list, relaying(f[2]))
			default:
				set(t, c, f[1], strings.Join(f[2:], " "))
			}
		}
		lines = lines[1:]
	}
	r := startWith(t, func(cfg *smtpd.Config) {
		cfg.Policy.Proxies, cfg.Policy.XClient = policy.Proxies, policy.XClient
		if noAuth {
			cfg.Policy.Auth = nil
		}
	}, list...)
	defer r.stop()
	r.backend.byWriteTo = byWriteTo
	p := r.dial(from)
	defer p.close()
	took, at := 0, ""
	defer func() {
		if t.Failed() {
			t.Logf("at %q", at)
		}
	}()
	for _, line := range lines {
		at = line
		word, arg, _ := strings.Cut(line, " ")
		switch word {
		case "", "#":
		case "C:":
			p.cmd(arg)
		case ">":
			p.send(unquote(t, arg))
		case "repeat":
			n, text := count(t, arg)
			p.send(strings.Repeat(unquote(t, text), n))
		case "S:":
			p.expect(arg)
		case "S+":
			n, text := count(t, arg)
			for range n {
				p.expect(text)
			}
		case "EHLO":
			p.ehlo()
		case "tls":
			p.startTLS()
		case "wait":
			d, err := time.ParseDuration(arg)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(d)
		case "silent":
			synctest.Wait()
			_ = p.raw.SetReadDeadline(time.Now().Add(time.Millisecond))
			if s, err := p.read(); !os.IsTimeout(err) {
				t.Fatalf("got %q (%v), want silence", s, err)
			}
			_ = p.raw.SetReadDeadline(time.Time{})
		case "hangup":
			p.pending.Wait()
			p.close()
		case "close":
			p.expectClose()
		case "took":
			synctest.Wait()
			f := strings.SplitN(arg, " | ", 3)
			list := r.backend.taken()
			if took == len(list) {
				t.Fatalf("no message for %q", line)
			}
			m := list[took]
			took++
			var to []string
			for _, rc := range m.mail.Recipients {
				to = append(to, rc.To.String())
			}
			if got := "<" + m.mail.From.String() + ">"; got != f[0] {
				t.Errorf("sender %s, want %s", got, f[0])
			}
			if got := strings.Join(to, ","); got != f[1] {
				t.Errorf("recipients %s, want %s", got, f[1])
			}
			if want := unquote(t, f[2]); m.body != want {
				t.Errorf("content %q, want %q", m.body, want)
			}
		case "took-long":
			synctest.Wait()
			if n := strconv.Itoa(len(r.backend.taken()[took].body)); n != arg {
				t.Errorf("content of %s octets, want %s", n, arg)
			}
			took++
		default:
			t.Fatalf("unknown line %q", line)
		}
	}
	p.close()
	synctest.Wait()
	if n := len(r.backend.taken()); n != took {
		t.Errorf("the backend has %d messages, want %d: %v", n, took, r.backend.taken())
	}
	if n := r.server.Admitted(); n != 0 {
		t.Errorf("%d sessions still count", n)
	}
}

// relaying returns a connector that lets these clients relay.
func relaying(ranges string) *connector.Connector {
	c := open()
	c.Name, c.FQDN = "relay", "relay.example.test"
	c.RemoteIPRanges = []connector.Range{connector.MustParseRange(ranges)}
	c.Grants = []connector.Grant{
		{Principal: connector.Anonymous, Rights: connector.AcceptAnyRecipient},
	}
	return c
}

func count(t *testing.T, s string) (int, string) {
	num, rest, _ := strings.Cut(s, " ")
	n, err := strconv.Atoi(num)
	if err != nil {
		t.Fatal(err)
	}
	return n, rest
}

func unquote(t *testing.T, s string) string {
	u, err := strconv.Unquote(`"` + s + `"`)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return u
}

// set sets a field of a connector by its name.
func set(t *testing.T, c *connector.Connector, field, value string) {
	t.Helper()
	number := func() int {
		n, err := strconv.Atoi(value)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	duration := func() time.Duration {
		d, err := time.ParseDuration(value)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	switch field {
	case "RequireTLS":
		c.RequireTLS = value == "true"
	case "ImplicitTLS":
		c.ImplicitTLS = value == "true"
	case "RepairLineEndings":
		c.RepairLineEndings = value == "true"
	case "Banner":
		c.Banner = value
	case "SuppressedKeywords":
		c.SuppressedKeywords = strings.Fields(value)
	case "Auth":
		c.AuthMechanisms = map[string]connector.AuthMechanism{
			"none": 0, "plain": connector.BasicAuth, "tls": connector.TLS,
			"server":           connector.TLS | connector.ExchangeServer,
			"server-and-plain": connector.TLS | connector.ExchangeServer | connector.BasicAuth,
		}[value]
		if c.AuthMechanisms.Has(connector.ExchangeServer) {
			c.FQDN = ""
		}
	case "Groups":
		c.PermissionGroups = map[string]connector.PermissionGroup{
			"users": connector.ExchangeUsers, "anonymous": connector.AnonymousUsers,
			"servers": connector.ExchangeServers,
		}[value]
	case "MaxMessageBytes":
		c.Limits.MaxMessageBytes = int64(number())
	case "MaxRecipients":
		c.Limits.MaxRecipients = number()
	case "MaxProtocolErrors":
		c.Limits.MaxProtocolErrors = number()
	case "MaxLogonFailures":
		c.Limits.MaxLogonFailures = number()
	case "InactivityTimeout":
		c.Limits.InactivityTimeout = duration()
	case "ConnectionTimeout":
		c.Limits.ConnectionTimeout = duration()
	case "Tarpit":
		c.Limits.Tarpit = duration()
	case "AuthTarpit":
		c.Limits.AuthTarpit = duration()
	default:
		t.Fatal(fmt.Errorf("unknown field %q", field))
	}
}
