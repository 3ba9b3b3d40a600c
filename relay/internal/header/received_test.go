package header_test

import (
	"crypto/tls"
	"io"
	"net/mail"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/postern-mail/postern/relay/internal/header"
)

var at = time.Date(2006, 1, 2, 15, 4, 5, 0, time.FixedZone("", -7*3600))

func TestReceived(t *testing.T) {
	full := header.Received{
		HELO: "app.example.com", RemoteName: "host.example.com",
		RemoteIP: netip.MustParseAddr("192.0.2.1"),
		By:       "relay.example.com", With: "ESMTPSA", TLSVersion: tls.VersionTLS13,
		TLSCipher: tls.TLS_AES_128_GCM_SHA256,
		ID:        "0123456789abcdefghijklmnop", For: "bob@example.net", Time: at,
	}
	change := func(f func(r *header.Received)) header.Received {
		r := full
		f(&r)
		return r
	}
	for _, c := range []struct {
		name string
		r    header.Received
		want string
	}{
		{"full", full, "from app.example.com (host.example.com [192.0.2.1]) (using TLSv1.3 with " +
			"cipher TLS_AES_128_GCM_SHA256) " +
			"by relay.example.com with ESMTPSA id 0123456789abcdefghijklmnop for " +
			"<bob@example.net>; Mon, 2 Jan 2006 15:04:05 -0700"},
		{"certificate", change(func(r *header.Received) {
			r.RemoteName, r.For, r.Certificate = "", "", "a b) by\r\nx"
		}),
			"from app.example.com ([192.0.2.1]) (using TLSv1.3 with cipher " +
				"TLS_AES_128_GCM_SHA256) (verified certificate of a?b??by??x) " +
				"by relay.example.com with ESMTPSA id 0123456789abcdefghijklmnop; Mon, 2 Jan " +
				"2006 15:04:05 -0700"},
		{"IPv6", change(func(r *header.Received) {
			r.RemoteName, r.RemoteIP, r.TLSVersion, r.For = "", netip.MustParseAddr(
				"fe80::1%eth0",
			), 0, ""
		}),
			"from app.example.com ([IPv6:fe80::1]) by relay.example.com with ESMTPSA id " +
				"0123456789abcdefghijklmnop; Mon, 2 Jan 2006 15:04:05 -0700"},
		{"mapped", change(func(r *header.Received) {
			*r = header.Received{
				HELO: "[192.0.2.1]", RemoteIP: netip.MustParseAddr("::ffff:192.0.2.1"), By: "b",
				Time: at,
			}
		}), "from [192.0.2.1] ([192.0.2.1]) by b; Mon, 2 Jan 2006 15:04:05 -0700"},
		{"no from", change(func(r *header.Received) {
			*r = header.Received{By: "b", With: "HTTP", Time: at}
		}),
			"by b with HTTP; Mon, 2 Jan 2006 15:04:05 -0700"},
		{"no HELO", change(func(r *header.Received) {
			*r = header.Received{
				RemoteIP: netip.MustParseAddr("192.0.2.1"), By: "b", With: "SMTP", Time: at,
			}
		}), "from unknown ([192.0.2.1]) by b with SMTP; Mon, 2 Jan 2006 15:04:05 -0700"},
		{"break-out", change(func(r *header.Received) {
			*r = header.Received{HELO: "a) by c; x\r\nBcc: y", RemoteName: "b\r\n(x)",
				RemoteIP: netip.MustParseAddr("192.0.2.1"),
				By:       "b", ID: "1;2", For: "x@y>\r\nTo: z", Time: at}
		}), "from a??by?c??x??Bcc:?y (b???x? [192.0.2.1]) by b id 1?2; Mon, 2 Jan 2006 15:04:05 " +
			"-0700"},
		{"quoted recipient", change(func(r *header.Received) {
			*r = header.Received{By: "b", For: `"a(b"@c`, Time: at}
		}),
			"by b; Mon, 2 Jan 2006 15:04:05 -0700"},
		{"UTF-8 recipient", change(func(r *header.Received) {
			*r = header.Received{By: "b", With: "UTF8SMTP", For: "bjö@c", Time: at}
		}),
			"by b with UTF8SMTP for <bjö@c>; Mon, 2 Jan 2006 15:04:05 -0700"},
		{"UTF-8 recipient without SMTPUTF8", change(func(r *header.Received) {
			*r = header.Received{By: "b", With: "ESMTP", For: "bjö@c", Time: at}
		}),
			"by b with ESMTP; Mon, 2 Jan 2006 15:04:05 -0700"},
		{"odd TLS", change(func(r *header.Received) {
			*r = header.Received{By: "b", TLSVersion: 1, TLSCipher: 0xffff, Time: at}
		}),
			"(using TLS with cipher 0xFFFF) by b; Mon, 2 Jan 2006 15:04:05 -0700"},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := string(c.r.AppendTo(nil))
			m, err := mail.ReadMessage(strings.NewReader(text + "\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Header.Get("Received"); got != c.want || len(m.Header) != 1 {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			for line := range strings.SplitSeq(text, "\r\n") {
				if len(line) > 78 {
					t.Errorf("line of %d octets: %q", len(line), line)
				}
			}
		})
	}
}

