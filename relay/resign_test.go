package relay_test

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/event"
	"github.com/postern-mail/postern/relay/internal/sevenbit"
)

// keys are an Ed25519 and an RSA key of example.test.
func keys(t *testing.T) (list []msgauth.Key, public map[string]crypto.PublicKey) {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return []msgauth.Key{
		{Domain: "example.test", Selector: "ed", Signer: ed},
		{Domain: "example.test", Selector: "rsa", Signer: rsaKey},
	}, map[string]crypto.PublicKey{"ed": ed.Public(), "rsa": rsaKey.Public()}
}

// wantSigned verifies the signatures of example.test, one for each key.
func wantSigned(t *testing.T, content string, public map[string]crypto.PublicKey) {
	t.Helper()
	seen := map[string]int{}
	for _, s := range signatures(content) {
		if s["d"] == "example.test" {
			seen[s["s"]]++
			verify(t, content, s, public[s["s"]])
		}
	}
	if len(seen) != len(public) {
		t.Errorf("signatures by %v\n%s", seen, content)
	}
	for selector, n := range seen {
		if n != 1 {
			t.Errorf("%d signatures by %s\n%s", n, selector, content)
		}
	}
}

// warnings keeps what is logged.
type warnings struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *warnings) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *warnings) count(text string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.b.String(), text)
}

func (w *warnings) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

const (
	foreign = "DKIM-Signature: v=1; a=rsa-sha256; d=other.test; s=x;\r\n" +
		"\th=from; bh=AAAA; b=AAAA\r\n"
	eight = "From: app@example.test\r\nSubject: x\r\n\r\ngr\u00fcne Gr\u00fc\u00dfe\r\n"
)

// A hop without 8BITMIME gets other content than one with it, and both get
// signatures that fit. A signature of somebody else stays.
func TestSignatureFitsWhatEachHopGets(t *testing.T) {
	list, public := keys(t)
	e, s := sinkFor(t, nil), sinkFor(t, nil)
	s.seven = true
	w := outgoing(t, func(c *relay.Config) { c.DKIM = list },
		smart("eight", "eight.test", e.addr()), smart("seven", "seven.test", s.addr()))
	w.dial(t, "apps").transact(foreign+eight, "app@example.test", "x@eight.test", "y@seven.test")
	for _, next := range []*sink{e, s} {
		m := next.wait(t)
		wantSigned(t, m.content, public)
		if next.seven == strings.Contains(m.content, "gr\u00fcne") {
			t.Errorf("%v got %s", m.to, m.content)
		}
		if !strings.Contains(m.content, foreign) {
			t.Errorf("%v lacks the signature of another: %s", m.to, m.content)
		}
	}
}

// Raw 8-bit fields and mislabelled parts are delivered, and what leaves is
// signed.
func TestRawHeaderIsDelivered(t *testing.T) {
	const raw = "From: \"B\u00fcro\" <app@example.test>\r\nSubject: Gr\u00fc\u00dfe\r\n"
	list, public := keys(t)
	s := sinkFor(t, nil)
	s.seven = true
	w := outgoing(t, func(c *relay.Config) { c.DKIM = list }, smart("out", "*", s.addr()))
	for _, c := range []struct {
		content string
		want    []string
	}{
		{raw + "\r\nx\r\n", []string{
			"From: =?utf-8?q?B=C3=BCro?= <app@example.test>",
			"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=",
		}},
		{raw + "Content-Transfer-Encoding: base64\r\n\r\ngr\u00fcn\r\n", []string{
			"\r\n\r\ngr\u00fcn\r\n",
		}},
	} {
		w.dial(t, "apps").transact(c.content, "app@example.test", "x@elsewhere.test")
		m := s.wait(t)
		wantSigned(t, m.content, public)
		for _, want := range c.want {
			if !strings.Contains(m.content, want) {
				t.Errorf("lacks %q: %s", want, m.content)
			}
		}
	}
}

// A stranger may send a signature that names our key, even a genuine one, on
// top of other content. It must not be replaced by one that fits.
func TestStrangersAreNotSignedWhenConverted(t *testing.T) {
	list, _ := keys(t)
	s := sinkFor(t, nil)
	s.seven = true
	w := start(t, func(c *relay.Config) {
		c.DKIM = list
		c.Mailboxes = delivery.SMTP(connector.NextHop{Hosts: []string{s.addr()}})
	})
	forged := strings.NewReplacer("other.test", "example.test", "s=x", "s=rsa").Replace(foreign)
	w.dial(t, "in").transact(forged+strings.Replace(eight, "app@", "ceo@", 1),
		"x@elsewhere.test", "alice@example.test")
	m := s.wait(t)
	if !strings.Contains(m.content, forged) || len(signatures(m.content)) != 1 {
		t.Errorf("got %s", m.content)
	}
	if !sevenbit.ASCII([]byte(m.content)) {
		t.Errorf("not converted: %s", m.content)
	}
}

