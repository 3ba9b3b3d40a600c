package header_test

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postern-mail/postern/relay/internal/header"
)

func TestRead(t *testing.T) {
	for _, c := range []struct{ name, in, head, body string }{
		{"plain", "A: b\r\n\r\nbody", "A: b\r\n\r\n", "body"},
		{"no body", "A: b\r\n\r\n", "A: b\r\n\r\n", ""},
		{"no blank line", "A: b\r\n", "A: b\r\n\r\n", ""},
		{"no line end", "A: b\r\nC: d", "A: b\r\nC: d\r\n\r\n", ""},
		{"half a line end", "A: b\r", "A: b\r\n\r\n", ""},
		{"half a blank line", "A: b\r\n\r", "A: b\r\n\r\n", ""},
		{"nothing", "", "\r\n", ""},
		{"blank line first", "\r\nbody\r\n", "\r\n", "body\r\n"},
		{"no field first", "hello\r\nA: b\r\n\r\n", "\r\n", "hello\r\nA: b\r\n\r\n"},
		{"no field, no line end", "hello", "\r\n", "hello"},
		{"continuation first", " A: b\r\n\r\n", "\r\n", " A: b\r\n\r\n"},
		{"no name", ": b\r\n\r\n", "\r\n", ": b\r\n\r\n"},
		{"mailbox line", "From a@b Mon Jan  2 15:04:05 2006\r\nA: b\r\n\r\nbody",
			"A: b\r\n\r\n", "body"},
		{"marked mailbox line", ">From a@b Mon Jan  2 15:04:05 2006\r\nA: b", "A: b\r\n\r\n", ""},
		{"mailbox lines", "From a\r\n>From b\r\n>>From c\r\nA\r\n : b\r\nC: d\r\n\r\nbody",
			"A\r\n : b\r\nC: d\r\n\r\n", "body"},
		{
			"mailbox line in capitals", "FROM a\r\n>from b\r\nA: b\r\n\r\nbody", "A: b\r\n\r\n",
			"body",
		},
		{"folded mailbox line", "From a\r\n\tMon Jan  2\r\n 2006\r\nA: b\r\n\r\nbody",
			"A: b\r\n\r\n", "body"},
		{"folded mailbox line before text", "From a\r\n Mon\r\ntext\r\n", "\r\n",
			"From a\r\n Mon\r\ntext\r\n"},
		{"byte order mark", "\ufeffA: b\r\nBcc: c\r\n\r\nbody", "A: b\r\nBcc: c\r\n\r\n", "body"},
		{
			"byte order mark before a mailbox line", "\ufeffFrom a\r\nA: b\r\n\r\n", "A: b\r\n\r\n",
			"",
		},
		{"byte order mark before a fold", "\ufeff a\r\nA: b\r\n", "\r\n", "\ufeff a\r\nA: b\r\n"},
		{
			"byte order mark before text", "\ufeffhello\r\nA: b\r\n", "\r\n",
			"\ufeffhello\r\nA: b\r\n",
		},
		{"byte order mark alone", "\ufeff\r\nA: b\r\n", "\r\n", "\ufeff\r\nA: b\r\n"},
		{"two byte order marks", "\ufeff\ufeffA: b\r\n", "\r\n", "\ufeff\ufeffA: b\r\n"},
		{"From field, no mailbox line", "From : a@b\r\n\r\nbody", "From : a@b\r\n\r\n", "body"},
		{"mailbox line before text", "From me\r\nwith love\r\n\r\nA: b\r\n", "\r\n",
			"From me\r\nwith love\r\n\r\nA: b\r\n"},
		{"mailbox line before nothing", "From me\r\n\r\nbody", "\r\n", "From me\r\n\r\nbody"},
		{"mailbox line alone", "From me", "\r\n", "From me"},
		{"mailbox line before a token", "From me\r\nA\r\n\r\nbody", "\r\n",
			"From me\r\nA\r\n\r\nbody"},
		{"late colon", "A\r\n : b\r\n\r\nbody", "A\r\n : b\r\n\r\n", "body"},
		{"later colon", "A \r\n \r\n\t: b\r\n\r\nbody", "A \r\n \r\n\t: b\r\n\r\n", "body"},
		{"late colon, no line end", "A\r\n :", "A\r\n :\r\n\r\n", ""},
		{"no colon", "A\r\n\r\nbody", "\r\n", "A\r\n\r\nbody"},
		{"no colon, another line", "A\r\nB: c\r\n\r\nbody", "\r\n", "A\r\nB: c\r\n\r\nbody"},
		{"no colon, folded", "A\r\n b: c\r\n\r\nbody", "\r\n", "A\r\n b: c\r\n\r\nbody"},
		{"no colon, white", "A\r\n ", "\r\n", "A\r\n "},
		{
			"no field later", "A: b\r\nhello\r\nC: d\r\n\r\nbody", "A: b\r\nhello\r\nC: d\r\n\r\n",
			"body",
		},
		{"bare LF", "A: b\nC: d\n e\n\nbody\n", "A: b\nC: d\n e\n\n", "body\n"},
		{"white line", "A: b\r\n \r\nC: d\r\n\r\nbody", "A: b\r\n \r\nC: d\r\n\r\n", "body"},
		{"8-bit name", "A\xe4: b\r\n\r\n", "\r\n", "A\xe4: b\r\n\r\n"},
		{
			"a message", message, message[:strings.Index(message, "\r\n\r\n")+4],
			"Hello: Bob\r\n\r\nBye\r\n",
		},
		{"large", "A: b\r\n" + strings.Repeat(
			"X: y\r\n", 20_000,
		) + "\r\n" + strings.Repeat("z", 100_000),
			"A: b\r\n" + strings.Repeat("X: y\r\n", 20_000) + "\r\n", strings.Repeat("z", 100_000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, r := range map[string]io.Reader{
				"whole":       strings.NewReader(c.in),
				"data at EOF": iotest.DataErrReader(strings.NewReader(c.in)),
				"by octet":    iotest.OneByteReader(strings.NewReader(c.in)),
			} {
				h, body := read(t, r, 1<<20)
				if got := string(h.Bytes()); got != c.head || body != c.body {
					t.Errorf("%s: header %.80q body %.80q", name, got, body)
				}
			}
		})
	}
}

