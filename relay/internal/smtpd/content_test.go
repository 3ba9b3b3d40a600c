package smtpd_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postern-mail/postern/relay/internal/smtpd"
)

// slowContent is the end-of-data machine one octet at a time, from the grammar:
// what FuzzContent compares with.
func slowContent(in string) (content string, ok, ended bool, rest string) {
	body, rest, found := strings.Cut("\r\n"+in, "\r\n.\r\n")
	if !found {
		return "", false, false, ""
	}
	// The CRLF before the first line is not part of the content; the one before
	// the last dot is.
	lines := strings.Split(body, "\r\n")[1:]
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(strings.TrimPrefix(l, ".") + "\r\n")
	}
	content = b.String()
	bare := strings.ReplaceAll(content, "\r\n", "")
	return content, !strings.ContainsAny(bare, "\r\n\x00"), true, rest
}

func TestContent(t *testing.T) {
	for _, in := range []string{
		".\r\n", "\r\n.\r\n", "a\r\n.\r\nQUIT\r\n", "..\r\n.\r\n", ".a\r\n..b\r\n.\r\n",
		"a\n.\r\n\r\n.\r\n", "a\r\r\n.\r\n",
		".\r\r\n.\r\n", ".\rx\r\n.\r\n", "\x00\r\n.\r\n", "a\r\n.\n\r\n.\r\n",
		strings.Repeat("x", 5000) + "\r\n.\r\n", "no end", "a\r\n.\r",
	} {
		compareContent(t, in)
	}
}

func FuzzContent(f *testing.F) {
	for _, s := range []string{
		".\r\n", "a\r\n..b\r\n.\r\nQUIT\r\n", "a\n.\r\nb\r\r\n.\r\n", ".\r\r\n.\r\n",
	} {
		f.Add(s)
	}
	f.Fuzz(compareContent)
}

func compareContent(t *testing.T, in string) {
	want, ok, ended, rest := slowContent(in)
	for _, r := range []io.Reader{
		strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)),
		iotest.HalfReader(strings.NewReader(in)),
	} {
		c := smtpd.NewContent(r)
		got, err := io.ReadAll(c)
		switch {
		case err == nil && (!ok || string(got) != want):
			t.Fatalf("%q: got %q, want %q (well-formed: %v)", in, got, want, ok)
		case err != nil && ok:
			t.Fatalf("%q: %v", in, err)
		}
		if after, found := c.After(); found != ended || found && !strings.HasPrefix(rest, after) {
			t.Fatalf("%q: ended %v with %q left, want %v with %q", in, found, after, ended, rest)
		}
	}
}

func BenchmarkContent(b *testing.B) {
	for name, line := range map[string]string{
		"Text": strings.Repeat("x", 76), "Dots": ".." + strings.Repeat("x", 74),
	} {
		b.Run(name, func(b *testing.B) {
			in := []byte(strings.Repeat(line+"\r\n", 1<<20/78) + ".\r\n")
			r := bytes.NewReader(in)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				r.Reset(in)
				if _, err := smtpd.NewContent(r).WriteTo(io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
