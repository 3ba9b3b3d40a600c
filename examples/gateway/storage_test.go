package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/examples/internal/mailtest"
)

// TestStorage reads where the queue is kept. No password is ever shown.
func TestStorage(t *testing.T) {
	for name, c := range map[string]struct {
		lines string // in the place of spool = "spool"
		want  string // the place, or the field of a fault
	}{
		"absolute": {`spool = "/var/spool/x"`, "/var/spool/x"},
		"database": {
			`spool = "postgres://u@h/d?sslmode=disable"`, "postgres://u@h/d?sslmode=disable",
		},
		"other word": {`spool = "postgresql://h/d"`, "postgresql://h/d"},
		"with password": {
			`spool = "postgres://u:hush@h/d"`, "postgres://u@h/d",
		},
		"password file": {
			"spool = \"postgres://u@h/d\"\nspool_password_file = \"hush.txt\"", "postgres://u@h/d",
		},
		"broken":      {`spool = "postgres://u:hush%zz@h/d"`, "spool"},
		"broken mode": {`spool = "postgres://u:hush@h/d?sslmode=x"`, "spool"},
		"in query":    {`spool = "postgres://u@h/d?password=hush"`, "spool"},
		"two passwords": {
			"spool = \"postgres://u:hush@h/d\"\nspool_password_file = \"hush.txt\"",
			"spool_password_file",
		},
		"password of a directory": {
			"spool = \"spool\"\nspool_password_file = \"hush.txt\"", "spool_password_file",
		},
		"no such file": {
			"spool = \"postgres://u@h/d\"\nspool_password_file = \"none\"", "spool_password_file",
		},
		"scram without a file": {
			"spool = \"postgres://u@h/d\"\nscram = true", "scram_secret_file",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := site(t, strings.Replace(base, `spool = "spool"`, c.lines, 1))
			mailtest.Write(t, filepath.Join(filepath.Dir(config), "hush.txt"), "hush\n")
			var log bytes.Buffer
			_, place, found := load(config, newLasting(), textLog(&log))
			got := place.String()
			for _, f := range found {
				if f.field == "users" {
					continue // their keys for SCRAM are another matter
				}
				got = f.field
			}
			if got != c.want {
				t.Errorf("got %q, want %q: %v", got, c.want, found)
			}
			if said := fmt.Sprint(log.String(), place, found); strings.Contains(said, "hush") &&
				!strings.Contains(c.lines, "hush.txt") {
				t.Errorf("the password is shown: %s", said)
			}
		})
	}
}

// TestScramSecretFile is kept where the file says, or in the directory of the
// spool.
func TestScramSecretFile(t *testing.T) {
	for lines, want := range map[string]string{
		`spool = "spool"`: "spool/scram-secret",
		"spool = \"spool\"\nscram_secret_file = \"salt\"":            "salt",
		"spool = \"postgres://u@h/d\"\nscram_secret_file = \"salt\"": "salt",
	} {
		config := site(t, strings.Replace(base, `spool = "spool"`, lines, 1))
		_, place, found := load(config, newLasting(), textLog(t.Output()))
		if len(found) > 0 || place.scramSecret != filepath.Join(filepath.Dir(config), want) {
			t.Errorf("%s: %s, %v", lines, place.scramSecret, found)
		}
	}
}

// TestWarnsOfReadablePassword: a configuration that others may read is warned
// of when the password of the database is in it.
func TestWarnsOfReadablePassword(t *testing.T) {
	for lines, want := range map[string]bool{
		`spool = "postgres://u:hush@h/d"`: true, `spool = "postgres://u@h/d"`: false,
	} {
		config := site(t, strings.Replace(base, `spool = "spool"`, lines, 1))
		if err := os.Chmod(config, 0o644); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		load(config, newLasting(), textLog(&log))
		if got := strings.Contains(log.String(), "field=spool file="); got != want {
			t.Errorf("%s: %s", lines, &log)
		}
	}
}
