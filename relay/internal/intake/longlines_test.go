package intake_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/postern-mail/postern/relay/internal/intake"
)

// TestFold folds header fields where that changes nothing, if there is such a
// place.
func TestFold(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	blanks := func(n int) string { return strings.Repeat(" ", n) }
	for _, c := range [][3]string{
		{
			"Subject:", " " + x(500) + " " + x(500) + "  " + x(600) + "\r\n",
			" " + x(500) + "\r\n " + x(500) + " \r\n " + x(600) + "\r\n",
		},
		{
			"To:", " " + x(500) + "," + x(500) + "," + x(990) + "\r\n",
			" " + x(500) + ",\r\n " + x(500) + ",\r\n " + x(990) + "\r\n",
		},
		{"S:", " " + x(998) + "\r\n", " " + x(995) + "\r\n " + x(3) + "\r\n"},
		{"S:", " " + x(994) + "\u00e9\r\n", " " + x(994) + "\r\n \u00e9\r\n"},
		{"S:", " " + x(995) + "\r\n", " " + x(995) + "\r\n"},
		{
			"S:", " a\r\n " + x(998) + "\r\n b\r\n",
			" a\r\n " + x(997) + "\r\n " + x(1) + "\r\n b\r\n",
		},
		{"S:", " a" + blanks(2000) + "\r\n", " a\r\n"},
		{"S:", " a" + blanks(3000) + "b\r\n", " a" + blanks(994) + "\r\n b\r\n"},
		{
			"S:", blanks(3000) + "b \r\n \r\n" + blanks(3000) + "\r\n" + blanks(3000) + "c\r\n",
			" b\r\n \r\n c\r\n",
		},
		{"S:", blanks(3000) + "\r\n", "\r\n"},
		{
			"S:", " " + x(980) + "\t\t" + blanks(3000) + x(990) + "  \r\n",
			" " + x(980) + "\t\t" + blanks(13) + "\r\n " + x(990) + "\r\n",
		},
		{
			"S:", " a" + blanks(500) + "b" + blanks(400) + "\r\n",
			" a" + blanks(500) + "b" + blanks(400) + "\r\n",
		},
		{"S:", " \"" + x(993) + "\\\\\\\"\r\n", " \"" + x(993) + "\r\n \\\\\\\"\r\n"},
		{x(1500) + ":", " a\r\n", "\r\n  a\r\n"},
		{x(1500) + ":", " \r\n", "\r\n"},
	} {
		if got := intake.Fold(c[1], len(c[0])); got != c[2] {
			t.Errorf("%.20q: %q\nwant %q", c[0], got, c[2])
		}
	}
}

// FuzzFold checks that no line stays too long but for a name, and that taking
// the folds out gives back what went in.
func FuzzFold(f *testing.F) {
	f.Add("word ", "\r\n\tx", uint16(400), uint16(10))
	f.Add("a,\u00e9", "", uint16(1200), uint16(2000))
	f.Add(" ", "b", uint16(1499), uint16(8))
	f.Add(
		"                                                                                      "+
			"          a",
		"", uint16(1499), uint16(8),
	)
	f.Fuzz(func(t *testing.T, piece, end string, repeat, col uint16) {
		value := strings.Repeat(piece, int(repeat)%1500) + end
		value = strings.NewReplacer("\r", "", "\n", "").Replace(value) + "\r\n"
		out := intake.Fold(value, int(col))
		for i, line := range strings.Split(out, "\r\n") {
			if i == 0 && len(line) > max(998-int(col), 0) || len(line) > 998 {
				t.Fatalf("line %d has %d octets", i, len(line))
			}
			if utf8.ValidString(value) && !utf8.ValidString(line) {
				t.Fatalf("a character was parted")
			}
			if i > 0 && line != "" && line[0] != ' ' && line[0] != '\t' {
				t.Fatalf("line %d does not go on: %q", i, line)
			}
			if (i > 0 || col == 0 && out != value) && line != "" &&
				strings.Trim(line, " \t") == "" {
				t.Fatalf("line %d is blank: %q", i, line)
			}
		}
		strip := strings.NewReplacer("\r\n", "", " ", "", "\t", "")
		if strip.Replace(out) != strip.Replace(value) {
			t.Fatal("the value has changed")
		}
	})
}

// FuzzLongLines checks that no line stays too long, and that taking the breaks
// out gives back what went in.
func FuzzLongLines(f *testing.F) {
	f.Add("line\r\n", uint16(400), uint8(3))
	f.Add("\u00e9\r\n \r\n", uint16(999), uint8(200))
	f.Fuzz(func(t *testing.T, piece string, repeat uint16, block uint8) {
		if strings.ContainsAny(piece, "\r\n") && !strings.HasSuffix(piece, "\r\n") ||
			strings.Count(piece, "\r") != strings.Count(piece, "\r\n") ||
			strings.Count(piece, "\n") != strings.Count(piece, "\r\n") {
			return // lines end in CRLF here
		}
		in := strings.Repeat(piece, int(repeat)%2000)
		var out bytes.Buffer
		b := intake.NewLineBreaker(&out)
		for rest := []byte(in); len(rest) > 0; {
			n := min(int(block)+1, len(rest))
			if m, err := b.Write(rest[:n]); m != n || err != nil {
				t.Fatal(m, err)
			}
			rest = rest[n:]
		}
		for line := range strings.SplitSeq(out.String(), "\r\n") {
			if len(line) > 998 {
				t.Fatalf("a line of %d octets", len(line))
			}
			if utf8.ValidString(in) && !utf8.ValidString(line) {
				t.Fatalf("a character was parted")
			}
		}
		if !strings.Contains(in, "\r\n ") && strings.ReplaceAll(out.String(), "\r\n ", "") != in {
			t.Fatal("the content has changed")
		}
	})
}
