package peertest_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/examples/internal/mailtest"
)

// sevenBit is a listener whose server offers neither 8BITMIME nor BDAT.
type sevenBit struct{ net.Listener }

func (l sevenBit) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return withoutEight{c}, err
}

type withoutEight struct{ net.Conn }

func (c withoutEight) Write(p []byte) (int, error) {
	q := bytes.Replace(p, []byte("250-8BITMIME\r\n"), nil, 1)
	_, err := c.Conn.Write(bytes.Replace(q, []byte("250-CHUNKING\r\n"), nil, 1))
	return len(p), err
}

// newSevenSink is a sink that takes 7-bit content only.
func newSevenSink(t *testing.T) *sink {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{addr: l.Addr().String()}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &session{sink: s}, nil
	}))
	server.Domain, server.MaxLineLength = "seven.example.test", 1<<20
	go func() { _ = server.Serve(sevenBit{l}) }()
	t.Cleanup(func() { server.Close() })
	return s
}

// signer is a signer with new keys, each written to its file in PEM.
func signer(t *testing.T, dir, domain string) (*msgauth.Signer, []msgauth.Key) {
	t.Helper()
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var list []msgauth.Key
	for _, k := range []struct {
		selector string
		signer   crypto.Signer
	}{{"ed", ed}, {"rsa", rsaKey}} {
		der, err := x509.MarshalPKCS8PrivateKey(k.signer)
		if err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		mailtest.Write(t, filepath.Join(dir, k.selector+"."+domain+".pem"), string(text))
		list = append(list, msgauth.Key{Domain: domain, Selector: k.selector, Signer: k.signer})
	}
	s, err := msgauth.NewSigner(list...)
	if err != nil {
		t.Fatal(err)
	}
	return s, list
}

// signed returns a message with signatures of a domain.
func signed(t *testing.T, s *msgauth.Signer, domain string, content []byte) []byte {
	t.Helper()
	i := bytes.Index(content, []byte("\r\n\r\n")) + len("\r\n\r\n")
	g, err := s.Sign(domain, content[:i])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Write(content[i:]); err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	return append(slices.Clone(g.Fields()), content...)
}

// verdicts are what a verifier says of each signature, "domain selector pass",
// by file.
type verdicts map[string][]string

// dkimpy verifies with python3-dkim, Ed25519 with python3-nacl.
func dkimpy(ctx context.Context, t *testing.T, keys string, files []string) verdicts {
	t.Helper()
	args := append([]string{"testdata/verify.py", keys}, files...)
	text, err := output(ctx, nil, "/usr/bin/python3", args...)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	v := verdicts{}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 4 && slices.Contains(files, f[0]) {
			v[f[0]] = append(v[f[0]], strings.Join(f[1:], " "))
		}
	}
	return v
}

var authResult = regexp.MustCompile(
	`dkim=(pass|fail|neutral|policy|temperror|permerror)[^;]*? header\.d=(\S+)[^;]*? ` +
		`header\.s=(\S+)`)

// openDKIM verifies with opendkim.
func openDKIM(ctx context.Context, t *testing.T, keys string, files []string) verdicts {
	t.Helper()
	config := filepath.Join(t.TempDir(), "opendkim.conf")
	mailtest.Write(t, config, "Mode v\nMaximumSignaturesToVerify 9\nTestPublicKeys "+keys+"\n")
	v := verdicts{}
	for _, name := range files {
		// It answers 1 where a signature fails; what it says is in the field.
		text, err := output(ctx, nil, "/usr/sbin/opendkim", "-x", config, "-vv", "-t", name)
		if !strings.Contains(text, "Authentication-Results") {
			t.Fatalf("%v: %s", err, text)
		}
		for _, m := range authResult.FindAllStringSubmatch(text, -1) {
			verdict := m[1]
			if verdict != "pass" {
				verdict = "fail"
			}
			v[name] = append(v[name], m[2]+" "+m[3]+" "+verdict)
		}
	}
	return v
}

// TestSignatures has others verify what leaves behind a hop with 8BITMIME and
// one without: the gateway's own signatures always fit, those of others where
// nothing had to be converted.
func TestSignatures(t *testing.T) {
	t.Parallel()
	eight, seven := newSink(t), newSevenSink(t)
	dir := t.TempDir()
	_, own := signer(t, dir, "example.test")
	others, foreign := signer(t, dir, "other.test")
	more := fmt.Sprintf(`
[[send_connector]]
name = "seven"
address_spaces = ["seven.test;1"]
smart_hosts = [%q]
`, seven.addr)
	for _, k := range own {
		more += fmt.Sprintf("[[dkim]]\ndomain = %q\nselector = %q\nkey = %q\n", k.Domain,
			k.Selector,
			filepath.Join(dir, k.Selector+"."+k.Domain+".pem"))
	}
	g := start(t, eight, more)
	var keys strings.Builder
	for _, k := range append(own, foreign...) {
		name, value := k.TXT()
		fmt.Fprintln(&keys, name, value)
	}
	known := filepath.Join(dir, "keys")
	mailtest.Write(t, known, keys.String())

	corpus, err := filepath.Glob("testdata/dkim/*.eml")
	if err != nil || len(corpus) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	var files []string
	same := map[string]bool{} // what arrived as it was sent
	for _, name := range corpus {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
		for _, by := range []string{"own", "both"} {
			id := strings.TrimSuffix(filepath.Base(name), ".eml") + "." + by
			content := text
			if by == "both" {
				content = signed(t, others, "other.test", text)
			}
			l := letter{
				from: user, to: []string{id + "@eight.test", id + "@seven.test"}, content: content,
			}
			post(t, "127.0.0.1:"+g.ports["relay"], l)
			for _, hop := range []struct {
				sink   *sink
				domain string
			}{{eight, "eight.test"}, {seven, "seven.test"}} {
				to := id + "@" + hop.domain
				file := filepath.Join(dir, to)
				got := hop.sink.next(t, to).content
				mailtest.Write(t, file, string(got))
				files = append(files, file)
				same[file] = bytes.HasSuffix(got, content)
			}
			if eight := files[len(files)-2]; !same[eight] {
				t.Errorf("%s was changed", filepath.Base(eight))
			}
		}
	}
	for name, verify := range map[string]func(
		context.Context, *testing.T, string, []string,
	) verdicts{"dkimpy": dkimpy, "opendkim": openDKIM} {
		t.Run(name, func(t *testing.T) {
			v := verify(t.Context(), t, known, files)
			for _, file := range files {
				want := []string{"example.test ed pass", "example.test rsa pass"}
				if strings.Contains(file, ".both@") {
					fate := map[bool]string{true: "pass", false: "fail"}[same[file]]
					want = append(want, "other.test ed "+fate, "other.test rsa "+fate)
				}
				if got := slices.Sorted(slices.Values(v[file])); !slices.Equal(got, want) {
					t.Errorf("%s: %q, want %q", filepath.Base(file), got, want)
				}
			}
		})
	}
	changed := 0
	for same := range maps.Values(same) {
		if !same {
			changed++
		}
	}
	if changed < len(corpus) {
		t.Errorf("only %d messages were converted", changed)
	}
}
