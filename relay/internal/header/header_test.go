package header_test

import (
	"io"
	"strings"
	"testing"

	"github.com/postern-mail/postern/relay/internal/header"
)

const message = "Received: from a ([192.0.2.1])\r\n\tby b with ESMTP; Mon, 2 Jan 2006 15:04:05 " +
	"+0000\r\n" +
	"From: App <app@example.com>\r\n" +
	"SUBJECT : Hello\r\n Bob \r\n" +
	"this line is no field\r\n" +
	"  nor is its continuation: x\r\n" +
	"To: bob@example.net\r\n" +
	"Empty:\r\n" +
	"\r\n" +
	"Hello: Bob\r\n\r\nBye\r\n"

// read returns the section and the body.
func read(t testing.TB, r io.Reader, max int64) (*header.Header, string) {
	t.Helper()
	h, rest, err := header.Read(r, max)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(rest)
	if err != nil {
		t.Fatal(err)
	}
	return h, string(body)
}

func parse(t testing.TB, s string) *header.Header {
	t.Helper()
	h, _ := read(t, strings.NewReader(s), 0)
	return h
}

func TestFields(t *testing.T) {
	h := parse(t, message)
	var got []string
	for f := range h.Fields() {
		got = append(got, string(f.Name())+"|"+f.Value())
	}
	want := []string{
		"Received|from a ([192.0.2.1])\tby b with ESMTP; Mon, 2 Jan 2006 15:04:05 +0000",
		"From|App <app@example.com>",
		"SUBJECT|Hello Bob",
		"|this line is no field  nor is its continuation: x",
		"To|bob@example.net",
		"Empty|",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q", got)
	}
	if h.Len() != len(want) {
		t.Errorf("Len %d", h.Len())
	}
	if f, ok := h.First("subject"); !ok || string(f.Raw()) != "SUBJECT : Hello\r\n Bob \r\n" ||
		string(f.RawValue()) != " Hello\r\n Bob \r\n" {
		t.Errorf("First: %q %v", f.Raw(), ok)
	}
	if h.Count("FROM") != 1 || h.Count("Bcc") != 0 || !h.Has("empty") ||
		h.Has("this line is no field") || h.Has("") || h.Value("Bcc") != "" {
		t.Error("Count, Has, Value")
	}
}

// TestWhiteBeforeColon holds a name to be the same whatever white space stands
// between it and the colon.
func TestWhiteBeforeColon(t *testing.T) {
	for _, field := range []string{
		"Bcc : x\r\n", "Bcc\t: x\r\n", "Bcc\r\n : x\r\n", "bcc \r\n\t \r\n :x\r\n",
		"BCC\r\n :\r\n x\r\n",
	} {
		for _, before := range []string{"", "A: b\r\n", "no field\r\n", "From me\r\n"} {
			if before == "no field\r\n" {
				before = "A: b\r\n" + before
			}
			h := parse(t, before+field+"C: d\r\n\r\n")
			if f, ok := h.First("Bcc"); !ok || f.Value() != "x" || string(f.Raw()) != field {
				t.Errorf("%q: %q, value %q", before+field, f.Raw(), f.Value())
			}
			header.Firewall{}.Apply(h)
			if h.Has("Bcc") || h.Value("C") != "d" {
				t.Errorf("%q became %q", before+field, h.Bytes())
			}
		}
	}
	for _, field := range []string{"Bcc x: y\r\n", "Bcc\r\n x: y\r\n", "Bcc\r\n \r\n x: y\r\n",
		"Bcc\r\nX: y\r\n"} {
		if h := parse(t, "A: b\r\n"+field+"\r\n"); h.Has("Bcc") || h.Value("A") != "b" {
			t.Errorf("%q is Bcc", field)
		}
	}
	// A name whose colon never comes must not cost more with every line.
	h := parse(t, "A: b\r\nBcc\r\n"+strings.Repeat(" \r\n", 1<<20)+" : x\r\n\r\n")
	if !h.Has("Bcc") {
		t.Error("a name is lost behind many white lines")
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]bool{
		"A: b\r\n\r\nbody\n\x00": true, "\r\nbody\n": true, "": true, "A: b": true, "A: b\r": true,
		"body\rof one line\n": true, "A: b\r\n folded\r\n\r\n": true,
		"A: b\rC: d\r\n\r\n": false, "A: b\nC: d\r\n\r\n": false, "A: b\r\n\n": false,
		"A: \x00\r\n\r\n": false,
		"A: b\r\r\n\r\n":  false, "A: b\r\nno\x00field\r\n\r\n": false, "A: b\n": false,
		"\nbody": false,
	} {
		if got := parse(t, in).Clean(); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestRemove(t *testing.T) {
	for _, c := range []struct{ name, drop, want string }{
		{"first", "Received", message[strings.Index(message, "From:"):]},
		{
			"middle, folded", "Subject",
			strings.Replace(message, "SUBJECT : Hello\r\n Bob \r\n", "", 1),
		},
		{"last", "Empty", strings.Replace(message, "Empty:\r\n", "", 1)},
		{"none", "Bcc", message},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, body := read(t, strings.NewReader(message), 0)
			n := h.Remove(func(f header.Field) bool { return f.Is(c.drop) })
			if (n == 0) != (c.name == "none") || h.Has(c.drop) {
				t.Errorf("removed %d", n)
			}
			if got := string(h.Bytes()) + body; got != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
	h := parse(t, message)
	if n := h.Remove(func(header.Field) bool { return true }); n != 6 ||
		string(h.Bytes()) != "\r\n" || h.Len() != 0 {
		t.Errorf("all: %d %q", n, h.Bytes())
	}
	if n := parse(t, "").Remove(func(header.Field) bool { return true }); n != 0 {
		t.Errorf("of nothing: %d", n)
	}
}

func TestHops(t *testing.T) {
	h := parse(t, "Received: from x by relay.example.com with ESMTP id 1; date\r\n"+
		"Received: from y (helo by relay.example.com) (nested (by relay.example.com)) by "+
		"other.example.com; date\r\n"+
		"received: by RELAY.example.com(10.0.0.1)\r\n with ESMTP; date\r\n"+
		"Received: from by by relay.example.com; date\r\n"+
		"Received: from z by relay.example.com.example.org; date\r\n"+
		"Received: from z\r\n\tby\r\n\trelay.example.com;date\r\n"+
		"Received:\r\n"+
		"X-Received: by relay.example.com; date\r\n"+
		"Received: (unclosed by relay.example.com\r\n"+
		"Received: \\\r\n\r\n")
	if total, local := h.Hops("relay.example.com"); total != 9 || local != 4 {
		t.Errorf("Hops: %d, %d", total, local)
	}
	if _, local := h.Hops(""); local != 0 {
		t.Errorf("no host name: %d", local)
	}
}