// A message may wait until another key signs for its domain, or none.
func TestSignatureAfterTheKeyIsGone(t *testing.T) {
	old, _ := keys(t)
	for _, c := range []struct {
		name   string
		rotate bool
	}{{"another key", true}, {"no key", false}} {
		t.Run(c.name, func(t *testing.T) {
			var now []msgauth.Key
			var public map[string]crypto.PublicKey
			if c.rotate {
				now, public = keys(t)
				now = now[:1]
				now[0].Selector = "new"
				public = map[string]crypto.PublicKey{"new": public["ed"]}
			}
			var closed atomic.Bool
			closed.Store(true)
			s := sinkFor(t, func(string) string {
				if closed.Load() {
					return "451 4.3.0 later"
				}
				return ""
			})
			s.seven = true
			var log warnings
			var cfg relay.Config
			w := outgoing(t, func(c *relay.Config) {
				c.DKIM, c.Logger = old, log.logger()
				cfg = *c
			}, smart("out", "*", s.addr()))
			for _, to := range []string{"x@elsewhere.test", "y@elsewhere.test"} {
				w.dial(t, "apps").transact(eight, "app@example.test", to)
				w.events.wait(t, func(e event.Event) bool {
					return e.Kind == event.Deferred && e.To[0] == to
				})
			}
			cfg.DKIM = now
			if err := w.relay.Reload(cfg); err != nil {
				t.Fatal(err)
			}
			closed.Store(false)
			for range 2 {
				m := s.wait(t)
				wantSigned(t, m.content, public)
				if n := len(signatures(m.content)); n != len(now) {
					t.Errorf("%d signatures: %s", n, m.content)
				}
			}
			if n, want := log.count("its key is gone"), 1-len(now); n != want {
				t.Errorf("logged %d times, want %d", n, want)
			}
		})
	}
}

// awayOnce is a key that fails once it has signed.
type awayOnce struct {
	crypto.Signer
	n *atomic.Int64
}

func (f awayOnce) Sign(r io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if f.n.Add(1) == 2 {
		return nil, errors.New("key store is away")
	}
	return f.Signer.Sign(r, digest, o)
}

// A key that cannot sign for now defers the message.
func TestSigningAgainIsTriedAgain(t *testing.T) {
	list, public := keys(t)
	list = list[:1]
	delete(public, "rsa")
	list[0].Signer = awayOnce{list[0].Signer, new(atomic.Int64)}
	s := sinkFor(t, nil)
	s.seven = true
	w := outgoing(t, func(c *relay.Config) { c.DKIM = list }, smart("out", "*", s.addr()))
	w.dial(t, "apps").transact(eight, "app@example.test", "x@elsewhere.test")
	if d := w.events.wait(t, kind(event.Deferred)); d.Code != 0 || d.Enhanced != "4.3.0" {
		t.Errorf("event %+v", d)
	}
	wantSigned(t, s.wait(t).content, public)
}

// Reports are signed when their From domain has a key, for hops of each kind.
func TestReportsAreSigned(t *testing.T) {
	list, public := keys(t)
	for _, seven := range []bool{false, true} {
		refuse := func(line string) string {
			if strings.Contains(line, "bad@") {
				return "550 5.1.1 no such user"
			}
			return ""
		}
		s := sinkFor(t, refuse)
		s.seven = seven
		w := outgoing(t, func(c *relay.Config) { c.DKIM = list }, smart("out", "*", s.addr()))
		w.dial(t, "apps").transact(strings.ReplaceAll(eight, "app@example", "app@other"),
			"app@other.test", "bad@elsewhere.test")
		m := s.wait(t)
		wantSigned(t, m.content, public)
		if m.from != "" || seven == strings.Contains(m.content, "gr\u00fcne") {
			t.Errorf("from %s: %s", m.from, m.content)
		}
	}
	// A Postmaster in a domain without a key is not vouched for.
	s := sinkFor(t, func(line string) string {
		if strings.Contains(line, "bad@") {
			return "550 5.1.1 no such user"
		}
		return ""
	})
	w := outgoing(t, func(c *relay.Config) {
		c.DKIM, c.Postmaster = list, "postmaster@plain.test"
	}, smart("out", "*", s.addr()))
	w.dial(t, "apps").transact(eight, "app@other.test", "bad@elsewhere.test")
	if m := s.wait(t); len(signatures(m.content)) != 0 {
		t.Errorf("signed: %s", m.content)
	}
}

