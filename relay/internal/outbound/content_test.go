package outbound_test

import (
	"bytes"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postern-mail/postern/relay/internal/outbound"
)

// bare finds a CR or an LF on its own.
func bare(content []byte) bool {
	return bytes.ContainsAny(bytes.ReplaceAll(content, []byte("\r\n"), []byte(" ")), "\r\n")
}

// badHeader finds a CR, an LF or a NUL that a header section may not have.
func badHeader(content []byte) bool {
	section := content
	if bytes.HasPrefix(content, []byte("\r\n")) {
		section = nil
	} else if i := bytes.Index(content, []byte("\r\n\r\n")); i >= 0 {
		section = content[:i]
	}
	return bare(section) || bytes.IndexByte(section, 0) >= 0
}

// undot is the receiving side of DATA, octet by octet and from the letter of
// RFC 5321 section 4.5.2.
func undot(wire []byte) (content, rest []byte) {
	for line := []byte(nil); ; {
		i := bytes.Index(wire, []byte("\r\n"))
		if i < 0 {
			return nil, nil
		}
		line, wire = wire[:i+2], wire[i+2:]
		if string(line) == ".\r\n" {
			return content, wire
		}
		content = append(content, bytes.TrimPrefix(line, []byte("."))...)
	}
}

// unchunk is the receiving side of BDAT.
func unchunk(wire []byte) (content, rest []byte) {
	for {
		line, after, _ := bytes.Cut(wire, []byte("\r\n"))
		f := strings.Fields(string(line))
		if len(f) < 2 || f[0] != "BDAT" {
			return nil, wire
		}
		n, err := strconv.Atoi(f[1])
		if err != nil || n > len(after) {
			return nil, wire
		}
		content, wire = append(content, after[:n]...), after[n:]
		if len(f) == 3 {
			return content, wire
		}
	}
}

func FuzzDotStuff(f *testing.F) {
	for _, s := range []string{
		"", ".", ".\r\n", "\r\n.\r\n", "..\r\n.x\r\n", "a\r\n", "a", "a\n.\r\n", "a\r.\r\n", "\r",
		"\n", "\r\n", "\r\r\n", "\r\n\r\n.",
		"Subject: x\r\n\r\nhi\r\n",
	} {
		f.Add([]byte(s), 0)
		f.Add([]byte(s), outbound.BlockSize-1)
	}
	for _, s := range []string{
		"A: b\r\n\r\nx\ny\x00", "A: b\n\r\n\r\n", "A: \x00\r\n\r\n", "A: b\rFrom: c\r\n\r\n",
	} {
		f.Add([]byte(s), 0)
		f.Add([]byte(s), outbound.BlockSize-5)
	}
	f.Fuzz(func(t *testing.T, tail []byte, fill int) {
		// The ends of the blocks are where it gets interesting: so the content
		// begins with up to two blocks of lines.
		fill = max(fill, 0) % (2 * outbound.BlockSize)
		content := append(bytes.Repeat([]byte(".\r\n"), fill/3+1)[:fill], tail...)
		if len(content) > 4*outbound.BlockSize {
			return
		}
		wire, err := outbound.DataOf(iotest.HalfReader(bytes.NewReader(content)))
		unfit := badHeader(content)
		if isBare := bare(content); (isBare || unfit) != (err != nil) {
			t.Fatalf("error %v, bare %v, header unfit %v", err, isBare, unfit)
		}
		if err == nil {
			got, rest := undot(wire)
			want := content
			if len(want) > 0 && !bytes.HasSuffix(want, []byte("\r\n")) {
				want = append(bytes.Clone(want), "\r\n"...)
			}
			if !bytes.Equal(got, want) || len(rest) != 0 {
				t.Fatalf(
					"DATA: got %d octets and %d behind, want %d", len(got), len(rest), len(want),
				)
			}
		}
		wire, err = outbound.ChunksOf(bytes.NewReader(content))
		if unfit != (err != nil) {
			t.Fatalf("BDAT: error %v, header unfit %v", err, unfit)
		}
		if err != nil {
			return
		}
		if got, rest := unchunk(wire); !bytes.Equal(got, content) || len(rest) != 0 {
			t.Fatalf(
				"BDAT: got %d octets and %d behind, want %d", len(got), len(rest), len(content),
			)
		}
	})
}

// The worst growth of a block, at every offset of its first dot.
func TestDotStuffGrowth(t *testing.T) {
	for _, head := range []string{"", "a", "ab", "\r\n", "a\r\n", "ab\r\n"} {
		content := []byte(head + strings.Repeat("\r\n.", outbound.BlockSize) + "\r\n")
		wire, err := outbound.DataOf(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		if got, rest := undot(wire); !bytes.Equal(got, content) || len(rest) != 0 {
			t.Errorf("%q: changed", head)
		}
	}
}

// A read error ends the attempt, never the message.
func TestContentReadError(t *testing.T) {
	for _, n := range []int{0, 100, outbound.BlockSize, 2*outbound.BlockSize + 1} {
		for _, frame := range []func(io.Reader) (
			[]byte, error,
		){outbound.DataOf, outbound.ChunksOf} {
			whole := strings.NewReader(strings.Repeat("x", n))
			src := io.MultiReader(whole, iotest.ErrReader(io.ErrClosedPipe))
			if _, err := frame(src); err != io.ErrClosedPipe {
				t.Errorf("%d octets: error %v", n, err)
			}
		}
	}
}
