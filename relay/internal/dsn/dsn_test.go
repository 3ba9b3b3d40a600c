package dsn_test

import (
	"bufio"
	"bytes"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/internal/dsn"
	"github.com/postern-mail/postern/relay/spool"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const original = "Received: from app ([192.0.2.1])\r\n\tby relay.example.com; Mon, 2 Jan 2006 " +
	"15:04:05 +0000\r\n" +
	"From: App <app@example.com>\r\n" +
	"To: bob@example.net\r\n" +
	"X-MS-Exchange-Organization-AuthAs: Internal\r\n" +
	"X-Postern-Organization-Route: x\r\n" +
	"X-MS-Exchange-Forest-A: y\r\n" +
	"Bcc: eve@example.net\r\n" +
	"Message-ID: <1@example.com>\r\n" +
	"Subject: Hello\r\n" +
	"\r\n" +
	"Hello Bob\r\n"

var at = time.Date(2006, 1, 2, 15, 4, 5, 0, time.UTC)

// report is a report on a failed recipient.
func report() dsn.Report {
	return dsn.Report{
		ID: "report1", Hostname: "relay.example.com", From: "postmaster@example.com",
		To: "app@example.com", Date: at.Add(time.Hour),
		OriginalID: "original1", Arrival: at, EnvelopeID: "env 1", Size: int64(len(original)),
		Recipients: []dsn.Recipient{{
			Address: "bob@example.net", Original: "rfc822;robert@example.net", Action: dsn.Failed,
			Status:      "5.1.1",
			Host:        "mx.example.net [192.0.2.7]:25",
			Reply:       delivery.Reply{Code: 550, Enhanced: "5.1.1", Text: "No such user"},
			LastAttempt: at.Add(time.Minute),
		}},
	}
}

type part struct {
	header textproto.MIMEHeader
	text   string
}

type parsed struct {
	header mail.Header
	parts  []part
	body   string // what Write returned
	raw    string
}

// write writes r and reads it back.
func write(t testing.TB, r *dsn.Report, original io.Reader) parsed {
	t.Helper()
	var b bytes.Buffer
	body, err := r.Write(&b, original)
	if err != nil {
		t.Fatal(err)
	}
	p := parsed{body: string(body), raw: b.String()}
	m, err := mail.ReadMessage(&b)
	if err != nil {
		t.Fatalf("%v in\n%s", err, p.raw)
	}
	p.header = m.Header
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("Content-Type %q: %v", m.Header.Get("Content-Type"), err)
	}
	for mr := multipart.NewReader(m.Body, params["boundary"]); ; {
		q, err := mr.NextRawPart()
		if err == io.EOF {
			return p
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, p.raw)
		}
		text, err := io.ReadAll(q)
		if err != nil {
			t.Fatal(err)
		}
		p.parts = append(p.parts, part{q.Header, string(text)})
	}
}

// groups reads the groups of fields of a delivery-status part.
func groups(t testing.TB, text string) []textproto.MIMEHeader {
	t.Helper()
	r := textproto.NewReader(bufio.NewReader(strings.NewReader(text + "\r\n")))
	var list []textproto.MIMEHeader
	for {
		g, err := r.ReadMIMEHeader()
		if len(g) > 0 {
			list = append(list, g)
		}
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
}

func TestGolden(t *testing.T) {
	with := func(f func(r *dsn.Report)) dsn.Report {
		r := report()
		f(&r)
		return r
	}
	for name, r := range map[string]dsn.Report{
		"failed": report(),
		"mixed": with(func(r *dsn.Report) {
			r.Return = "HDRS"
			r.Recipients = append(r.Recipients,
				dsn.Recipient{
					Address: "carol@example.org", Action: dsn.Failed, Status: "4.4.1",
					Reply:       delivery.Reply{Text: "No host of example.org could be reached"},
					LastAttempt: at,
				},
				dsn.Recipient{Address: "dan@example.org", Action: dsn.Delayed, Status: "4.2.2",
					Host: "mx.example.org [192.0.2.8]:25",
					Reply: delivery.Reply{Code: 452, Enhanced: "4.2.2", Text: "The mailbox is " +
						"over its quota and takes no more " +
						"messages until something is deleted"}, LastAttempt: at,
					WillRetryUntil: at.Add(48 * time.Hour)},
				dsn.Recipient{Address: "erin@example.org", Action: dsn.Delivered},
				dsn.Recipient{Address: "frank@example.org", Action: dsn.Relayed},
				dsn.Recipient{Address: "list@example.org", Action: dsn.Expanded},
			)
		}),
		"utf8": with(func(r *dsn.Report) {
			r.UTF8, r.To = true, "björn@exämple.com"
			r.Recipients[0] = dsn.Recipient{Address: "жук@example.net",
				Original: "utf-8;жук@example.net", Action: dsn.Failed, Status: "5.1.1",
				Host: "mx.example.net", Reply: delivery.Reply{
					Code: 550, Enhanced: "5.1.1", Text: "Gibt's nicht: жук",
				}}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			r.SetBoundary("0123456789abcdef0123456789abcdef")
			got := write(t, &r, strings.NewReader(original)).raw
			if strings.Count(got, "\n") != strings.Count(got, "\r\n") {
				t.Error("bare LF")
			}
			got = strings.ReplaceAll(got, "\r\n", "\n")
			file := filepath.Join("testdata", name+".eml")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("differs from %s:\n%s", file, got)
			}
		})
	}
}

