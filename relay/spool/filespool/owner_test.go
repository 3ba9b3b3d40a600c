//go:build unix

package filespool_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/postern-mail/postern/relay/spool/filespool"
)

// TestForeignDirectory refuses a directory that somebody else could change, and
// takes one that is ours alone.
func TestForeignDirectory(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(dir string) error
		want   string // of the error; empty is none
		warns  bool
	}{
		"ours":     {change: func(string) error { return nil }},
		"readable": {change: func(dir string) error { return os.Chmod(dir, 0o755) }},
		"group": {
			change: func(dir string) error { return os.Chmod(dir, 0o770) }, warns: true,
		},
		"everybody": {
			change: func(dir string) error { return os.Chmod(dir, 0o707) }, want: "chmod o-w",
		},
		"files": {
			change: func(dir string) error { return os.Chmod(filepath.Join(dir, "files"), 0o777) },
			want:   "chmod o-w",
		},
		"segment": {
			change: func(dir string) error {
				return os.Chmod(filepath.Join(dir, firstSegment), 0o666)
			},
			want: "chmod o-w",
		},
		"files elsewhere": {
			change: func(dir string) error {
				files := filepath.Join(dir, "files")
				return errors.Join(os.Rename(files, dir+".moved"), os.Symlink(dir+".moved", files))
			},
			want: "files is L",
		},
		"segment elsewhere": {
			change: func(dir string) error {
				log := filepath.Join(dir, firstSegment)
				return errors.Join(os.Rename(log, dir+".moved"), os.Symlink(dir+".moved", log))
			},
			want: firstSegment + " is L",
		},
		"pipe": {
			change: func(dir string) error {
				return syscall.Mkfifo(filepath.Join(dir, "spare"), 0o600)
			},
			want: "spare is p",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "spool")
			s := open(t, dir, nil)
			s.Close()
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			s, err := filespool.Open(dir, &filespool.Options{Logger: logTo(&said)})
			if err == nil {
				s.Close()
			}
			if c.want == "" && err != nil || c.want != "" && (err == nil ||
				!strings.Contains(err.Error(), c.want)) {
				t.Fatalf("error is %v, want %q", err, c.want)
			}
			if warned := strings.Contains(said.String(), "group may write"); warned != c.warns {
				t.Fatalf("log %q", said.String())
			}
		})
	}
}

// TestForeignOwner refuses what belongs to another user. Only root can give
// away.
func TestForeignOwner(t *testing.T) {
	t.Parallel()
	for _, name := range []string{".", "files", "lock", firstSegment} {
		dir := filepath.Join(t.TempDir(), "spool")
		s := open(t, dir, nil)
		s.Close()
		err := os.Chown(filepath.Join(dir, name), 12345, -1)
		if os.Geteuid() != 0 && errors.Is(err, fs.ErrPermission) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		_, err = filespool.Open(dir, nil)
		if err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

// TestLockElsewhere follows no link that stands where the lock should be.
func TestLockElsewhere(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "spool")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	elsewhere := dir + ".elsewhere"
	if err := os.Symlink(elsewhere, filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := filespool.Open(dir, nil); !errors.Is(err, syscall.ELOOP) {
		t.Fatalf("error is %v, want ELOOP", err)
	}
	if _, err := os.Stat(elsewhere); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a file was made elsewhere: %v", err)
	}
}
