package msgauth_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/emersion/go-msgauth/dkim"

	"github.com/postern-mail/postern/auth/msgauth"
)

const (
	head = "Received: from app\r\n\tby relay; Mon, 2 Jan 2006 15:04:05 +0000\r\n" +
		"From: App <app@example.com>\r\n" +
		"To: bob@example.net,\r\n carol@example.net\r\n" +
		"Subject: Hello\r\n" +
		"Message-ID: <1@example.com>\r\n" +
		"List-Unsubscribe: <https://example.com/u>\r\n" +
		"\r\n"
	text = "Hello  Bob,\t\r\n\r\nall is well. \r\n\r\n\r\n"
)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func edKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) }

// keys are an RSA and an Ed25519 key of example.com.
func keys() []msgauth.Key {
	return []msgauth.Key{
		{Domain: "Example.COM.", Selector: "r1", Signer: rsaKey()},
		{Domain: "example.com", Selector: "e1", Signer: edKey()},
	}
}

func newSigner(t testing.TB, keys ...msgauth.Key) *msgauth.Signer {
	t.Helper()
	s, err := msgauth.NewSigner(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// zone answers TXT look-ups with what the keys publish.
func zone(keys ...msgauth.Key) func(string) ([]string, error) {
	return func(name string) ([]string, error) {
		for _, k := range keys {
			if n, v := k.TXT(); n == name {
				return []string{v}, nil
			}
		}
		return nil, fmt.Errorf("no such name %q", name)
	}
}

func sign(t testing.TB, s *msgauth.Signer, domain, head, body string) string {
	t.Helper()
	g, err := s.Sign(domain, []byte(head))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	// In small pieces, as they may come.
	for b := body; len(b) > 0; {
		n := min(7, len(b))
		if _, err := g.Write([]byte(b[:n])); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	return string(g.Fields()) + head + body
}

// verify returns the number of good and bad signatures.
func verify(
	t testing.TB, message string, keys ...msgauth.Key,
) (good, bad int, last *dkim.Verification) {
	t.Helper()
	vs, err := dkim.VerifyWithOptions(
		strings.NewReader(message),
		&dkim.VerifyOptions{LookupTXT: zone(keys...), MaxVerifications: 10},
	)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vs {
		if v.Err == nil {
			good++
		} else {
			bad++
		}
		last = v
	}
	return good, bad, last
}

func TestSignaturesVerify(t *testing.T) {
	for name, body := range map[string]string{
		"text":       text,
		"empty":      "",
		"blank":      "\r\n\r\n \r\n",
		"no end":     "no line end",
		"8-bit":      "gr\xfc\xdfe\r\n",
		"long lines": strings.Repeat("x", 5000) + "\r\n" + strings.Repeat("y z ", 20000) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			message := sign(t, newSigner(t, keys()...), "example.com", head, body)
			good, bad, last := verify(t, message, keys()...)
			if good != 2 || bad != 0 {
				t.Fatalf("%d good, %d bad: %v\n%s", good, bad, last.Err, message)
			}
			if last.Domain != "example.com" {
				t.Errorf("d=%q", last.Domain)
			}
			for line := range strings.SplitSeq(message[:len(message)-len(body)], "\r\n") {
				if len(line) > 998 {
					t.Errorf("line of %d octets", len(line))
				}
			}
		})
	}
}

// Row M4: nothing can be put on top of a signed message.
func TestM4Oversigned(t *testing.T) {
	message := sign(t, newSigner(t, keys()...), "example.com", head, text)
	for _, field := range []string{
		"Subject: You have won\r\n",
		"From: ceo@example.com\r\n",
		"Reply-To: mallory@example.org\r\n", // absent when signed
		"Content-Type: text/html\r\n",
		"Cc: eve@example.org\r\n",
		"Date: Mon, 2 Jan 2006 15:04:05 +0000\r\n",
		"List-Unsubscribe: <https://example.org/>\r\n",
		"sUbJeCt : You have won\r\n",
	} {
		good, bad, _ := verify(t, field+message, keys()...)
		if good != 0 || bad != 2 {
			t.Errorf("%q on top: %d good, %d bad", field, good, bad)
		}
	}
	for _, field := range []string{
		"Received: from a by b; Mon, 2 Jan 2006 15:04:05 +0000\r\n",
		"List-Id: <list.example.net>\r\n",
		"Sender: list@example.net\r\n",
	} {
		if good, bad, last := verify(t, field+message, keys()...); good != 2 || bad != 0 {
			t.Errorf("%q on top: %d good, %d bad: %v", field, good, bad, last.Err)
		}
	}
	if good, _, _ := verify(t, message+"more\r\n", keys()...); good != 0 {
		t.Error("a longer body verifies")
	}
	if strings.Contains(message, " l=") {
		t.Error("l= is set")
	}
}

// Row M5: a message without From is not signed, nor one with two.
func TestM5From(t *testing.T) {
	s := newSigner(t, keys()...)
	for name, head := range map[string]string{
		"none":      "Subject: x\r\n\r\n",
		"two":       "From: a@example.com\r\nfrom : b@example.com\r\n\r\n",
		"empty":     "\r\n",
		"nothing":   "",
		"in body":   "Subject: x\r\n\r\nFrom: a@example.com\r\n",
		"folded":    "Subject: x\r\n From: a@example.com\r\n\r\n",
		"malformed": "From\r\n\r\n",
	} {
		if g, err := s.Sign("example.com", []byte(head)); !errors.Is(err, msgauth.ErrFrom) ||
			g != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Row M1: the time does not grow with the square of what a client sends.
func TestM1ManyLines(t *testing.T) {
	s := newSigner(t, keys()[1])
	const from = "From: a@example.com\r\n"
	for _, c := range []struct{ head, same string }{
		{
			from + "Subject: x\r\n" + strings.Repeat(" \r\n", 80_000) + " y\r\n",
			from + "Subject: x y\r\n",
		},
		{from + strings.Repeat("X: y\r\n", 40_000), from},
	} {
		message := sign(t, s, "example.com", c.head, text)
		signature := strings.TrimSuffix(message, c.head+text)
		if good, _, last := verify(t, signature+c.same+"\r\n"+text, keys()...); good != 1 {
			t.Error(last.Err)
		}
	}
	if _, err := s.Sign(
		"example.com", []byte("From: a@example.com\r\n"+strings.Repeat("To: b\r\n", 1000)),
	); !errors.Is(err, msgauth.ErrTooManyFields) {
		t.Errorf("1,000 To fields: %v", err)
	}
}

func TestBlankBodyIsBounded(t *testing.T) {
	g, err := newSigner(t, keys()[1]).Sign("example.com", []byte(head))
	if err != nil {
		t.Fatal(err)
	}
	blank := []byte(strings.Repeat("\r\n", 16<<10))
	for range 64 {
		if _, err = g.Write(blank); err != nil {
			break
		}
		if _, err := g.Write([]byte("\r\n \t")); err != nil {
			break
		}
	}
	if !errors.Is(err, msgauth.ErrBlank) {
		t.Fatalf("Write: %v", err)
	}
	if err := g.Close(); !errors.Is(err, msgauth.ErrBlank) || len(g.Fields()) != 0 {
		t.Errorf("Close: %v, %q", err, g.Fields())
	}

	g, err = newSigner(t, keys()[1]).Sign("example.com", []byte(head))
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for range 64 {
		if _, err := g.Write(append([]byte("x"), blank...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
}

// Row M3: no goroutine is left, whatever happens. synctest fails if one is.
func TestM3NoGoroutineLeft(t *testing.T) {
	broken := keys()[1]
	broken.Signer = failing{edKey()}
	rsaKey()
	synctest.Test(t, func(t *testing.T) {
		for name, use := range map[string]func(g *msgauth.Signing){
			"complete":  func(g *msgauth.Signing) { io.WriteString(g, text) },
			"no body":   func(g *msgauth.Signing) {},
			"abandoned": func(g *msgauth.Signing) { io.WriteString(g, "hal") },
		} {
			s := newSigner(t, keys()...)
			g, err := s.Sign("example.com", []byte(head))
			if err != nil {
				t.Fatal(name, err)
			}
			use(g)
			if err := errors.Join(g.Close(), g.Close()); err != nil {
				t.Error(name, err)
			}
			if _, err := g.Write([]byte("x")); err == nil {
				t.Error(name, "Write after Close")
			}
		}
		g, err := newSigner(t, keys()[0], broken).Sign("example.com", []byte(head))
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); !errors.Is(err, errBroken) || len(g.Fields()) != 0 {
			t.Errorf("broken key: %v, %q", err, g.Fields())
		}
	})
}

var errBroken = errors.New("broken")

type failing struct{ crypto.Signer }

func (failing) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, errBroken }

func TestManyAtOnce(t *testing.T) {
	s := newSigner(t, keys()...)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 4 {
				if good, bad, _ := verify(
					t, sign(t, s, "example.com", head, text), keys()...,
				); good != 2 || bad != 0 {
					t.Errorf("%d good, %d bad", good, bad)
				}
			}
		})
	}
	wg.Wait()
}

// The header given to Sign may be cut anywhere; what is signed verifies or is
// refused.
func FuzzSign(f *testing.F) {
	for _, h := range []string{
		head, "From: a\r\n", "From:\n\n", " x\r\nFrom: a\r\n\r\n",
		"From : a\r\n\t\r\n b\r\nSubject\r\n\r\n",
	} {
		f.Add([]byte(h), []byte(text))
	}
	key := msgauth.Key{Domain: "example.com", Selector: "e1", Signer: edKey()}
	s := newSigner(f, key)
	f.Fuzz(func(t *testing.T, head, body []byte) {
		g, err := s.Sign("example.com", head)
		if err != nil {
			return
		}
		defer g.Close()
		if _, err := g.Write(body); err != nil {
			return
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
		fields := string(g.Fields())
		if n := strings.Count(fields, "DKIM-Signature:"); n != 1 ||
			!strings.HasSuffix(fields, "\r\n") {
			t.Fatalf("%q", fields)
		}
		// A header with line ends as they should be verifies for others too.
		if h := string(head); strings.HasSuffix(h, "\r\n\r\n") &&
			strings.Count(h, "\r\n\r\n") == 1 &&
			strings.Count(h, "\r") == strings.Count(h, "\r\n") &&
			strings.Count(h, "\n") == strings.Count(h, "\r\n") &&
			wellFormed(h) {
			if good, _, last := verify(t, fields+h+string(body), key); good != 1 {
				t.Fatalf("%q %q: %v", h, body, last)
			}
		}
	})
}

func wellFormed(head string) bool {
	for line := range strings.SplitSeq(strings.TrimSuffix(head, "\r\n\r\n"), "\r\n") {
		name, _, ok := strings.Cut(line, ":")
		if line == "" ||
			line[0] != ' ' && line[0] != '\t' && (!ok || strings.TrimSpace(name) == "") {
			return false
		}
	}
	return head[0] != ' ' && head[0] != '\t' &&
		!strings.ContainsFunc(head, func(r rune) bool {
			return r >= 0x7f || r < ' ' && r != '\r' && r != '\n' && r != '\t'
		})
}

func BenchmarkSign(b *testing.B) {
	body := []byte(strings.Repeat(strings.Repeat("x", 70)+"\r\n", 10<<10/72))
	for name, key := range map[string]crypto.Signer{"RSA2048": rsaKey(), "Ed25519": edKey()} {
		b.Run(name, func(b *testing.B) {
			s := newSigner(b, msgauth.Key{Domain: "example.com", Selector: "s", Signer: key})
			header := []byte(head)
			b.ReportAllocs()
			for b.Loop() {
				g, err := s.Sign("example.com", header)
				if err != nil {
					b.Fatal(err)
				}
				g.Write(body)
				if err := g.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
