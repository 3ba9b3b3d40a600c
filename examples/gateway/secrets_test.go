package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/examples/internal/mailtest"
)

// TestSaltOfNobodyOverRestarts: a name that is no user's has the same salt
// after a restart, like that of a user.
func TestSaltOfNobodyOverRestarts(t *testing.T) {
	var keys strings.Builder
	if code := run([]string{"-password"}, strings.NewReader("secret\n"), &keys,
		io.Discard); code != 0 {
		t.Fatal(code)
	}
	config := site(t, "scram = true\n"+strings.ReplaceAll(base, "SINK", mailtest.NewSink(t).Addr))
	dir := filepath.Dir(config)
	mailtest.Write(t, filepath.Join(dir, "users.htpasswd"), "app@example.test:"+keys.String())
	secret := filepath.Join(dir, "spool", secretName)
	var salts []string
	for range 2 {
		g := startAt(t, config)
		salts = append(salts, g.salt("nobody@example.test"))
		g.stop()
		info, err := os.Stat(secret)
		if err != nil || info.Mode() != 0o600 || info.Size() != secretSize {
			t.Errorf("%v, %v", info, err)
		}
	}
	if salts[0] != salts[1] {
		t.Errorf("salts %q", salts)
	}
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	g := startAt(t, config)
	if salts = append(salts, g.salt("nobody@example.test")); salts[2] == salts[0] {
		t.Error("another secret makes the same salt")
	}
	g.stop()
}

// TestSecretThatCannotBeKept serves all the same, with a secret of this
// process, and says so.
func TestSecretThatCannotBeKept(t *testing.T) {
	for _, name := range []string{"short", "a directory", "nowhere"} {
		dir := t.TempDir()
		switch name {
		case "short":
			mailtest.Write(t, filepath.Join(dir, secretName), "short")
		case "a directory":
			if err := os.Mkdir(filepath.Join(dir, secretName), 0o700); err != nil {
				t.Fatal(err)
			}
		case "nowhere":
			dir = filepath.Join(dir, "none")
		}
		var log bytes.Buffer
		last, first := newLasting(), &auth.Server{SCRAM: auth.SCRAMStoreFunc(nil)}
		last.keep(filepath.Join(dir, secretName), first, textLog(&log))
		second := &auth.Server{SCRAM: auth.SCRAMStoreFunc(nil)}
		last.keep(filepath.Join(dir, secretName), second, textLog(&log))
		if len(first.SCRAMSecret) != secretSize ||
			!slices.Equal(first.SCRAMSecret, second.SCRAMSecret) {
			t.Errorf("%s: %d octets, then others", name, len(first.SCRAMSecret))
		}
		if !strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("%s: %s", name, &log)
		}
	}
}

// TestNoSecretWithoutSCRAM leaves no file that nobody needs.
func TestNoSecretWithoutSCRAM(t *testing.T) {
	dir := t.TempDir()
	newLasting().keep(filepath.Join(dir, secretName), nil, textLog(t.Output()))
	newLasting().keep(filepath.Join(dir, secretName), new(auth.Server), textLog(t.Output()))
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
}

// TestWarnsOfReadableSecrets: every file with a secret that others may read has
// a line in the log.
func TestWarnsOfReadableSecrets(t *testing.T) {
	config := site(t, strings.Replace(sample(t), `tls = "Opportunistic"`,
		"tls = \"DomainValidation\"\ntls_domain = \"smtp.example.test\"\n"+
			"username = \"u\"\npassword_file = \"password.txt\" #", 1))
	dir := filepath.Dir(config)
	mailtest.Write(t, filepath.Join(dir, "password.txt"), "secret\n")
	warnings := func() string {
		var log bytes.Buffer
		if _, _, found := load(config, newLasting(), textLog(&log)); len(found) > 0 {
			t.Fatal(found)
		}
		return log.String()
	}
	if got := warnings(); got != "" {
		t.Errorf("files of their owner: %s", got)
	}
	for name, field := range map[string]string{
		"users.htpasswd": "users", "key.pem": "tls.key", "dkim.pem": "dkim[0].key",
		"password.txt": "send_connector[0].password_file", "cert.pem": "", "people.txt": "",
	} {
		for _, mode := range []os.FileMode{0o644, 0o602, 0o640, 0o600} {
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
			got := warnings()
			if want := field != "" && mode&0o006 != 0; strings.Contains(got, "field="+field+" "+
				"file=") != want ||
				!want && got != "" {
				t.Errorf("%s with %v: %s", name, mode, got)
			}
		}
	}
}