func TestReport(t *testing.T) {
	r := report()
	p := write(t, &r, strings.NewReader(original))
	for name, want := range map[string]string{
		"From": "Mail Delivery System <postmaster@example.com>", "To": "<app@example.com>",
		"Message-Id":     "<report1@relay.example.com>",
		"Auto-Submitted": "auto-replied", "Mime-Version": "1.0", "In-Reply-To": "<1@example.com>",
		"Date": "Mon, 2 Jan 2006 16:04:05 +0000",
	} {
		if got := p.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if len(p.parts) != 3 || p.body != "7BIT" {
		t.Fatalf("%d parts, BODY=%s", len(p.parts), p.body)
	}
	for i, want := range []string{
		"text/plain; charset=us-ascii", "message/delivery-status", "message/rfc822",
	} {
		if got := p.parts[i].header.Get("Content-Type"); got != want {
			t.Errorf("part %d: %q", i, got)
		}
	}
	g := groups(t, p.parts[1].text)
	if len(g) != 2 {
		t.Fatalf("%d groups", len(g))
	}
	for _, c := range []struct {
		group      int
		name, want string
	}{
		{0, "Reporting-Mta", "dns; relay.example.com"}, {0, "Original-Envelope-Id", "env 1"},
		{0, "Arrival-Date", "Mon, 2 Jan 2006 15:04:05 +0000"},
		{0, "X-Postern-Queue-Id", "original1"},
		{1, "Original-Recipient", "rfc822; robert@example.net"},
		{1, "Final-Recipient", "rfc822; bob@example.net"}, {1, "Action", "failed"},
		{1, "Status", "5.1.1"}, {1, "Remote-Mta", "dns; mx.example.net"},
		{1, "Diagnostic-Code", "smtp; 550 5.1.1 No such user"},
		{1, "Last-Attempt-Date", "Mon, 2 Jan 2006 15:05:05 +0000"}, {1, "Will-Retry-Until", ""},
	} {
		if got := g[c.group].Get(c.name); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	m, err := mail.ReadMessage(strings.NewReader(p.parts[2].text))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(m.Body)
	if string(body) != "Hello Bob\r\n" || m.Header.Get("Subject") != "Hello" ||
		m.Header.Get("Received") == "" {
		t.Errorf("original: %q", p.parts[2].text)
	}
	for name := range m.Header {
		if strings.HasPrefix(name, "X-") || name == "Bcc" {
			t.Errorf("%s is in the original attached", name)
		}
	}
}

func TestSubject(t *testing.T) {
	for subject, actions := range map[string][]dsn.Action{
		"Your message could not be delivered": {dsn.Failed, dsn.Failed},
		"Your message could not be delivered to some recipients": {
			dsn.Delivered, dsn.Failed, dsn.Delayed,
		},
		"Your message is delayed":                     {dsn.Delayed},
		"Your message is delayed for some recipients": {dsn.Relayed, dsn.Delayed},
		"Your message was passed on":                  {dsn.Delivered, dsn.Relayed},
		"Your message was delivered":                  {dsn.Delivered, dsn.Expanded},
	} {
		r := report()
		r.Recipients = nil
		for _, a := range actions {
			r.Recipients = append(r.Recipients, dsn.Recipient{Address: "x@example.net", Action: a})
		}
		if got := write(t, &r, nil).header.Get("Subject"); got != subject {
			t.Errorf("%v: %q, want %q", actions, got, subject)
		}
	}
}

func TestReturn(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(r *dsn.Report)
		kind string // Content-Type of the third part
	}{
		{"default, small", func(r *dsn.Report) {}, "message/rfc822"},
		{"default, at the limit", func(r *dsn.Report) {
			r.Size = dsn.MaxDefault
		}, "message/rfc822"},
		{"default, over", func(r *dsn.Report) {
			r.Size = dsn.MaxDefault + 1
		}, "text/rfc822-headers"},
		{"default, size unknown", func(r *dsn.Report) { r.Size = 0 }, "text/rfc822-headers"},
		{"FULL, at the limit", func(r *dsn.Report) {
			r.Return, r.Size = "FULL", dsn.MaxFull
		}, "message/rfc822"},
		{"FULL, over", func(r *dsn.Report) {
			r.Return, r.Size = "FULL", dsn.MaxFull+1
		}, "text/rfc822-headers"},
		{"HDRS", func(r *dsn.Report) { r.Return = "HDRS" }, "text/rfc822-headers"},
		{"FULL, delayed", func(r *dsn.Report) {
			r.Return, r.Recipients[0].Action = "FULL", dsn.Delayed
		}, "text/rfc822-headers"},
		{"FULL, binary", func(r *dsn.Report) {
			r.Return, r.Body = "FULL", "BINARYMIME"
		}, "text/rfc822-headers"},
		{"UTF8", func(r *dsn.Report) { r.UTF8, r.To = true, "\u00fc@a.test" }, "message/global"},
		{
			"UTF8, HDRS",
			func(r *dsn.Report) { r.UTF8, r.Return, r.To = true, "HDRS", "\u00fc@a.test" },
			"message/global-headers",
		},
		{
			"UTF8, for an address",
			func(r *dsn.Report) { r.UTF8, r.Recipients[0].Address = true, "\u00fc@a.test" },
			"message/global",
		},
		{
			"UTF8, for a reply",
			func(r *dsn.Report) {
				r.UTF8, r.Recipients[0].Reply = true, delivery.Reply{Code: 550, Text: "\u00fc"}
			},
			"message/global",
		},
		{"UTF8 without need", func(r *dsn.Report) { r.UTF8 = true }, "message/rfc822"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := report()
			c.set(&r)
			p := write(t, &r, strings.NewReader(original))
			if got := p.parts[2].header.Get("Content-Type"); got != c.kind {
				t.Errorf("%s, want %s", got, c.kind)
			}
			if r.UTF8 != strings.HasPrefix(c.kind, "message/global") {
				t.Errorf("UTF8 %v", r.UTF8)
			}
			whole := c.kind == "message/rfc822" || c.kind == "message/global"
			if strings.Contains(p.parts[2].text, "Hello Bob") != whole ||
				!strings.Contains(p.parts[2].text, "Subject: Hello\r\n") {
				t.Errorf("%q", p.parts[2].text)
			}
		})
	}
}

