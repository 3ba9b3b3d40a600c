package delivery_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/delivery"
	"github.com/postern-mail/postern/relay/spool"
)

const text = "From: app@example.test\r\nSubject: test\r\n\r\nbody\r\n"

var errSecret = errors.New("disk full")

// failing gives some content, then fails.
type failing struct {
	content string
	err     error
}

func (f *failing) Read(p []byte) (int, error) {
	if f.content == "" {
		return 0, f.err
	}
	n := copy(p, f.content)
	f.content = f.content[n:]
	return n, nil
}

// attemptOf is an attempt to deliver content to recipients.
func attemptOf(id, content string, to ...string) *delivery.Attempt {
	a := &delivery.Attempt{
		QueueID: id, Number: 1, Message: spool.Message{From: "app@example.test"},
		Open: func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader(content)), nil
		},
	}
	for _, r := range to {
		a.Recipients = append(a.Recipients, spool.Recipient{Address: r})
	}
	return a
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			path, err = filepath.Rel(dir, path)
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMaildir(t *testing.T) {
	dir := t.TempDir()
	box := delivery.Maildir(filepath.Join(dir, "mail"))
	for range 2 { // the second attempt replaces the copy of the first
		for i, r := range box.Deliver(
			t.Context(), attemptOf("id1", text, "Alice@Example.test", "bob@example.test"),
		) {
			if r.Err != nil {
				t.Fatalf("recipient %d: %v", i, r.Err)
			}
		}
	}
	got := files(t, dir)
	if len(got) != 2 || got[0] != "mail/alice@example.test/new/id1.postern" ||
		got[1] != "mail/bob@example.test/new/id1.postern" {
		t.Fatalf("files %q", got)
	}
	path := filepath.Join(dir, got[0])
	b, err := os.ReadFile(path)
	if err != nil ||
		string(
			b,
		) != "Return-Path: <app@example.test>\r\nDelivered-To: Alice@Example.test\r\n"+text {
		t.Errorf("content %q, %v", b, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	// A copy that was read, and so moved, is not delivered again.
	read := filepath.Join(dir, "mail/alice@example.test/cur/id1.postern:2,S")
	if err := os.Rename(path, read); err != nil {
		t.Fatal(err)
	}
	if r := box.Deliver(
		t.Context(), attemptOf("id1", text, "alice@example.test"),
	); r[0].Err != nil {
		t.Error(r[0].Err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("delivered again: %v", err)
	}
}

// TestMaildirForeignFields drops the fields of a final delivery that the sender
// made up, and no others.
func TestMaildirForeignFields(t *testing.T) {
	dir := t.TempDir()
	box := delivery.Maildir(dir)
	for i, c := range []struct{ in, want string }{
		{"Received: by relay\r\nReturn-Path: <ceo@example.test>\r\n" +
			"Delivered-To:\r\n other@example.test\r\nFrom: a@b.test\r\n" +
			"delivered-to\r\n : x\r\n\r\nReturn-Path: body\r\n",
			"Received: by relay\r\nFrom: a@b.test\r\n\r\nReturn-Path: body\r\n"},
		{text, text},
		{"X-Return-Path: x\r\n\r\n" + strings.Repeat("body\r\n", 100_000),
			"X-Return-Path: x\r\n\r\n" + strings.Repeat("body\r\n", 100_000)},
		{"A: " + strings.Repeat("x", 1<<20) + "\r\nReturn-Path: x\r\n\r\n", "A: " +
			strings.Repeat("x", 1<<20) + "\r\n\r\n"},
	} {
		id := "id" + string(rune('0'+i))
		if r := box.Deliver(t.Context(), attemptOf(id, c.in,
			"alice@example.test")); r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "alice@example.test/new", id+".postern"))
		if err != nil {
			t.Fatal(err)
		}
		const ours = "Return-Path: <app@example.test>\r\nDelivered-To: alice@example.test\r\n"
		if got := string(b); got != ours+c.want {
			t.Errorf("%.100q became %.200q", c.in, got)
		}
	}
}

// TestMaildirNames tries addresses that would name something else than a
// mailbox.
func TestMaildirNames(t *testing.T) {
	dir := t.TempDir()
	box := delivery.Maildir(filepath.Join(dir, "mail"))
	for _, to := range []string{
		`../../etc/passwd@example.test`, `"../../etc/passwd"@example.test`,
		`"..\\..\\etc"@example.test`, `"/etc/passwd"@example.test`,
		`".."@example.test`, `"."@example.test`, `".hidden"@example.test`, `a/b@example.test`,
		`"a:b"@example.test`, `a@[IPv6:::1]`,
		`not an address`,
	} {
		r := box.Deliver(t.Context(), attemptOf("id1", text, to))
		if r[0].Err == nil {
			t.Errorf("%s was delivered", to)
		}
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("files %q", got)
	}
	// Odd names that are no harm, and stand for themselves alone.
	for _, to := range []string{
		`*@example.test`, `?@example.test`, `"a b"@example.test`, `alice+tag@example.test`,
		`x@[127.0.0.1]`, `jürgen@example.test`,
	} {
		if r := box.Deliver(t.Context(), attemptOf("id1", text, to)); r[0].Err != nil {
			t.Errorf("%s: %v", to, r[0].Err)
		}
	}
	if got := files(t, dir); len(got) != 6 {
		t.Errorf("files %q", got)
	}
	if err := os.Rename(
		filepath.Join(dir, "mail/?@example.test/new/id1.postern"),
		filepath.Join(dir, "mail/?@example.test/cur/id1.postern:2,S"),
	); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "mail/*@example.test/new/id1.postern")); err != nil {
		t.Fatal(err)
	}
	if r := box.Deliver(t.Context(), attemptOf("id1", text, "*@example.test")); r[0].Err != nil {
		t.Error(r[0].Err)
	}
	if _, err := os.Stat(filepath.Join(dir, "mail/*@example.test/new/id1.postern")); err != nil {
		t.Errorf("another mailbox was taken for this one: %v", err)
	}
}

// TestMaildirBreaks lets the content fail half way: nothing is left, and the
// failure is temporary.
func TestMaildirBreaks(t *testing.T) {
	dir := t.TempDir()
	box := delivery.Maildir(dir)
	a := attemptOf("id1", text, "alice@example.test")
	a.Open = func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(&failing{"Subject: half", errSecret}), nil
	}
	r := box.Deliver(t.Context(), a)
	if !errors.Is(r[0].Err, errSecret) {
		t.Errorf("error %v", r[0].Err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("files %q", got)
	}
	blocked := filepath.Join(dir, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := delivery.Maildir(blocked).Deliver(
		t.Context(), attemptOf("id1", text, "alice@example.test"),
	); r[0].Err == nil {
		t.Error("delivered into a file")
	}
}

// TestMaildirNeedsDirectory finds the fault before mail lands beside the
// program.
func TestMaildirNeedsDirectory(t *testing.T) {
	for dir, want := range map[string]bool{"": false, t.TempDir(): true} {
		v, ok := delivery.Maildir(dir).(interface{ Validate() error })
		if !ok || (v.Validate() == nil) != want {
			t.Errorf("%q: checked %v", dir, ok)
		}
	}
}
