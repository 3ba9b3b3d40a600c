package filespool_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern-mail/postern/relay/spool"
	"github.com/postern-mail/postern/relay/spool/filespool"
	"github.com/postern-mail/postern/relay/spool/spooltest"
)

// change rewrites a file in place.
func change(t *testing.T, name string, f func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, f(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func flip(b []byte, at int) []byte {
	b[at] ^= 0x10
	return b
}

// TestDamagedContent damages content in the log and in files of their own.
func TestDamagedContent(t *testing.T) {
	t.Parallel()
	inLog := func(t *testing.T, dir string, id spool.ID) {
		change(t, filepath.Join(dir, firstSegment), func(b []byte) []byte {
			at := bytes.Index(b, []byte(id.String()))
			if at < 0 {
				t.Fatal("the content is not in the log")
			}
			return flip(b, at+50)
		})
	}
	for name, damage := range map[string]func(t *testing.T, file string){
		"Flipped": func(t *testing.T, file string) {
			change(t, file, func(b []byte) []byte { return flip(b, len(b)/2) })
		},
		"Short": func(t *testing.T, file string) {
			if err := os.Truncate(file, 500); err != nil {
				t.Fatal(err)
			}
		},
		"Gone": func(t *testing.T, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spooltest.RunDamage(t, func(t *testing.T) (func() spool.Store, func(spool.ID)) {
				dir := t.TempDir()
				reopen := func() spool.Store {
					return open(t, dir, &filespool.Options{Logger: filespool.Quiet()})
				}
				return reopen, func(id spool.ID) {
					file := filepath.Join(dir, "files", id.String())
					if _, err := os.Stat(file); err != nil {
						inLog(t, dir, id)
						return
					}
					damage(t, file)
				}
			})
		})
	}
}

// TestDamagedContentIsSaved looks for what was found, after the message is
// finished.
func TestDamagedContentIsSaved(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var said strings.Builder
	s := open(t, dir, &filespool.Options{Logger: logTo(&said), Threshold: 2000})
	short, long := spool.NewID(time.Now()), spool.NewID(time.Now())
	put(t, s, short, []byte(contents(short, 10)), deliveries("a", time.Now()))
	put(t, s, long, []byte(contents(long, 1000)), deliveries("a", time.Now()))
	change(t, filepath.Join(dir, firstSegment), func(b []byte) []byte {
		return flip(b, bytes.Index(b, []byte(contents(short, 2))))
	})
	change(t, filepath.Join(dir, "files", long.String()), func(b []byte) []byte {
		return flip(b, 0)
	})
	for _, id := range []spool.ID{short, long} {
		for range 2 {
			if err := readAs(t, s, id); !errors.Is(err, filespool.ErrDamaged) {
				t.Fatalf("error is %v, want ErrDamaged", err)
			}
		}
		if n := strings.Count(said.String(), "id="+id.String()); n != 1 {
			t.Errorf("the log tells %d times of %v: %s", n, id, said.String())
		}
	}
	l, err := s.Lease(t.Context(), spool.LeaseRequest{Max: 9, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range l.Leases {
		if err := s.Settle(
			t.Context(), spool.Settlement{ID: l.Delivery.ID, Token: l.Token},
		); err != nil {
			t.Fatal(err)
		}
	}
	s.Flush()
	s.Close()
	for _, id := range []spool.ID{short, long} {
		if n := len(savedWith(t, dir, contents(id, 5)[30:100])); n != 1 {
			t.Errorf("%d files hold what is left of %v", n, id)
		}
	}
	if files, err := os.ReadDir(filepath.Join(dir, "files")); err != nil || len(files) > 0 {
		t.Errorf("left %v, %v", files, err)
	}
}

// savedWith returns the files kept aside that hold a text.
func savedWith(t *testing.T, dir, text string) (names []string) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*.damaged"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range list {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(b, []byte(text)) {
			names = append(names, filepath.Base(name))
		}
	}
	return names
}