func TestReceivedIsCounted(t *testing.T) {
	r := header.Received{HELO: "by", By: "Relay.example.com", Time: at}
	h := parse(t, string(r.AppendTo([]byte("X: y\r\n"))))
	if total, local := h.Hops("relay.example.com"); total != 1 || local != 1 || h.Len() != 2 {
		t.Errorf("%d %d of %d", total, local, h.Len())
	}
}

func TestWith(t *testing.T) {
	for want, w := range map[string]header.With{
		"SMTP":       {},
		"ESMTP":      {ESMTP: true},
		"ESMTPS":     {ESMTP: true, TLS: true},
		"ESMTPA":     {ESMTP: true, Auth: true},
		"ESMTPSA":    {TLS: true, Auth: true},
		"UTF8SMTP":   {ESMTP: true, UTF8: true},
		"UTF8SMTPSA": {ESMTP: true, UTF8: true, TLS: true, Auth: true},
		"LMTP":       {LMTP: true},
		"LMTPS":      {LMTP: true, TLS: true},
		"UTF8LMTPA":  {LMTP: true, UTF8: true, Auth: true},
	} {
		if got := w.String(); got != want {
			t.Errorf("%+v: %s, want %s", w, got, want)
		}
	}
}

func FuzzReceived(f *testing.F) {
	f.Add("app.example.com", "host", "b", "ESMTP", "id", "bob@example.net", []byte{192, 0, 2, 1})
	f.Add("a\r\nb", "(", ")", ";", "\x00", "\"x y\"@z", []byte(nil))
	f.Add(
		strings.Repeat("x", 2000), strings.Repeat("\xff", 2000), strings.Repeat("y", 999), "", "",
		strings.Repeat("ü", 256), make([]byte, 16),
	)
	f.Fuzz(func(t *testing.T, helo, name, by, with, id, rcpt string, ip []byte) {
		addr, _ := netip.AddrFromSlice(ip)
		r := header.Received{HELO: helo, RemoteName: name, RemoteIP: addr, By: by, With: with,
			ID: id, For: rcpt, Time: at,
			TLSVersion: tls.VersionTLS12,
			TLSCipher:  tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}
		text := string(r.AppendTo(nil))
		h, rest := read(t, strings.NewReader(text+"\r\nbody"), 0)
		if h.Len() != 1 || rest != "body" || !utf8.ValidString(text) {
			t.Fatalf("%q", text)
		}
		lines := strings.Split(strings.TrimSuffix(text, "\r\n"), "\r\n")
		for i, line := range lines {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n\x00") ||
				i > 0 && strings.Trim(line, " \t") == "" {
				t.Fatalf("%q", text)
			}
		}
		if v := h.Value("Received"); strings.Count(v, ";") != 1 ||
			strings.Count(v, "(") != strings.Count(v, ")") ||
			!strings.HasSuffix(v, "Mon, 2 Jan 2006 15:04:05 -0700") {
			t.Fatalf("%q", v)
		}
	})
}

func BenchmarkReceived(b *testing.B) {
	r := header.Received{
		HELO: "app.example.com", RemoteIP: netip.MustParseAddr("192.0.2.1"),
		By: "relay.example.com", With: "ESMTPSA",
		TLSVersion: tls.VersionTLS13, TLSCipher: tls.TLS_AES_128_GCM_SHA256,
		ID: "0123456789abcdefghijklmnop", For: "bob@example.net", Time: at,
	}
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		io.Discard.Write(r.AppendTo(buf[:0]))
	}
}
