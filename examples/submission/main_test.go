package main

import (
	"cmp"
	"errors"
	"flag"
	"net/netip"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/examples/internal/mailtest"
	"github.com/postern-mail/postern/relay"
	"github.com/postern-mail/postern/relay/spool/memspool"
)

const anna, password = "anna@example.com", "correct horse"

func TestSubmission(t *testing.T) {
	ctx := t.Context()
	sink := mailtest.NewSink(t)
	dir := t.TempDir()
	u, err := openUsers(ctx, filepath.Join(dir, "users.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer u.db.Close()
	if err := u.add(ctx, "Anna@example.com", password); err != nil {
		t.Fatal(err)
	}
	if err := u.add(ctx, "bert@example.com", "short"); err == nil {
		t.Error("a short password was taken")
	}
	issue := func(c auth.Credential) (token, id string) {
		t.Helper()
		c.Owner = cmp.Or(c.Owner, anna)
		token, issued, err := u.issue(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		return token, issued.ID
	}

	o := options{listen: netip.MustParseAddrPort("127.0.0.1:0"), smartHost: sink.Addr}
	cert, key, client := mailtest.Certificate(t, dir)
	o.certificate, o.key = cert, key
	cfg, err := config(u, o)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Spool = memspool.New(nil)
	cfg.Connectors[0].Limits.Tarpit, cfg.Connectors[0].Limits.AuthTarpit = -1, -1 // no waiting here
	r, err := relay.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mailtest.Run(t, r)
	dial := func() *smtp.Client {
		t.Helper()
		c, err := mailtest.Dial("127.0.0.1", r.Addrs("submission")[0].String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if ok, _ := c.Extension("AUTH"); ok {
			t.Error("AUTH is offered without TLS")
		}
		return c
	}
	logon := func(user, secret string) (*smtp.Client, error) {
		t.Helper()
		c := dial()
		if err := c.StartTLS(client); err != nil {
			t.Fatal(err)
		}
		return c, c.Auth(smtp.PlainAuth("", user, secret, "localhost"))
	}
	send := func(c *smtp.Client, from string) error {
		t.Helper()
		err := mailtest.Send(c, from, "somebody@example.net", "hello")
		if err == nil {
			if m := sink.Next(t); m.From != from {
				t.Errorf("arrived from %s, want %s", m.From, from)
			}
		}
		return err
	}

	t.Run("person", func(t *testing.T) {
		c, err := logon(anna, password)
		if err != nil {
			t.Fatal(err)
		}
		if err := send(c, anna); err != nil {
			t.Error(err)
		}
		mailtest.WantReply(t, send(c, "boss@example.com"), "550 5.7.60")
	})
	t.Run("application", func(t *testing.T) {
		token, id := issue(
			auth.Credential{
				Label: "shop", Senders: []string{"shop@example.com", "*@news.example.com"},
			},
		)
		c, err := logon(anna, token)
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range []string{"shop@example.com", "weekly@news.example.com"} {
			if err := send(c, from); err != nil {
				t.Error(err)
			}
		}
		mailtest.WantReply(t, send(c, anna), "550 5.7.60")
		mailtest.WantReply(t, send(c, "boss@example.com"), "550 5.7.60")

		if err := u.revoke(ctx, id); err != nil {
			t.Fatal(err)
		}
		mailtest.WantReply(t, send(c, "shop@example.com"), "550 5.7.1")
		_, err = logon(anna, token)
		mailtest.WantReply(t, err, "535 5.7.8")
	})
	t.Run("revoked by the whole token", func(t *testing.T) {
		token, id := issue(auth.Credential{})
		if err := u.revoke(ctx, token+"\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := u.store.Credential(ctx, id); !errors.Is(err, auth.ErrNoCredential) {
			t.Errorf("the token lives on: %v", err)
		}
		if err := u.revoke(ctx, token); err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("revoked twice: %v", err)
		}
	})
	t.Run("held", func(t *testing.T) {
		token, id := issue(auth.Credential{})
		if err := u.keyring.Update(ctx, id, func(c *auth.Credential) error {
			c.Held = true
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		_, err := logon(anna, token)
		mailtest.WantReply(t, err, "535 5.7.8")
	})
	t.Run("expired", func(t *testing.T) {
		token, _ := issue(auth.Credential{Expires: time.Now().Add(-time.Second)})
		_, err := logon(anna, token)
		mailtest.WantReply(t, err, "535 5.7.8")
	})
	t.Run("two a minute", func(t *testing.T) {
		token, _ := issue(auth.Credential{PerMinute: 2})
		c, err := logon(anna, token)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := send(c, anna); err != nil {
				t.Error(err)
			}
		}
		mailtest.WantReply(t, send(c, anna), "450 4.7.1")
	})
	t.Run("capitals do not matter", func(t *testing.T) {
		for _, owner := range []string{anna, "Anna@Example.com"} {
			token, _ := issue(auth.Credential{Owner: owner})
			for _, secret := range []string{token, password} {
				for _, user := range []string{anna, "ANNA@example.com"} {
					c, err := logon(user, secret)
					if err != nil {
						t.Errorf("%s, token of %s: %v", user, owner, err)
						continue
					}
					if err := send(c, anna); err != nil {
						t.Errorf("%s, token of %s: %v", user, owner, err)
					}
				}
			}
		}
	})
	t.Run("token for nobody", func(t *testing.T) {
		for _, owner := range []string{"Nobody@Evil.example", "anna", "*@example.com", ""} {
			if token, _, err := u.issue(ctx, auth.Credential{Owner: owner}); err == nil ||
				token != "" {
				t.Errorf("%q got a token: %v", owner, err)
			}
		}
		// as if the owner had gone meanwhile
		token, _, err := u.keyring.Issue(ctx, auth.Credential{Owner: "nobody@evil.example"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = logon("nobody@evil.example", token)
		mailtest.WantReply(t, err, "535 5.7.8")
	})
	t.Run("removed", func(t *testing.T) {
		const carl = "carl@example.com"
		if err := u.add(ctx, carl, password); err != nil {
			t.Fatal(err)
		}
		token, _ := issue(auth.Credential{Owner: carl})
		_, theirs := issue(auth.Credential{})
		var sessions []*smtp.Client
		for _, secret := range []string{password, token} {
			c, err := logon(carl, secret)
			if err != nil {
				t.Fatal(err)
			}
			if err := send(c, carl); err != nil {
				t.Error(err)
			}
			sessions = append(sessions, c)
		}
		if err := u.remove(ctx, "Carl@example.com"); err != nil {
			t.Fatal(err)
		}
		for _, c := range sessions {
			mailtest.WantReply(t, send(c, carl), "550 5.7.1")
		}
		for _, secret := range []string{password, token} {
			_, err := logon(carl, secret)
			mailtest.WantReply(t, err, "535 5.7.8")
		}
		if err := u.remove(ctx, carl); !errors.Is(err, errNoUser) {
			t.Errorf("removed twice: %v", err)
		}
		// Another Carl gets nothing that was the first one's, and others keep
		// theirs.
		if err := u.add(ctx, carl, "another password"); err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{password, token} {
			_, err := logon(carl, secret)
			mailtest.WantReply(t, err, "535 5.7.8")
		}
		if _, err := u.store.Credential(ctx, theirs); err != nil {
			t.Error(err)
		}
	})
	t.Run("wrong password", func(t *testing.T) {
		_, err := logon(anna, "wrong")
		mailtest.WantReply(t, err, "535 5.7.8")
	})
	t.Run("no password", func(t *testing.T) {
		mailtest.WantReply(t, mailtest.Send(dial(), anna, "somebody@example.net", "no"), "530 5.7")
	})
}

// TestCommand refuses what would start the relay in the place of what was
// meant.
func TestCommand(t *testing.T) {
	for args, want := range map[string]string{
		"":                                  "",
		"-smart-host mail.example.com:25":   "",
		"-issue a@example.com -label x":     "issue",
		"-revoke x -database users.db":      "revoke",
		"-label x":                          "-label: only with -issue",
		"-label x -as y@example.com":        "-as: only with -issue",
		"-label x -revoke y":                "-label: only with -issue",
		"-issue a@example.com -revoke x":    "one at a time, please: -issue, -revoke",
		"-revoke x a@example.com":           `"a@example.com" is no flag`,
		"-add-user a@example.com -issue ''": "one at a time, please: -add-user, -issue",
	} {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		for _, name := range []string{
			"smart-host", "database", "add-user", "remove-user", "issue", "label", "as", "revoke",
		} {
			flags.String(name, "", "")
		}
		if err := flags.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		got, err := command(flags)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", args, got, want)
		}
	}
}

// TestFaults are found before the queue is opened.
func TestFaults(t *testing.T) {
	dir := t.TempDir()
	err := run(
		t.Context(), new(users), options{certificate: filepath.Join(dir, "cert.pem")},
		filepath.Join(dir, "spool"),
	)
	if err == nil || !strings.Contains(err.Error(), "cert.pem") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "spool")); err == nil {
		t.Error("the queue was opened")
	}
}

// TestPrivateFiles: the database and what SQLite keeps beside it are for their
// owner alone, also under an odd name.
func TestPrivateFiles(t *testing.T) {
	dir := t.TempDir()
	u, err := openUsers(t.Context(), filepath.Join(dir, "users #1?.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer u.db.Close()
	if err := u.add(t.Context(), anna, password); err != nil {
		t.Fatal(err)
	}
	if err := u.add(t.Context(), "anna", password); err == nil {
		t.Error("a user without an address was taken")
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v", f.Name(), info.Mode())
		}
	}
}
