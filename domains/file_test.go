package domains_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postern-mail/postern/domains"
)

// write replaces a file as an administrator should, and gives it a time stamp
// that no other write gives.
func write(t *testing.T, path, content string, stamp int) {
	t.Helper()
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Date(1990, 1, 1, 0, 0, stamp, 0, time.UTC)
	if err := os.Chtimes(tmp, at, at); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
}

func TestRecipientsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "recipients")
	write(t, path, "# people\nalice\r\n\n  bob@example.com  \n\"a b\"", 1)
	synctest.Test(t, func(t *testing.T) {
		r, err := domains.OpenRecipients(path)
		if err != nil {
			t.Fatal(err)
		}
		check := func(in string, want bool, temporary bool) {
			t.Helper()
			known, err := r.Resolve(t.Context(), domains.MustParse(in))
			if known != want || (err != nil) != temporary {
				t.Errorf("Resolve(%s) = %v, %v", in, known, err)
			}
		}
		check("alice@x.test", true, false)
		check("Bob@example.com", true, false)
		check("bob@x.test", false, false)
		check(`"a b"@x.test`, true, false)
		check("carol@x.test", false, false)

		write(t, path, "carol\n", 2)
		check("carol@x.test", false, false) // less than a second has passed
		time.Sleep(time.Second)
		check("carol@x.test", true, false)
		check("alice@x.test", false, false)

		// A fault: what was known stays, the rest is not known now.
		write(t, path, "carol\ndave\ne f\n", 3)
		time.Sleep(time.Second)
		check("carol@x.test", true, false)
		check("dave@x.test", false, true)
		time.Sleep(time.Second)
		check("dave@x.test", false, true)

		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		check("carol@x.test", true, false)
		if _, err := r.Resolve(
			t.Context(), domains.MustParse("dave@x.test"),
		); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Resolve without a file: %v", err)
		}
		write(t, path, "dave\n", 4)
		time.Sleep(time.Second)
		check("dave@x.test", true, false)
		check("carol@x.test", false, false)
	})
}

func TestOpenRecipientsFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := domains.OpenRecipients(
		filepath.Join(dir, "none"),
	); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := domains.OpenRecipients(dir); err == nil {
		t.Error("opened a directory")
	}
	path := filepath.Join(dir, "bad")
	write(t, path, "ok\na b\n\n# x\nc@d@e\n"+strings.Repeat("x", 2000)+"\n", 1)
	_, err := domains.OpenRecipients(path)
	if err == nil || !errors.Is(err, domains.ErrAddress) {
		t.Fatal(err)
	}
	for _, line := range []int{2, 5, 6} {
		if !strings.Contains(err.Error(), fmt.Sprintf("%s:%d: ", path, line)) {
			t.Errorf("line %d is not named in:\n%v", line, err)
		}
	}
	write(t, path, strings.Repeat("a b\n", 1000), 2)
	if _, err = domains.OpenRecipients(path); strings.Count(err.Error(), "\n") != 19 {
		t.Errorf("%d lines", strings.Count(err.Error(), "\n")+1)
	}
	write(t, path, "", 3)
	if err := os.Truncate(path, 64<<20+1); err != nil {
		t.Fatal(err)
	}
	if _, err = domains.OpenRecipients(path); err == nil {
		t.Error("opened a file that is too large")
	}
}

func TestRecipientsFileUnsettled(t *testing.T) {
	t.Parallel()
	// A file changed twice within one tick of the clock, without a new size.
	path := filepath.Join(t.TempDir(), "recipients")
	if err := os.WriteFile(path, []byte("alice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		set := func(content string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			at := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when the bubble begins
			if err := os.Chtimes(path, at, at); err != nil {
				t.Fatal(err)
			}
		}
		set("alice\n")
		r, err := domains.OpenRecipients(path)
		if err != nil {
			t.Fatal(err)
		}
		set("carol\n")
		time.Sleep(time.Second)
		if known, err := r.Resolve(t.Context(), domains.MustParse("carol@x")); !known ||
			err != nil {
			t.Errorf("%v, %v", known, err)
		}
	})
}

func TestRecipientsFileConcurrently(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "recipients")
	write(t, path, "alice\n", 0)
	synctest.Test(t, func(t *testing.T) {
		r, err := domains.OpenRecipients(path)
		if err != nil {
			t.Fatal(err)
		}
		a := domains.MustParse("alice@x")
		for i := range 5 {
			write(t, path, fmt.Sprintf("alice\nu%d\n", i), i+1)
			time.Sleep(time.Second)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if known, err := r.Resolve(t.Context(), a); !known || err != nil {
						t.Errorf("%v, %v", known, err)
					}
				})
			}
			wg.Wait()
			if known, _ := r.Resolve(
				t.Context(), domains.MustParse(fmt.Sprintf("u%d@x", i)),
			); !known {
				t.Errorf("u%d is not known", i)
			}
		}
	})
}

func FuzzRecipients(f *testing.F) {
	f.Add([]byte("alice\n# x\nbob@example.com\n\"a b\"\r\n"))
	f.Add([]byte("a b\nc@d@e\n\xff\n\x00"))
	path := filepath.Join(f.TempDir(), "recipients")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := domains.OpenRecipients(path)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			a, err := domains.Parse(line)
			if err != nil {
				a = domains.MustParse(line + "@example.com")
			}
			if known, err := r.Resolve(t.Context(), a); !known || err != nil {
				t.Fatalf("%q of the list: %v, %v", line, known, err)
			}
		}
	})
}

// TestRecipientsFileOfWindows reads a file with a byte order mark, and says
// what is wrong with one in UTF-16.
func TestRecipientsFileOfWindows(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "people")
	write(t, path, "\xef\xbb\xbfanna\r\nbernd\r\n", 1)
	r, err := domains.OpenRecipients(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"anna", "bernd"} {
		a, err := domains.Parse(name + "@example.com")
		if err != nil {
			t.Fatal(err)
		}
		if known, err := r.Resolve(t.Context(), a); !known || err != nil {
			t.Errorf("%s: %v, %v", name, known, err)
		}
	}
	for i, text := range []string{"\xff\xfea\x00\r\x00\n\x00", "\xfe\xff\x00a", "a\x00b\x00"} {
		write(t, path, text, 2+i)
		if _, err := domains.OpenRecipients(path); err == nil ||
			!strings.Contains(err.Error(), "UTF-16") {
			t.Errorf("%q: error is %v", text, err)
		}
	}
}

// TestNilResolvers: nothing is known now, which refuses nobody.
func TestNilResolvers(t *testing.T) {
	for _, r := range []domains.Resolver{
		domains.ResolverFunc(nil), (*domains.RecipientsFile)(nil),
	} {
		if known, err := r.Resolve(t.Context(), domains.MustParse("anna@example.test")); known ||
			err == nil {
			t.Errorf("%T: %v, %v", r, known, err)
		}
	}
}
