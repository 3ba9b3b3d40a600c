package sevenbit_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postern-mail/postern/relay/internal/sevenbit"
)

// TestLines refuses headers of parts with line ends that others read otherwise,
// and gives all else back.
func TestLines(t *testing.T) {
	const mixed = "multipart/mixed; boundary=b"
	for _, tt := range []struct {
		contentType, body string
		want              error
	}{
		{"", "X-A: y\rB: c\n\x00", nil},
		{"", "", nil},
		{"image/png", "\x00\xff\r\n\n\r", nil},
		{mixed, "before\n\x00\r\n--b\r\nX-A: y\r\n\r\nB: c\rd\n\x00\r\n--b--\r\nafter\n", nil},
		{mixed, "--b\r\n\r\n\x00\n\r\n--b--", nil},
		{mixed, "--b\r\n\x00\n\r\n--b--", sevenbit.ErrLines},
		{mixed, "--b\r\nX-A: y\rB: c\r\n\r\n", sevenbit.ErrLines},
		{mixed, "--b\r\n\r\n\r\n--b\r\nX-A: y\r\nB: c\n\r\n", sevenbit.ErrLines},
		{mixed, "--b\r\nX-A: \x00\r\n\r\n", sevenbit.ErrLines},
		{mixed, "--b\r\nX-A: " + strings.Repeat("x", 40<<10) + "\rB: c\r\n\r\n", sevenbit.ErrLines},
		{mixed, "--b\r\nX-A: y\r", sevenbit.ErrLines},
		{"message/rfc822", "X-A: y\rB: c\r\n\r\n", sevenbit.ErrLines},
		{"message/rfc822", "X-A: y\r\n\r\nB: c\rd\n\x00", nil},
		{"multipart/digest; boundary=b", "--b\r\n\r\nX-A: y\rB: c\r\n\r\n", sevenbit.ErrLines},
		{mixed, strings.Repeat("--b\r\n\r\n", 10_001), sevenbit.ErrUnfit},
	} {
		for name, r := range map[string]io.Reader{
			"whole":  strings.NewReader(tt.body),
			"octets": iotest.OneByteReader(strings.NewReader(tt.body)),
		} {
			got, err := io.ReadAll(sevenbit.Lines([]string{tt.contentType}, r))
			if !errors.Is(err, tt.want) || err == nil && string(got) != tt.body {
				t.Errorf("%.60q by %s: %.60q, %v", tt.body, name, got, err)
			}
		}
	}
	r := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(io.ErrClosedPipe))
	if got, err := io.ReadAll(sevenbit.Lines(nil, r)); err != io.ErrClosedPipe {
		t.Errorf("broken: %q, %v", got, err)
	}
}

// TestLinesOfObscureParts holds a body to the rules of a header where another
// reader may see parts that the walker does not follow.
func TestLinesOfObscureParts(t *testing.T) {
	const odd = "--b\r\nX-A: y\rB: c\r\n\r\nd\r\n--b--\r\n"
	const whole = "--b\r\nX-A: y\r\nB: c\r\n\r\nd\r\n--b--\r\n"
	const mixed = "multipart/mixed; boundary=b"
	inner := func(header string) string {
		return "--a\r\n" + header + "\r\n\r\n"
	}
	outer := []string{"multipart/mixed; boundary=a"}
	for _, tt := range []struct {
		types []string
		front string
	}{
		{[]string{mixed + "; boundary=b"}, ""},
		{[]string{mixed + " (c)"}, ""},
		{[]string{"multipart/mixed boundary=b"}, ""},
		{[]string{`multipart/mixed; boundary="b "`}, ""},
		{[]string{"text/plain", mixed}, ""},
		{[]string{mixed, "multipart/mixed; boundary=c"}, ""},
		{[]string{"multipart/mixed; boundary=c", mixed}, ""},
		{outer, inner("Content-Type: " + mixed + "\r\nContent-Transfer-Encoding: base64")},
		{outer, inner("Content-Type: text/plain\r\nContent-Type: " + mixed)},
		{outer, inner("Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64")},
		{outer, inner("Content-Type: message/global")},
	} {
		got, err := io.ReadAll(sevenbit.Lines(tt.types, strings.NewReader(tt.front+odd)))
		if !errors.Is(err, sevenbit.ErrLines) {
			t.Errorf("%q, %q: %q, %v", tt.types, tt.front, got, err)
		}
		got, err = io.ReadAll(sevenbit.Lines(tt.types, strings.NewReader(tt.front+whole)))
		if err != nil || string(got) != tt.front+whole {
			t.Errorf("%q, %q: %q, %v", tt.types, tt.front, got, err)
		}
	}
	const plain = "\x00\r--b\nX-A: y\r\n"
	for _, types := range [][]string{{"text/plain", "image/png"}, {"no type", ""}, nil} {
		got, err := io.ReadAll(sevenbit.Lines(types, strings.NewReader(plain)))
		if err != nil || string(got) != plain {
			t.Errorf("%q: %q, %v", types, got, err)
		}
	}
}

func FuzzLines(f *testing.F) {
	for seed := range uint64(10) {
		g := &tree{Rand: rand.New(rand.NewPCG(seed, 2))}
		g.entity(3, true)
		_, body, _ := strings.Cut(g.out.String(), "\r\n\r\n")
		f.Add("multipart/mixed; boundary=b", body)
	}
	f.Add("multipart/mixed; boundary=b", "--b\r\nX-A: y\rB: c\r\n\r\n--b--")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		got, err := io.ReadAll(sevenbit.Lines([]string{contentType}, strings.NewReader(body)))
		if strings.ContainsAny(contentType, "\r\n\x00") {
			return // no value of a field
		}
		if !strings.HasPrefix(body, string(got)) || err == nil && len(got) != len(body) {
			t.Fatalf("%q, %q gave %q, %v", contentType, body, got, err)
		}
		if odd := strings.ContainsAny(strings.ReplaceAll(body, "\r\n", ""), "\r\n\x00"); !odd &&
			errors.Is(err, sevenbit.ErrLines) {
			t.Fatalf("%q, %q: %v", contentType, body, err)
		}
	})
}
