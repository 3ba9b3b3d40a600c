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

// TestDialogue plays the dialogues of testdata: see [wiretest]. At the top of
// one may stand what is set, and at its end what the backend got:
//
//	set <field> <value>     a field of the connector or the settings
//	from <address>          the client's address and port
//	took <sender> | <recipients> | <Go string>  the next message
//	took-long <n>           the same, for content of n octets
//
// Every message must have been named by took.
func TestDialogue(t *testing.T) { dialogues(t, "[a-z][a-z]*.txt") }

// The rows of weaknesses of go-smtp that the relay does not have. S13, S22 and
// S23 have tests of their own.
func TestTimeoutInContent(t *testing.T)     { dialogues(t, "s01-*.txt") }
func TestContentCutShort(t *testing.T)      { dialogues(t, "s02-*.txt") }
func TestMalformedChunk(t *testing.T)       { dialogues(t, "s03-*.txt") }
func TestQuotedLocalPart(t *testing.T)      { dialogues(t, "s04-*.txt") }
func TestBadAddresses(t *testing.T)         { dialogues(t, "s05-*.txt") }
func TestPartialLine(t *testing.T)          { dialogues(t, "s06-*.txt") }
func TestSecondMail(t *testing.T)           { dialogues(t, "s07-*.txt") }
func TestErrorTextsStayInside(t *testing.T) { dialogues(t, "s08-*.txt") }
func TestBareLineEnds(t *testing.T)         { dialogues(t, "s09-*.txt") }
func TestStartTLS(t *testing.T)             { dialogues(t, "s10-*.txt") }
func TestCommandsAreCounted(t *testing.T)   { dialogues(t, "s11-*.txt") }
func TestPanicInDialogue(t *testing.T)      { dialogues(t, "s12-*.txt") }
func TestClocks(t *testing.T)               { dialogues(t, "s14-*.txt") }
func TestLineLengths(t *testing.T)          { dialogues(t, "s15-*.txt") }
func TestHandshakeDeadline(t *testing.T)    { dialogues(t, "s16-*.txt") }
func TestChunkAfterReset(t *testing.T)      { dialogues(t, "s17-*.txt") }
func TestSizeLimit(t *testing.T)            { dialogues(t, "s18-*.txt") }
func TestCarriageReturns(t *testing.T)      { dialogues(t, "s19-*.txt") }
func TestReplyCodes(t *testing.T)           { dialogues(t, "s20-*.txt") }
func TestClosingAndEcho(t *testing.T)       { dialogues(t, "s21-*.txt") }

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

// stage is what the top of a dialogue sets.
type stage struct {
	connectors       []*connector.Connector
	proxies, xclient []connector.Range
	noAuth           bool
	from             string
}

// prepared reads the top of a dialogue and returns the rest.
func prepared(t *testing.T, dialogue string) (*stage, []string) {
	s := &stage{connectors: []*connector.Connector{open()}, from: "192.0.2.7:40000"}
	lines := strings.Split(strings.TrimRight(dialogue, "\n"), "\n")
	for i, line := range lines {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || f[0] == "#":
		case f[0] == "from":
			s.from = f[1]
		case f[0] == "set":
			s.set(t, f[1], strings.Join(f[2:], " "))
		default:
			return s, lines[i:]
		}
	}
	return s, nil
}

func (s *stage) set(t *testing.T, field, value string) {
	switch field {
	case "Proxies":
		s.proxies = []connector.Range{connector.MustParseRange(value)}
	case "XClient":
		s.xclient = []connector.Range{connector.MustParseRange(value)}
	case "NoAuth":
		s.noAuth = true
	case "Relay": // a second connector, for these clients
		s.connectors = append(s.connectors, relaying(value))
	default:
		set(t, s.connectors[0], field, value)
	}
}

func (s *stage) start(t *testing.T) *rig {
	return startWith(t, func(cfg *smtpd.Config) {
		cfg.Settings.Proxies, cfg.Settings.XClient = s.proxies, s.xclient
		if s.noAuth {
			cfg.Settings.Auth = nil
		}
	}, s.connectors...)
}

func play(t *testing.T, dialogue string, byWriteTo bool) {
	s, lines := prepared(t, dialogue)
	r := s.start(t)
	defer r.stop()
	r.backend.byWriteTo = byWriteTo
	c := r.dial(s.from)
	defer c.Close()
	took := 0
	for _, line := range lines {
		if word, arg, _ := strings.Cut(line, " "); strings.HasPrefix(word, "took") {
			r.took(took, word, arg)
			took++
		} else if err := c.Do(line); err != nil {
			t.Fatalf("at %q: %v", line, err)
		}
	}
	c.Close()
	synctest.Wait()
	if n := len(r.backend.taken()); n != took {
		t.Errorf("the backend has %d messages, want %d: %v", n, took, r.backend.taken())
	}
	if n := r.server.Admitted(); n != 0 {
		t.Errorf("%d sessions still count", n)
	}
}

// took compares a message that the backend got.
func (r *rig) took(i int, word, want string) {
	r.t.Helper()
	synctest.Wait()
	list := r.backend.taken()
	if i >= len(list) {
		r.t.Fatalf("no message for %q", want)
	}
	m := list[i]
	if word == "took-long" {
		if n := strconv.Itoa(len(m.body)); n != want {
			r.t.Errorf("content of %s octets, want %s", n, want)
		}
		return
	}
	var to []string
	for _, rc := range m.mail.Recipients {
		to = append(to, rc.To.String())
	}
	f := strings.SplitN(want, " | ", 3)
	if got := "<" + m.mail.From.String() + ">"; got != f[0] {
		r.t.Errorf("sender %s, want %s", got, f[0])
	}
	if got := strings.Join(to, ","); got != f[1] {
		r.t.Errorf("recipients %s, want %s", got, f[1])
	}
	if want := unquote(r.t, f[2]); m.body != want {
		r.t.Errorf("content %q, want %q", m.body, want)
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

func unquote(t testing.TB, s string) string {
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
