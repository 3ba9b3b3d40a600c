package peertest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/mail"
	"net/netip"
	"net/textproto"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/domains"
	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

// picky is a session of a next hop that refuses by the local part.
type picky struct{ session }

func (p *picky) Rcpt(to string, o *smtp.RcptOptions) error {
	switch local, _, _ := strings.Cut(to, "@"); local {
	case "bad", "b\u00e4d":
		return &smtp.SMTPError{
			Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "User unknown",
		}
	case "full", "v\u00f6ll":
		return &smtp.SMTPError{
			Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "Mailbox full",
		}
	}
	return p.session.Rcpt(to, o)
}

func (p *picky) Data(r io.Reader) error {
	if strings.HasPrefix(p.to[0], "content") {
		return &smtp.SMTPError{
			Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "Rejected as spam",
		}
	}
	return p.session.Data(r)
}

// server is a next hop with such sessions.
func server(t *testing.T, s func() smtp.Session) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return s(), nil
	}))
	server.Domain, server.EnableSMTPUTF8 = "picky.example.test", true
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	return l.Addr().String()
}

// reporter is the address of a relay that gives mail up after seconds, and what
// it sends.
func reporter(t *testing.T) (addr string, next *sink) {
	t.Helper()
	next = newSink(t)
	apps := connector.AnonymousRelay("apps", connector.MustParseRange("127.0.0.1"))
	apps.Bindings = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	to := func(name, domain, host string) *connector.SendConnector {
		return &connector.SendConnector{
			Name: name, NextHop: connector.NextHop{Hosts: []string{host}},
			AddressSpaces: []connector.AddressSpace{{Domain: domain}},
		}
	}
	r, err := relay.New(relay.Config{
		Hostname: "relay.example.test", Spool: memspool.New(nil),
		Connectors: []*connector.Connector{apps},
		AcceptedDomains: []domains.AcceptedDomain{{
			Domain: "example.test", Recipients: domains.StaticRecipients("alice"),
		}},
		Mailboxes: delivery.Maildir(t.TempDir()),
		SendConnectors: []*connector.SendConnector{
			to("out", "*", next.addr),
			to("picky", "picky.test", server(t, func() smtp.Session {
				return &picky{session{sink: next}}
			})),
			to("seven", "seven.test", newSevenSink(t).addr),
			to("dead", "dead.test", "127.0.0.1:1"), // nobody listens there
		},
		Retry: delivery.Retry{
			Schedule: []time.Duration{time.Second},
			// Far apart, so that the first report is that of a delay.
			Expires: 12 * time.Second, DelayNotification: time.Second,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, r)
	return r.Addrs("apps")[0].String(), next
}

// outcome is what a report says of a recipient.
type outcome struct{ Recipient, Action, Status string }

// kind is a message and the reports that it brings.
type kind struct {
	name    string
	to      []string
	utf8    bool
	success bool
	want    [][]outcome // of each report, in order
}

var kinds = []kind{
	{
		name: "rcpt", to: []string{"bad@picky.test"},
		want: [][]outcome{
			{{"bad@picky.test", "failed", "5.1.1"}},
		},
	},
	{
		name: "data", to: []string{"content@picky.test"},
		want: [][]outcome{
			{{"content@picky.test", "failed", "5.7.1"}},
		},
	},
	{
		name: "mixed", to: []string{"good@picky.test", "bad@picky.test"},
		want: [][]outcome{
			{{"bad@picky.test", "failed", "5.1.1"}},
		},
	},
	{
		name: "late", to: []string{"full@picky.test"},
		want: [][]outcome{
			{{"full@picky.test", "delayed", "4.2.2"}},
			{{"full@picky.test", "failed", "4.4.7"}},
		},
	},
	{
		name: "dead", to: []string{"x@dead.test"},
		want: [][]outcome{
			{{"x@dead.test", "delayed", "4.4.1"}},
			{{"x@dead.test", "failed", "4.4.7"}},
		},
	},
	{
		name: "delivered", to: []string{"alice@example.test"}, success: true,
		want: [][]outcome{
			{{"alice@example.test", "delivered", "2.0.0"}},
		},
	},
	{
		name: "relayed", to: []string{"good@picky.test"}, success: true,
		want: [][]outcome{
			{{"good@picky.test", "relayed", "2.0.0"}},
		},
	},
	{
		name: "ascii", to: []string{"bad@picky.test"}, utf8: true,
		want: [][]outcome{
			{{"bad@picky.test", "failed", "5.1.1"}},
		},
	},
	{
		name: "rcpt-\u00fc", to: []string{"b\u00e4d@picky.test"}, utf8: true,
		want: [][]outcome{
			{{"b\u00e4d@picky.test", "failed", "5.1.1"}},
		},
	},
	{
		name: "data-\u00fc", to: []string{"content.\u00fc@picky.test"}, utf8: true,
		want: [][]outcome{
			{{"content.\u00fc@picky.test", "failed", "5.7.1"}},
		},
	},
	{
		name: "late-\u00fc", to: []string{"v\u00f6ll@picky.test"}, utf8: true,
		want: [][]outcome{
			{{"v\u00f6ll@picky.test", "delayed", "4.2.2"}},
			{{"v\u00f6ll@picky.test", "failed", "4.4.7"}},
		},
	},
	{
		name: "relayed-\u00fc", to: []string{"g\u00fct@picky.test"}, utf8: true, success: true,
		want: [][]outcome{
			{{"g\u00fct@picky.test", "relayed", "2.0.0"}},
		},
	},
	{
		name: "seven-\u00fc", to: []string{"\u00fc@seven.test"}, utf8: true,
		want: [][]outcome{
			{{"\u00fc@seven.test", "failed", "5.6.7"}},
		},
	},
}

// TestReports has others read each kind of report that the relay makes. Neither
// knows the types of RFC 6533, which stand where something is beyond ASCII:
// there they must find nobody, and the standard library has to do.
func TestReports(t *testing.T) {
	t.Parallel()
	addr, next := reporter(t)
	for i := range kinds {
		k := &kinds[i]
		l := letter{from: k.from(), to: k.to, mail: smtp.MailOptions{UTF8: k.utf8}}
		if k.success {
			l.rcpt.Notify = []smtp.DSNNotify{smtp.DSNNotifySuccess, smtp.DSNNotifyFailure}
		}
		l.content = message(l.from, k.to[0], 100)
		post(t, addr, l)
	}
	dir := t.TempDir()
	want := map[string][]outcome{}
	var files []string
	for i := range kinds {
		k := &kinds[i]
		for n, w := range k.want {
			m := next.next(t, k.from())
			file := filepath.Join(dir, fmt.Sprintf("%s.%d", k.name, n))
			if got := statusOf(t, m.content); !slices.Equal(got, w) {
				t.Errorf("%s: %v, want %v", filepath.Base(file), got, w)
			}
			if !k.plain() {
				w = nil
			}
			mailtest.Write(t, file, string(m.content))
			want[file], files = w, append(files, file)
		}
	}
	t.Run("Sisimai", func(t *testing.T) { testSisimai(t, files, want) })
	t.Run("flufl.bounce", func(t *testing.T) { testFlufl(t, files, want) })
}

func testSisimai(t *testing.T, files []string, want map[string][]outcome) {
	got := map[string][]outcome{}
	for _, r := range readReports[struct {
		outcome
		File, Reply string
	}](t, files, "perl", "testdata/reports.pl") {
		if r.Reply == "452" && r.Action == "failed" {
			// It goes by the code in the host's reply: why it was late.
			if r.Status != "4.2.2" {
				t.Errorf("late: %+v", r)
			}
			r.Status = "4.4.7"
		}
		got[r.File] = append(got[r.File], r.outcome)
	}
	for _, file := range files {
		if !slices.Equal(got[file], want[file]) {
			t.Errorf("%s: %v, want %v", filepath.Base(file), got[file], want[file])
		}
	}
}

func testFlufl(t *testing.T, files []string, want map[string][]outcome) {
	list := readReports[struct {
		File                 string
		Temporary, Permanent []string
	}](t, files, "/usr/bin/python3", "testdata/reports.py")
	if len(list) != len(files) {
		t.Errorf("%d of %d were read", len(list), len(files))
	}
	for _, r := range list {
		var temporary, permanent []string
		for _, o := range want[r.File] {
			switch o.Action {
			case "failed":
				permanent = append(permanent, o.Recipient)
			case "delayed":
				temporary = append(temporary, o.Recipient)
			}
		}
		if !slices.Equal(r.Temporary, temporary) || !slices.Equal(r.Permanent, permanent) {
			t.Errorf("%s: %q for now, %q for good; want %q and %q", filepath.Base(r.File),
				r.Temporary, r.Permanent, temporary, permanent)
		}
	}
}

// plain tells that nothing in the reports is beyond ASCII.
func (k *kind) plain() bool {
	return !strings.ContainsFunc(k.name, func(c rune) bool { return c > '~' })
}

// from is the sender, to whom the reports go.
func (k *kind) from() string { return k.name + "@sender.test" }

// statusOf reads the recipients of a report with the standard library.
func statusOf(t *testing.T, content []byte) (list []outcome) {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	mediaType, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/report" {
		t.Fatalf("%s, %v", mediaType, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for range 2 {
		p, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(p.Header.Get("Content-Type"), "delivery-status") {
			continue
		}
		fields := textproto.NewReader(bufio.NewReader(p))
		for {
			h, err := fields.ReadMIMEHeader()
			if to := h.Get("Final-Recipient"); to != "" {
				_, to, _ = strings.Cut(to, "; ")
				list = append(list, outcome{to, h.Get("Action"), h.Get("Status")})
			}
			if err != nil {
				return list
			}
		}
	}
	return list
}

// readReports runs a reader, which writes lines of JSON.
func readReports[T any](t *testing.T, files []string, name string, args ...string) (list []T) {
	t.Helper()
	text, err := output(t.Context(), nil, name, append(args, files...)...)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for line := range strings.Lines(text) {
		var v T
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		list = append(list, v)
	}
	return list
}