func TestWanted(t *testing.T) {
	const (
		never, success, failure, delay = spool.NotifyNever, spool.NotifySuccess,
			spool.NotifyFailure, spool.NotifyDelay
	)
	for _, c := range []struct {
		notify spool.Notify
		want   string
	}{
		{0, "failed delayed"},
		{never, ""},
		{never | failure, ""},
		{failure, "failed"},
		{delay, "delayed"},
		{success, "delivered relayed expanded"},
		{success | failure | delay, "failed delayed delivered relayed expanded"},
	} {
		var got []string
		for _, a := range []dsn.Action{
			dsn.Failed, dsn.Delayed, dsn.Delivered, dsn.Relayed, dsn.Expanded, "other",
		} {
			if dsn.Wanted("app@example.com", c.notify, a) {
				got = append(got, string(a))
			}
			if dsn.Wanted("", c.notify, a) {
				t.Errorf("null sender: %d %s", c.notify, a)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%d: %q, want %q", c.notify, got, c.want)
		}
	}
}

func TestStatusIsWellFormed(t *testing.T) {
	for _, c := range []struct {
		in     string
		action dsn.Action
		want   string
	}{
		{"5.1.1", dsn.Failed, "5.1.1"}, {"4.4.1", dsn.Failed, "4.4.1"},
		{"5.7.509", dsn.Failed, "5.7.509"},
		{"", dsn.Failed, "5.0.0"}, {"", dsn.Delayed, "4.0.0"}, {"", dsn.Relayed, "2.0.0"},
		{"5.1", dsn.Failed, "5.0.0"}, {"3.1.1", dsn.Failed, "5.0.0"},
		{"5.1.1\r\nX: y", dsn.Failed, "5.0.0"}, {"5.1.1000", dsn.Failed, "5.0.0"},
		{".1.1", dsn.Failed, "5.0.0"},
	} {
		r := report()
		r.Recipients[0].Status, r.Recipients[0].Action = c.in, c.action
		if got := groups(t, write(t, &r, nil).parts[1].text)[1].Get("Status"); got != c.want {
			t.Errorf("%q %s: %q, want %q", c.in, c.action, got, c.want)
		}
	}
}
