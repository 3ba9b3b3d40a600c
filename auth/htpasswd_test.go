package auth_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/postern-mail/postern/auth"
)

func hash(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

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

func TestHtpasswd(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	long := strings.Repeat("x", 72)
	bcryptB := strings.Replace(hash(t, "bee"), "$2a$", "$2b$", 1)
	bcryptY := strings.Replace(hash(t, "why"), "$2a$", "$2y$", 1)
	write(
		t, path,
		fmt.Sprintf(
			"# users\nanna:%s\r\n\n  bert@example.com:%s  \nyvo:%s\nlong:%s", hash(t, "secret"),
			bcryptB, bcryptY, hash(t, long),
		),
		1,
	)
	h, err := auth.OpenHtpasswd(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time from what is remembered
		for _, tt := range []struct{ user, password, want string }{
			{"anna", "secret", "yes"},
			{"anna", "Secret", "no"},
			{"anna", "", "no"},
			{"anna", "secret\x00", "no"},
			{"ANNA", "secret", "no"},
			{"bert@example.com", "bee", "yes"},
			{"bert@example.com", "secret", "no"},
			{"yvo", "why", "yes"},
			{"nobody", "secret", "no"},
			{"# users", "secret", "no"},
			{"", "secret", "no"},
			{"anna\n", "secret", "no"},
			{"long", long, "yes"},
			{"long", long + "x", "no"},
		} {
			if got := outcome(t, h, tt.user, tt.password); got != tt.want {
				t.Errorf("%q with %q: %s", tt.user, tt.password, got)
			}
		}
	}
	if _, err := h.Verify(
		t.Context(), auth.Proof{Username: "anna", Password: "secret", Authzid: "yvo"},
	); !errors.Is(err, auth.ErrBadCredentials) {
		t.Errorf("acting as another: %v", err)
	}
}

func TestHtpasswdReload(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	write(t, path, "anna:"+hash(t, "one")+"\n", 1)
	synctest.Test(t, func(t *testing.T) {
		var reported []error
		h, err := auth.OpenHtpasswd(path, &auth.HtpasswdOptions{OnReloadError: func(err error) {
			reported = append(reported, err)
		}})
		if err != nil {
			t.Fatal(err)
		}
		check := func(user, password, want string) {
			t.Helper()
			if got := outcome(t, h, user, password); got != want {
				t.Errorf("%q with %q: %s, want %s", user, password, got, want)
			}
		}
		check("anna", "one", "yes")

		write(t, path, "anna:"+hash(t, "two")+"\nbert:"+hash(t, "three")+"\n", 2)
		check("anna", "one", "yes") // less than a second has passed
		time.Sleep(time.Second)
		check("anna", "one", "no") // nor is it remembered
		check("anna", "two", "yes")
		check("bert", "three", "yes")

		write(t, path, "carol:secret\n", 3)
		for range 3 {
			time.Sleep(time.Second)
			check("anna", "two", "yes")
			check("carol", "secret", "no")
		}
		if len(reported) != 1 || !strings.Contains(reported[0].Error(), path+":1: ") ||
			strings.Contains(reported[0].Error(), "secret") {
			t.Errorf("reported %v", reported)
		}

		reported = nil
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(time.Second)
			check("anna", "two", "yes")
		}
		if len(reported) != 1 || !errors.Is(reported[0], fs.ErrNotExist) {
			t.Errorf("reported %v", reported)
		}

		reported = nil
		write(t, path, "bert:"+hash(t, "four")+"\n", 4)
		time.Sleep(time.Second)
		check("anna", "two", "no")
		check("bert", "four", "yes")
		if len(reported) != 0 {
			t.Errorf("reported %v", reported)
		}
	})
}

func TestOpenHtpasswdFaults(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := auth.OpenHtpasswd(
		filepath.Join(dir, "none"), nil,
	); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := auth.OpenHtpasswd(dir, nil); err == nil {
		t.Error("opened a directory")
	}
	good := hash(t, "x")
	lines := []struct{ line, fault string }{
		{"anna:" + good, ""},
		{"justsecret", "not of the form"},
		{":" + good, "auth: no user name"},
		{"anna:" + good, `user "anna": listed twice`},
		{"a:plainsecret", `user "a": not a hash of a known format`},
		{"c:$apr1$secret$secret", `user "c": not a hash of a known format`},
		{"d:$6$secret$secret", `user "d": not a hash of a known format`},
		{"e:$2x$" + good[4:], `user "e": malformed bcrypt hash`},
		{"f:" + good[:59], `user "f": malformed`},
		{"g:" + good + "x", `user "g": malformed`},
		{"h:" + good[:58] + "\xc3\xbc", `user "h": malformed`},
		{"i:SCRAM-SHA-256$secret", `user "i": malformed SCRAM keys`},
		{"j:$2a$03$" + good[7:], `user "j": the cost`},
		{"k:$2a$31$" + good[7:], `user "k": the cost`},
		{"l:$2a$x4$" + good[7:], `user "l": the cost`},
		{"m\x01:" + good, `user "m\x01": auth: the user name`},
		{"n\xff:" + good, `user "n\xff": auth: the user name`},
		{
			strings.Repeat("n", 256) + ":" + good,
			`user "` + strings.Repeat("n", 255) + `": auth: the user name is longer`,
		},
		{"o:", `user "o": not a hash of a known format`},
		{"p:" + good, ""},
		{"q:$argon2id$v=19$secret", `user "q": malformed argon2id hash`},
	}
	var content, want strings.Builder
	path := filepath.Join(dir, "users")
	for i, l := range lines {
		content.WriteString(l.line + "\n")
		if l.fault != "" {
			fmt.Fprintf(&want, "%s:%d: %s\n", path, i+1, l.fault)
		}
	}
	write(t, path, content.String(), 1)
	_, err := auth.OpenHtpasswd(path, nil)
	if err == nil {
		t.Fatal("no error")
	}
	got, wanted := strings.Split(err.Error(), "\n"), strings.Split(
		strings.TrimSpace(want.String()), "\n",
	)
	if len(got) != len(wanted) {
		t.Fatalf("%d faults, want %d:\n%v", len(got), len(wanted), err)
	}
	for i := range got {
		if !strings.HasPrefix(got[i], wanted[i]) {
			t.Errorf("fault %q, want %q", got[i], wanted[i])
		}
	}
	if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), good[10:20]) {
		t.Errorf("the error holds a secret:\n%v", err)
	}

	write(t, path, strings.Repeat("x\n", 1000), 2)
	if _, err = auth.OpenHtpasswd(path, nil); strings.Count(err.Error(), "\n") != 19 {
		t.Errorf("%d lines", strings.Count(err.Error(), "\n")+1)
	}
	write(t, path, "", 3)
	if err := os.Truncate(path, 16<<20+1); err != nil {
		t.Fatal(err)
	}
	if _, err = auth.OpenHtpasswd(path, nil); err == nil {
		t.Error("opened a file that is too large")
	}
}