// Several authors of one domain are one signer. What goes unsigned though there
// is a key is told once for each reason; mail of other domains is no matter.
func TestWhatGoesUnsigned(t *testing.T) {
	list, public := keys(t)
	var log warnings
	w := start(t, func(c *relay.Config) { c.DKIM, c.Logger = list, log.logger() })
	n := 0
	send := func(from string) string {
		t.Helper()
		c := w.dial(t, "apps")
		c.transact("From: "+from+"\r\n\r\nx\r\n", "app@example.test", "x@elsewhere.test")
		n++
		return w.out.wait(t, n)[n-1].content
	}
	wantSigned(t, send("a@example.test, B <b@EXAMPLE.test>"), public)
	wantSigned(t, send("Team: a@example.test, b@example.test;"), public)
	for _, c := range []struct{ from, reason string }{
		{"a@example.test, b@other.test", "the authors are of several domains"},
		{"a@other.test, b@example.test", "the authors are of several domains"},
		{"a@sub.example.test", "the key of the domain above does not sign for subdomains"},
		{"what is this", "the From field cannot be read"},
		{"a@other.test", ""},
		{"a@other.test, b@third.test", ""},
		{"a@notexample.test", ""},
	} {
		for range 2 {
			if m := send(c.from); len(signatures(m)) != 0 {
				t.Errorf("%s: signed: %s", c.from, m)
			}
		}
		if c.reason != "" && log.count(c.reason) != 1 {
			t.Errorf("%s: logged %d times", c.reason, log.count(c.reason))
		}
	}
	if got := log.count("not signed by DKIM"); got != 3 {
		t.Errorf("%d lines", got)
	}
}

// Content is signed again as it streams: memory does not grow with it.
func TestSigningAgainStreams(t *testing.T) {
	list, public := keys(t)
	s := sinkFor(t, nil)
	s.seven = true
	w := outgoing(t, func(c *relay.Config) { c.DKIM = list }, smart("out", "*", s.addr()))
	body := strings.Repeat("gr\u00fcne Gr\u00fc\u00dfe\r\n", 50_000)
	w.dial(t, "apps").transact(eight+body, "app@example.test",
		"x@elsewhere.test", "y@elsewhere.test")
	m := s.wait(t)
	wantSigned(t, m.content, public)
	if fmt.Sprint(m.to) != "[x@elsewhere.test y@elsewhere.test]" {
		t.Errorf("to %v", m.to)
	}
}

// Only the topmost signatures go, with their folded lines, and nothing else.
func TestOnlyOwnSignaturesAreTakenOff(t *testing.T) {
	const s, trace = "DKIM-Signature: a\r\n\tb\r\n c\r\n", "Received: by us\r\n\tx\r\n"
	long := "X: " + strings.Repeat("x", 10_000) + "\r\n"
	for _, c := range []struct {
		in   string
		n    int
		want string
	}{
		{trace + s + s + foreign + "A: b\r\n\r\nx", 2, trace + foreign + "A: b\r\n\r\nx"},
		{trace + s + long + s + "\r\nx", 1, trace + long + s + "\r\nx"},
		{s + s + "A: b\r\n\r\n", 2, "A: b\r\n\r\n"},
		{trace + "dkim-signature:a\r\nA: b\r\n\r\nx", 1, trace + "A: b\r\n\r\nx"},
		{trace + "DKIM-Signature: " + long + "A: b\r\n\r\nx", 1, trace + "A: b\r\n\r\nx"},
		{trace + "\r\n" + s, 1, trace + "\r\n" + s},
		{trace, 1, trace},
		{"", 1, ""},
		{s, 3, ""},
		{strings.TrimSuffix(s, "\r\n"), 1, ""},
		{s + "A: b\r\n\r\n", 0, s + "A: b\r\n\r\n"},
		{"DKIM-Signature", 1, "DKIM-Signature"},
	} {
		r, err := relay.WithoutSignatures(iotest.OneByteReader(strings.NewReader(c.in)), c.n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != c.want {
			t.Errorf("%.80q: %v, %.80q, want %.80q", c.in, err, got, c.want)
		}
	}
	broken := io.MultiReader(strings.NewReader(trace), iotest.ErrReader(io.ErrClosedPipe))
	if _, err := relay.WithoutSignatures(broken, 1); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a content that cannot be read: %v", err)
	}
}

func FuzzWithoutSignatures(f *testing.F) {
	f.Add("Received: x\r\nDKIM-Signature: a\r\n b\r\nA: b\r\n\r\nx", 1)
	f.Fuzz(func(t *testing.T, content string, n int) {
		r, err := relay.WithoutSignatures(strings.NewReader(content), n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		_, body, _ := strings.Cut(content, "\r\n\r\n")
		if len(got) > len(content) || !strings.HasSuffix(string(got), body) {
			t.Fatalf("%q became %q", content, got)
		}
		if n == 0 && string(got) != content {
			t.Fatalf("%q became %q", content, got)
		}
	})
}
