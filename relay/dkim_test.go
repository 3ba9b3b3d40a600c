package relay_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/auth/msgauth"
	"github.com/postern-mail/postern/relay"
)

// signatures returns the DKIM-Signature fields of a message, unfolded, as their
// tags.
func signatures(content string) []map[string]string {
	head, _, _ := strings.Cut(content, "\r\n\r\n")
	head = regexp.MustCompile(`\r\n[ \t]+`).ReplaceAllString(head, " ")
	var all []map[string]string
	for line := range strings.SplitSeq(head, "\r\n") {
		if value, ok := strings.CutPrefix(line, "DKIM-Signature:"); ok {
			tags := map[string]string{}
			for tag := range strings.SplitSeq(value, ";") {
				k, v, _ := strings.Cut(strings.TrimSpace(tag), "=")
				tags[k] = strings.ReplaceAll(v, " ", "")
			}
			all = append(all, tags)
		}
	}
	return all
}

// relaxedBody is the body canonicalization of RFC 6376 section 3.4.4.
func relaxedBody(body string) string {
	lines := strings.Split(body, "\r\n")
	space := regexp.MustCompile(`[ \t]+`)
	for i := range lines {
		lines[i] = strings.TrimRight(space.ReplaceAllString(lines[i], " "), " ")
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// relaxedField is the header canonicalization of RFC 6376 section 3.4.2.
func relaxedField(field string) string {
	name, value, _ := strings.Cut(field, ":")
	value = strings.ReplaceAll(value, "\r\n", "")
	value = regexp.MustCompile(`[ \t]+`).ReplaceAllString(value, " ")
	return strings.ToLower(strings.TrimSpace(name)) + ":" + strings.TrimSpace(value)
}

// verify checks an Ed25519 or RSA signature by the text of RFC 6376.
func verify(t *testing.T, content string, s map[string]string, public crypto.PublicKey) {
	t.Helper()
	head, body, _ := strings.Cut(content, "\r\n\r\n")
	if sum := sha256.Sum256(
		[]byte(relaxedBody(body)),
	); base64.StdEncoding.EncodeToString(sum[:]) != s["bh"] {
		t.Errorf("the body hash does not fit")
	}
	var fields []string
	for line := range strings.SplitSeq(head, "\r\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			fields[len(fields)-1] += "\r\n" + line
		} else {
			fields = append(fields, line)
		}
	}
	var signed bytes.Buffer
	used := map[int]bool{}
	for name := range strings.SplitSeq(s["h"], ":") {
		for i := len(fields) - 1; i >= 0; i-- { // from the bottom up
			if n, _, _ := strings.Cut(fields[i], ":"); !used[i] && strings.EqualFold(n, name) {
				used[i] = true
				signed.WriteString(relaxedField(fields[i]) + "\r\n")
				break
			}
		}
	}
	for _, f := range fields {
		if strings.HasPrefix(f, "DKIM-Signature:") &&
			strings.Contains(
				strings.NewReplacer("\r\n", "", " ", "", "\t", "").Replace(f), "s="+s["s"]+";",
			) {
			bare := regexp.MustCompile(`(^|;)(\s*b=)[^;]*`).ReplaceAllString(f, "$1$2")
			signed.WriteString(relaxedField(bare))
		}
	}
	signature, err := base64.StdEncoding.DecodeString(s["b"])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(signed.Bytes())
	switch p := public.(type) {
	case ed25519.PublicKey:
		if !ed25519.Verify(p, sum[:], signature) {
			t.Errorf("the signature does not fit:\n%s\n%s", content, &signed)
		}
	case *rsa.PublicKey:
		if err := rsa.VerifyPKCS1v15(p, crypto.SHA256, sum[:], signature); err != nil {
			t.Errorf("the signature does not fit: %v", err)
		}
	}
}

// TestDKIM signs what users, relaying hosts and the application send, and
// nothing of a stranger.
func TestDKIM(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, func(cfg *relay.Config) {
		cfg.DKIM = []msgauth.Key{
			{Domain: "example.test", Selector: "ed", Signer: ed},
			{Domain: "example.test", Selector: "rsa", Signer: rsaKey},
		}
		cfg.Policy.Message = func(_ context.Context, _ *relay.Session, m *relay.Incoming) error {
			return m.AddField("Subject", "added and signed") // on top: not seen where one is enough
		}
	})
	const own = "From: App <app@example.test>\r\nTo:  x@elsewhere.test\r\n\tand  " +
		"more\r\n\r\nbody  with \t blanks \r\n\r\n\r\n"
	check := func(name, content string, signed bool) {
		t.Helper()
		all := signatures(content)
		if !signed {
			if len(all) != 0 {
				t.Errorf("%s was signed: %v", name, all)
			}
			return
		}
		if len(all) != 2 {
			t.Fatalf("%s has %d signatures\n%s", name, len(all), content)
		}
		for _, s := range all {
			if s["d"] != "example.test" || s["c"] != "relaxed/relaxed" || s["v"] != "1" {
				t.Errorf("%s: tags %v", name, s)
			}
			if !strings.HasPrefix(strings.ToLower(s["h"]), "from:from:") {
				t.Errorf("%s: From is not oversigned: %s", name, s["h"])
			}
			switch s["s"] {
			case "ed":
				verify(t, content, s, ed.Public())
			case "rsa":
				verify(t, content, s, rsaKey.Public())
			}
		}
	}

	w.dial(t, "apps").transact(own, "app@example.test", "x@elsewhere.test")
	check("a relaying host", w.out.wait(t, 1)[0].content, true)

	c := w.dial(t, "users")
	c.Play(login)
	c.transact(own, "app@example.test", "x@elsewhere.test")
	check("a user", w.out.wait(t, 2)[1].content, true)

	if _, err := w.relay.Submit(
		t.Context(),
		&relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: strings.NewReader(own),
		},
	); err != nil {
		t.Fatal(err)
	}
	check("Submit", w.out.wait(t, 3)[2].content, true)

	p, err := prepare(t.Context(), w.relay,
		&relay.Message{
			From: "app@example.test", To: []string{"x@elsewhere.test"},
			Content: strings.NewReader(own),
		},
	)
	if err != nil {
		t.Fatal(err)
	}
	check("Prepare", string(p.Commit.Prepend)+string(p.Content), true)

	w.dial(t, "apps").transact(
		strings.ReplaceAll(own, "example.test", "other.test"), "app@example.test",
		"x@elsewhere.test",
	)
	check("another domain", w.out.wait(t, 4)[3].content, false)

	w.dial(t, "in").transact(own, "x@elsewhere.test", "alice@example.test")
	check("a stranger", w.mailboxes.wait(t, 1)[0].content, false)

	// Two From fields would let a signature vouch for one that is not shown.
	if got := w.dial(t, "apps").transact(
		"From: ceo@example.test\r\n"+own, "app@example.test", "x@elsewhere.test",
	); !strings.HasPrefix(got, "550 5.6.0") {
		t.Errorf("two From fields: %q", got)
	}
}

// TestDKIMFaults names the key that is wrong.
func TestDKIMFaults(t *testing.T) {
	cfg, _ := config()
	cfg.Verifier = auth.VerifierFunc(nil)
	cfg.DKIM = []msgauth.Key{{Domain: "example.test", Selector: "s1"}}
	if _, err := relay.New(cfg); err == nil || !strings.Contains(err.Error(), "DKIM[0].Signer: ") {
		t.Errorf("error %v", err)
	}
}
