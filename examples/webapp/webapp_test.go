package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay/spool/memspool"
	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
)

// start runs the application and returns the address of its pages.
func start(t *testing.T) (*app, string) {
	t.Helper()
	a, err := newApp(memspool.New(nil), t.TempDir(), "127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.relay.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return a, l.Addr().String()
}

// arrived waits for a message with a subject.
func (a *app) arrived(t *testing.T, subject string) *message {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range int(mailtest.Patience / (5 * time.Millisecond)) {
		list, _ := a.inbox.newest()
		if i := slices.IndexFunc(list, func(m *message) bool {
			return m.Subject == subject
		}); i >= 0 {
			return list[i]
		}
		<-tick.C
	}
	t.Fatalf("no message %q", subject)
	return nil
}

// TestLines pastes the printed lines into a shell.
func TestLines(t *testing.T) {
	mailtest.Programs(t)
	a, web := start(t)
	for _, l := range a.lines(web) {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", l.command).CombinedOutput()
		_, subject, _ := strings.Cut(l.command, "ubject")
		switch {
		case l.refused != "" && (err == nil || !strings.Contains(string(out), l.refused)):
			t.Errorf("%s: not refused with %s: %v\n%s", l.what, l.refused, err, out)
		case l.refused == "" && err != nil:
			t.Errorf("%s: %v\n%s", l.what, err, out)
		case l.refused == "":
			word := strings.FieldsFunc(subject, func(r rune) bool {
				return strings.ContainsRune("=: '\\", r)
			})[0]
			a.arrived(t, word)
		}
	}
}

func TestBrowser(t *testing.T) {
	mailtest.Programs(t)
	_, web := start(t)
	options := append([]chromedp.ExecAllocatorOption{
		chromedp.ExecPath("/usr/bin/chromium"),
		chromedp.WindowSize(1200, 800),
	}, chromedp.NoFirstRun, chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	defer cancel()
	ctx, cancel = chromedp.NewContext(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	defer cancel()
	defer func() { _ = chromedp.Cancel(ctx) }() // waits for the browser to end and removes its data

	const subject = "Grüße <b>aus</b> dem Browser"
	const body = "First line\n<script>document.title = 'taken over'</script>"
	var title, note, text, events string
	err := chromedp.Run(ctx,
		chromedp.Navigate("http://"+web+"/"),
		chromedp.SetValue(`input[name=to]`, "somebody@example.net", chromedp.ByQuery),
		chromedp.SendKeys(`input[name=subject]`, subject, chromedp.ByQuery),
		chromedp.SendKeys(`textarea[name=text]`, body, chromedp.ByQuery),
		chromedp.Click(`form button`, chromedp.ByQuery),
		chromedp.Text(`p.note.good`, &note, chromedp.ByQuery),
		// The page finds the message by itself.
		chromedp.WaitVisible(`#inbox .messages a`, chromedp.ByQuery),
		screenshot(t, "inbox"),
		chromedp.Click(`#inbox .messages a`, chromedp.ByQuery),
		chromedp.Text(`#message pre`, &text, chromedp.ByQuery),
		chromedp.Text(`#inbox table`, &events, chromedp.ByQuery),
		chromedp.Title(&title),
		screenshot(t, "message"),
	)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(note, "queue id") || strings.TrimSpace(text) != body ||
		!strings.HasPrefix(title, subject) ||
		!strings.Contains(events, "delivered") {
		t.Errorf("note %q\ntext %q\ntitle %q\nevents %q", note, text, title, events)
	}
}

// screenshot keeps a picture when the tests keep their artifacts (go test
// -artifacts).
func screenshot(t *testing.T, name string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		var png []byte
		if err := chromedp.FullScreenshot(&png, 100).Do(ctx); err != nil {
			return err
		}
		mailtest.Write(t, t.ArtifactDir()+"/"+name+".png", string(png))
		return nil
	})
}

func TestForm(t *testing.T) {
	a, _ := start(t)
	pages := a.pages()
	post := func(f form, header ...string) *httptest.ResponseRecorder {
		values := url.Values{"to": {f.To}, "subject": {f.Subject}, "text": {f.Text}}
		r := httptest.NewRequestWithContext(
			t.Context(), http.MethodPost, "http://127.0.0.1:8025/",
			strings.NewReader(values.Encode()),
		)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, r)
		return w
	}

	w := post(
		form{"Alice <alice@example.test>, bob@example.test", "Two of you", "a\r\n.\r\nb"},
		"Sec-Fetch-Site", "same-origin",
	)
	if w.Code != http.StatusSeeOther {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	m := a.arrived(t, "Two of you")
	if !slices.Equal(m.To, []string{"alice@example.test", "bob@example.test"}) ||
		strings.TrimSpace(m.Text) != "a\r\n.\r\nb" {
		t.Errorf("arrived: %+v", m)
	}

	for _, test := range []struct {
		name   string
		form   form
		header []string
		code   int
		want   string
	}{
		{
			"a field in the subject", form{"alice@example.test", "x\r\nBcc: bob@example.test", ""},
			nil, 422, "one short line",
		},
		{
			"a field in the address", form{"alice@example.test\r\nBcc: bob@example.test", "x", ""},
			nil, 422, "addresses",
		},
		{
			"markup", form{"<script>", "<script>", "</textarea><script>"}, nil, 422,
			"&lt;/textarea&gt;&lt;script&gt;",
		},
		{"nobody", form{"nobody@example.test", "x", ""}, nil, 422, "5.1.1"},
		{
			"too many", form{strings.Repeat("a@example.test,", 10) + "a@example.test", "x", ""},
			nil, 422, "up to ten",
		},
		{
			"another site", form{"alice@example.test", "x", ""},
			[]string{"Sec-Fetch-Site", "cross-site"}, 403, "",
		},
		{
			"another origin", form{"alice@example.test", "x", ""},
			[]string{"Origin", "https://example.net"}, 403, "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := post(test.form, test.header...)
			if w.Code != test.code || !strings.Contains(w.Body.String(), test.want) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}

	// A name that somebody points at this host must not read the inbox.
	r := httptest.NewRequestWithContext(
		t.Context(), http.MethodGet, "http://rebound.example:8025/inbox", nil,
	)
	w = httptest.NewRecorder()
	if pages.ServeHTTP(w, r); w.Code != http.StatusMisdirectedRequest {
		t.Errorf("rebound: %d", w.Code)
	}
}

// TestRelayPage looks at the relay's own page, which is for this host alone.
func TestRelayPage(t *testing.T) {
	a, web := start(t)
	res, err := http.Get("http://" + web + "/relay/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK ||
		!strings.Contains(string(body), "<caption>submission</caption>") {
		t.Errorf("%s %v\n%s", res.Status, err, body)
	}
	w := httptest.NewRecorder() // from 192.0.2.1
	a.pages().ServeHTTP(
		w,
		httptest.NewRequestWithContext(
			t.Context(), http.MethodGet, "http://127.0.0.1:8025/relay/", nil,
		),
	)
	if w.Code != http.StatusForbidden {
		t.Errorf("from elsewhere: %d", w.Code)
	}
}

func TestText(t *testing.T) {
	for _, test := range []struct{ name, contentType, encoding, body, want string }{
		{"plain", "", "", "hello", "hello"},
		{"quoted-printable", "text/plain", "Quoted-Printable", "gr=C3=BC=C3=9Fe=\r\n!", "grüße!"},
		{"base64", "text/plain", "base64", "aGVs\r\nbG8=", "hello"},
		{"not UTF-8", "text/plain", "", "a\xffb", "a\ufffdb"},
		{"image", "image/png", "base64", "aGVsbG8=", ""},
		{
			"alternative", `multipart/alternative; boundary="x"`, "",
			"--x\r\n\r\nfirst\r\n--x\r\nContent-Type: text/html\r\n\r\n<b>\r\n--x--\r\n", "first",
		},
		{
			"without an end", `multipart/mixed; boundary="x"`, "",
			"--x\r\nContent-Type: image/png\r\n\r\nno", "",
		},
		{
			"deep", "multipart/mixed; boundary=x", "",
			strings.Repeat("--x\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n", 50), "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := text(
				test.contentType, test.encoding, strings.NewReader(test.body), 0,
			); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestPortTaken(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().String()
	for _, addrs := range [][3]string{
		{taken, "127.0.0.1:0", "127.0.0.1:0"}, {"127.0.0.1:0", taken, "127.0.0.1:0"},
	} {
		err := run(t.Context(), io.Discard, addrs[0], addrs[1], addrs[2], "")
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), taken) {
			t.Errorf("%v: %v", addrs, err)
		}
	}
}

func TestRunStops(t *testing.T) { runAndStop(t, t.TempDir()) }

// TestRunStopsWithPostgreSQL keeps the queue in a database.
func TestRunStopsWithPostgreSQL(t *testing.T) {
	mailtest.Programs(t)
	runAndStop(t, pgspooltest.Start(t, nil).Database(t))
}

func runAndStop(t *testing.T, queue string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, in, "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0", queue) }()
	if _, err := out.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	out.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