// An unknown user costs as much as a user of the file, and always the same.
func TestHtpasswdNobody(t *testing.T) {
	t.Parallel()
	cheap, dear := hash(t, "x"), "$2y$12$"+strings.Repeat("a", 53)
	for _, tt := range []struct {
		content string
		costs   map[int]bool
	}{
		{"", map[int]bool{bcrypt.DefaultCost: true}},
		{"a:" + cheap + "\n", map[int]bool{bcrypt.MinCost: true}},
		{"a:" + dear + "\nb:" + cheap + "\n", map[int]bool{bcrypt.MinCost: true, 12: true}},
	} {
		costs := map[int]bool{}
		for i := range 50 {
			_, nobody, err := auth.ParseHtpasswd("users", []byte(tt.content), fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			if _, again, _ := auth.ParseHtpasswd(
				"users", []byte(tt.content), fmt.Sprint(i),
			); again != nobody {
				t.Errorf("%s, then %s", nobody, again)
			}
			cost, err := bcrypt.Cost([]byte(nobody))
			if err != nil {
				t.Fatal(err)
			}
			costs[cost] = true
			// Anything but a mismatch would mean that no work was done.
			if tt.content == "" &&
				!errors.Is(
					bcrypt.CompareHashAndPassword([]byte(nobody), []byte("x")),
					bcrypt.ErrMismatchedHashAndPassword,
				) && i == 0 {
				t.Errorf("no work for %s", nobody)
			}
		}
		if !maps.Equal(costs, tt.costs) {
			t.Errorf("costs %v, want %v", costs, tt.costs)
		}
	}
}

func FuzzHtpasswd(f *testing.F) {
	good := hash(f, "x")
	f.Add([]byte("anna:" + good + "\n# x\r\n\nbert:" + good))
	f.Add([]byte("anna:$apr1$x\nbert\n:\n\xff:" + good))
	f.Add([]byte("a:$2y$12$" + strings.Repeat("/", 53)))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, nobody, err := auth.ParseHtpasswd("users", data, "nobody")
		if err != nil {
			if lines := strings.Count(err.Error(), "\n") + 1; lines > 20 {
				t.Fatalf("%d faults", lines)
			}
			return
		}
		if n > strings.Count(string(data), ":") {
			t.Fatalf("%d users in %q", n, data)
		}
		if nobody == "" {
			t.Fatal("nothing to compare an unknown user with")
		}
	})
}

func TestRequireSCRAM(t *testing.T) {
	t.Parallel()
	keys, err := auth.NewSCRAMKeys("secret")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "users")
	for text, want := range map[string]string{
		"anna:" + keys + "\n": "",
		"anna:" + keys + "\nbert:" + auth.HashPassword(
			"secret",
		) + "\n": `:2: user "bert": no SCRAM keys`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := auth.OpenHtpasswd(name, &auth.HtpasswdOptions{RequireSCRAM: true})
		if (err == nil) != (want == "") || err != nil && !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestHtpasswdOfWindows reads a file with a byte order mark, and says what is
// wrong with one in UTF-16.
func TestHtpasswdOfWindows(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	line := "anna:" + hash(t, "x") + "\r\n"
	write(t, path, "\xef\xbb\xbf"+line, 1)
	h, err := auth.OpenHtpasswd(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	id, err := h.Verify(t.Context(), auth.Proof{Username: "anna", Password: "x"})
	if err != nil || id.User != "anna" {
		t.Fatalf("%+v, %v", id, err)
	}
	wide := strings.Join(strings.Split(line, ""), "\x00")
	for i, text := range []string{"\xff\xfe" + wide + "\x00", "\xfe\xff\x00" + wide, wide} {
		write(t, path, text, 2+i)
		if _, err := auth.OpenHtpasswd(path, nil); err == nil ||
			!strings.Contains(err.Error(), "UTF-16") {
			t.Errorf("%.10q: error is %v", text, err)
		}
	}
	// A mark is one only at the beginning.
	write(t, path, line+"\xef\xbb\xbf"+line, 6)
	if _, err := auth.OpenHtpasswd(path, nil); err == nil {
		t.Error("a name that begins with a mark was taken")
	}
}
