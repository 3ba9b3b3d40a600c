package main

import (
	"crypto/tls"
	"encoding/base64"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/postern-mail/postern/examples/internal/mailtest"
)

// TestReload changes everything that may change while a session goes on.
func TestReload(t *testing.T) {
	sink := mailtest.NewSink(t)
	g := start(t, sink)
	old := g.dial("127.0.0.1", "apps")
	if err := old.Noop(); err != nil {
		t.Fatal(err)
	}
	serial := g.serial()

	mailtest.Certificate(t, filepath.Dir(g.config))
	mailtest.Htpasswd(
		t, filepath.Join(filepath.Dir(g.config), "users.htpasswd"), "app@example.test", "changed",
	)
	g.rewrite(
		`"127.0.1.0/24"`, `"127.0.3.9"`, `recipients = ["alice", "bob"]`, `recipients = ["carol"]`,
	)
	g.signal(syscall.SIGHUP)
	g.log(`msg="configuration reloaded"`)

	if err := mailtest.Send(old, "app@example.test", "x@example.net", "old"); err != nil {
		t.Errorf("the session under way: %v", err)
	}
	sink.Next(t)
	if _, err := mailtest.Dial("127.0.1.1", g.addrs["apps"]); err == nil {
		t.Error("a host that is no longer listed was greeted")
	}
	mailtest.WantReply(
		t,
		mailtest.Send(g.dial("127.0.3.9", "apps"), "app@example.test", "alice@example.test", "no"),
		"550 5.1.1",
	)
	if err := mailtest.Send(
		g.dial("127.0.3.9", "apps"), "app@example.test", "carol@example.test", "new",
	); err != nil {
		t.Error(err)
	}
	sink.Next(t)
	if g.serial() == serial {
		t.Error("the certificate is the old one")
	}
	if _, err := g.login("changed"); err != nil {
		t.Error(err)
	}
	_, err := g.login("secret")
	mailtest.WantReply(t, err, "535 5.7.8")

	// A faulty file changes nothing, and the log has every fault.
	g.rewrite(`"127.0.3.9"`, `"127.0.3.999"`, `hostname =`, `hostnam =`)
	g.signal(syscall.SIGHUP)
	g.log(`field=connector[0].remote_ip_ranges[1]`)
	g.log(`field=hostnam `)
	if err := mailtest.Send(
		g.dial("127.0.3.9", "apps"), "app@example.test", "carol@example.test", "still",
	); err != nil {
		t.Error(err)
	}
	sink.Next(t)
	g.stop()
}

// TestReloadKeepsGuard: a reload forgets nobody who guesses, and unknown users
// still look like those there are.
func TestReloadKeepsGuard(t *testing.T) {
	var keys strings.Builder
	if code := run(
		[]string{"-password"}, strings.NewReader("secret\n"), &keys, io.Discard,
	); code != 0 {
		t.Fatal(code)
	}
	config := site(t, "scram = true\n"+strings.ReplaceAll(base, "SINK", mailtest.NewSink(t).Addr))
	mailtest.Write(
		t, filepath.Join(filepath.Dir(config), "users.htpasswd"), "app@example.test:"+keys.String(),
	)
	last := newLasting()
	first, _, found := load(config, last, slog.New(slog.DiscardHandler))
	second, _, more := load(config, last, slog.New(slog.DiscardHandler))
	last.guard(first.Auth)
	last.guard(second.Auth)
	if len(found)+len(more) > 0 || first.Auth == second.Auth || first.Auth.Throttle == nil ||
		first.Auth.Throttle != second.Auth.Throttle {
		t.Errorf("%v, %v: the Throttle is another one", found, more)
	}
	g := startAt(t, config)
	salts := func() (all []string) {
		for _, user := range []string{"app@example.test", "nobody@example.test"} {
			all = append(all, g.salt(user))
		}
		return all
	}
	before := salts()
	g.rewrite(`recipients = ["alice", "bob"]`, `recipients = ["carol"]`)
	g.signal(syscall.SIGHUP)
	g.log(`msg="configuration reloaded"`)
	if after := salts(); !slices.Equal(before, after) || after[0] == after[1] {
		t.Errorf("salts of a user and of nobody: %q, then %q", before, after)
	}
	g.stop()
}

// salt asks for that of a user (RFC 5802 section 5.1).
func (g *gateway) salt(user string) string {
	g.t.Helper()
	c := g.dial("127.0.0.1", "users")
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		g.t.Fatal(err)
	}
	id, err := c.Text.Cmd(
		"AUTH SCRAM-SHA-256 %s", base64.StdEncoding.EncodeToString([]byte("n,,n="+user+",r=nonce")),
	)
	if err != nil {
		g.t.Fatal(err)
	}
	c.Text.StartResponse(id)
	defer c.Text.EndResponse(id)
	_, text, err := c.Text.ReadResponse(334)
	if err != nil {
		g.t.Fatalf("%s: %v", user, err)
	}
	first, err := base64.StdEncoding.DecodeString(text)
	_, salt, _ := strings.Cut(string(first), ",s=")
	if salt, _, _ = strings.Cut(salt, ","); err != nil || salt == "" {
		g.t.Fatalf("%s: %q, %v", user, text, err)
	}
	return salt
}

// serial returns that of the certificate shown.
func (g *gateway) serial() string {
	g.t.Helper()
	c := g.dial("127.0.0.1", "users")
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil {
		g.t.Fatal(err)
	}
	state, _ := c.TLSConnectionState()
	return state.PeerCertificates[0].SerialNumber.String()
}