func TestReadLimit(t *testing.T) {
	head := "A: b\r\nC: d\r\n\r\n"
	for _, c := range []struct {
		name, in string
		max      int64
		want     error
	}{
		{"exact", head + "body", int64(len(head)), nil},
		{"one over", head + "body", int64(len(head)) - 1, header.ErrTooLarge},
		{"endless field", "A: " + strings.Repeat("x", 1000), 100, header.ErrTooLarge},
		{"endless name", strings.Repeat("x", 1000), 100, nil},
		{"long body without header", strings.Repeat("x y", 1000), 100, nil},
		{"no limit", "A: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", 0, nil},
	} {
		_, _, err := header.Read(strings.NewReader(c.in), c.max)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestReadFails(t *testing.T) {
	cut := errors.New("cut")
	if _, _, err := header.Read(
		io.MultiReader(strings.NewReader("A: b\r\n"), iotest.ErrReader(cut)), 0,
	); err != cut {
		t.Errorf("in the header: %v", err)
	}
	_, rest, err := header.Read(
		io.MultiReader(strings.NewReader("A: b\r\n\r\nbody"), iotest.ErrReader(cut)), 0,
	)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(rest); string(body) != "body" || err != cut {
		t.Errorf("in the body: %q %v", body, err)
	}
	// An error that comes together with the last data, and only once, must not
	// make a cut message look whole.
	_, rest, err = header.Read(
		iotest.DataErrReader(io.MultiReader(strings.NewReader("A: b\r\n\r\nbody"), &once{cut})), 0,
	)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, rest); err != cut {
		t.Errorf("with the last data: %v", err)
	}
	if _, _, err := header.Read(stuck{}, 0); err != io.ErrNoProgress {
		t.Errorf("a reader that gives nothing: %v", err)
	}
}

// once gives its error once, then io.EOF.
type once struct{ err error }

func (o *once) Read([]byte) (int, error) {
	err := o.err
	o.err = io.EOF
	return 0, err
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestBodyWriteTo(t *testing.T) {
	_, rest, err := header.Read(
		io.MultiReader(strings.NewReader("A: b\r\n\r\none "), strings.NewReader("two")), 0,
	)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if n, err := rest.(io.WriterTo).WriteTo(&b); n != 7 || err != nil || b.String() != "one two" {
		t.Errorf("%d %v %q", n, err, b.String())
	}
}

func TestPoolReuse(t *testing.T) {
	var p header.Pool
	for range 3 {
		for _, in := range []string{
			message, "hello", "", "A: " + strings.Repeat("x", 100<<10) + "\r\n\r\n",
		} {
			h, rest, err := p.Read(strings.NewReader(in), 0)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(rest)
			if want := parse(t, in); !bytes.Equal(want.Bytes(), h.Bytes()) ||
				h.Len() != want.Len() {
				t.Errorf("%.20q: %.80q %q", in, h.Bytes(), body)
			}
			h.Release()
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{message, "", "\r\n", "A: b", "A: b\r", "hello", " x\r\n\r\n",
		"A: b\n\n", "A:\r\n\r", "Received: \\", "Received: from a by b",
		"From x Mon\r\n>From y\r\nA: b\r\n\r\n", "Bcc\r\n \r\n : x\r\n\r\n",
		"Bcc\r\nX: y\r\n\r\n", "A: b\rC: d\r\n\r\n",
		"\ufeffFrom x\r\n y\r\nA: b\r\n\r\n", "Bcc: x\r\nfrom a\r\n b:c\r\nA: b\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		h, body := read(t, bytes.NewReader(in), 0)
		slow, slowBody := read(t, iotest.OneByteReader(bytes.NewReader(in)), 0)
		if !bytes.Equal(h.Bytes(), slow.Bytes()) || body != slowBody {
			t.Fatalf("by octet: %q %q, whole: %q %q", slow.Bytes(), slowBody, h.Bytes(), body)
		}
		if raw := string(h.Bytes()); !strings.HasSuffix(raw, "\n") ||
			!strings.HasPrefix(strings.ReplaceAll(raw, "\r\n", "\n"), "\n") && h.Len() == 0 {
			t.Fatalf("section %q of %d fields", raw, h.Len())
		}
		// All octets are there, in order; line ends may have been added around
		// the end of the section, and lines of a mailbox file are gone from
		// before it.
		if h.Len() > 0 {
			in = in[len(mailboxLines.Find(in)):]
		}
		if all := string(h.Bytes()) + body; all != string(in) &&
			!(h.Len() == 0 && all == "\r\n"+string(in)) &&
			!(body == "" && strings.HasPrefix(all, string(in)) && strings.Trim(
				all[len(in):], "\r\n",
			) == "" && len(all) <= len(in)+4) {
			t.Fatalf("%q became %q", in, all)
		}
		var fields []byte
		for f := range h.Fields() {
			fields = append(fields, f.Raw()...)
			if v := f.Value(); strings.Contains(v, "\n") ||
				len(f.Name()) > 0 && !f.Is(string(f.Name())) {
				t.Fatalf("field %q value %q", f.Raw(), v)
			}
		}
		if !bytes.HasPrefix(h.Bytes(), fields) || len(h.Bytes())-len(fields) > 2 {
			t.Fatalf("fields %q of %q", fields, h.Bytes())
		}
		h.Hops("b")
		// What is left after a removal reads the same.
		header.Firewall{}.Apply(h)
		if clean := h.Clean(); clean != naivelyClean(h.Bytes()) {
			t.Fatalf("%q clean: %v", h.Bytes(), clean)
		}
		for _, name := range naiveNames(string(h.Bytes())) {
			if h.Clean() && slices.Contains([]string{"bcc", "resent-bcc", "received"}, name) {
				t.Fatalf("%q has %s", h.Bytes(), name)
			}
		}
		if len(mailboxLines.Find(h.Bytes())) > 0 {
			return // it has come first by the removal; the relay's Received stands before it
		}
		if again, rest := read(
			t, bytes.NewReader(append(bytes.Clone(h.Bytes()), "body"...)), 0,
		); h.Len() > 0 && again.Len() > 0 &&
			(!bytes.Equal(again.Bytes(), h.Bytes()) || rest != "body") {
			t.Fatalf("%q reads as %q", h.Bytes(), again.Bytes())
		}
	})
}

// mailboxLines are the lines of a mailbox file, and no field, that a message
// begins with.
var mailboxLines = regexp.MustCompile(
	`(?i)^\x{FEFF}?((>*From [ \t]*[^ \t\r\n:][^\n]*\n|>*From [ \t]*\r[^\n][^\n]*\n)([ ` +
		`\t][^\n]*\n)*)*`)

// naivelyClean is Clean by the letter.
func naivelyClean(section []byte) bool {
	rest := bytes.ReplaceAll(section, []byte("\r\n"), nil)
	return bytes.HasSuffix(section, []byte("\r\n")) && !bytes.ContainsAny(rest, "\r\n\x00")
}

// naiveNames are the names that a reader sees who takes white space and folds
// before the colon away.
func naiveNames(section string) []string {
	section = regexp.MustCompile(`(\r\n)?[ \t]`).ReplaceAllString(section, "")
	var names []string
	for line := range strings.SplitSeq(section, "\r\n") {
		if name, _, ok := strings.Cut(line, ":"); ok {
			names = append(names, strings.ToLower(name))
		}
	}
	return names
}

func BenchmarkRead(b *testing.B) {
	in := []byte(message[:strings.Index(message, "\r\n\r\n")+2] +
		strings.Repeat(
			"X-Some-Field: "+strings.Repeat("x", 50)+"\r\n", 10,
		) + "\r\n" + strings.Repeat(strings.Repeat("y", 70)+"\r\n", 130))
	var p header.Pool
	r := bytes.NewReader(in)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(in)
		h, rest, err := p.Read(r, 256<<10)
		if err != nil {
			b.Fatal(err)
		}
		if total, _ := h.Hops("relay.example.com"); total != 1 || h.Count("From") != 1 {
			b.Fatal("fields")
		}
		header.Firewall{}.Apply(h)
		io.Copy(io.Discard, rest)
		h.Release()
	}
}
