package intake_test

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postern-mail/postern/relay/internal/intake"
)

// naive is the conversion of CRLFReader by the letter.
func naive(b []byte) []byte {
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	if bytes.HasSuffix(b, []byte("\r")) {
		b = append(bytes.Clone(b), '\n')
		return append(bytes.ReplaceAll(b[:len(b)-1], []byte("\n"), []byte("\r\n")), '\n')
	}
	return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))
}

// contentOf reads ahead octets, and has the rest written.
func contentOf(r *intake.CRLFReader, ahead int) ([]byte, error) {
	var out bytes.Buffer
	_, err := io.CopyN(&out, r, int64(ahead))
	if err == nil {
		_, err = r.WriteTo(&out)
	}
	if err == io.EOF {
		err = nil
	}
	return out.Bytes(), err
}

func FuzzSubmitContent(f *testing.F) {
	for _, s := range []string{
		"", "a\nb", "a\r\nb\r", "\r\r\n\n", "a\x00b", strings.Repeat("x", 4095) + "\r\n",
		strings.Repeat("x", 4095) + "\r", strings.Repeat("\n", 5000),
	} {
		f.Add([]byte(s), uint8(0))
	}
	f.Fuzz(func(t *testing.T, content []byte, how uint8) {
		var in io.Reader = bytes.NewReader(content)
		switch how % 4 {
		case 1:
			in = iotest.OneByteReader(in)
		case 2:
			in = iotest.DataErrReader(in)
		case 3:
			in = iotest.HalfReader(in)
		}
		got, err := contentOf(intake.NewCRLFReader(in), int(how/4))
		if nul := bytes.IndexByte(content, 0); nul >= 0 {
			if err == nil {
				t.Fatalf("%q was taken", content)
			}
			return
		}
		if err != nil || !bytes.Equal(got, naive(content)) {
			t.Fatalf("%q became %q, %v", content, got, err)
		}
		// What follows makes line ends of the CRs that are left.
		var out bytes.Buffer
		w := intake.NewCRWriter(&out)
		for chunk := range slices.Chunk(got, 1+int(how)) {
			if n, err := w.Write(chunk); n != len(chunk) || err != nil {
				t.Fatal(n, err)
			}
		}
		want := bytes.ReplaceAll(got, []byte("\r\n"), []byte("\n"))
		want = bytes.ReplaceAll(want, []byte("\r"), []byte("\n"))
		want = bytes.ReplaceAll(want, []byte("\n"), []byte("\r\n"))
		if !bytes.Equal(out.Bytes(), want) {
			t.Fatalf("%q became %q, want %q", content, out.Bytes(), want)
		}
	})
}
