package smtpd_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postern-mail/postern/connector"
	"github.com/postern-mail/postern/relay/internal/smtpd"
)

func TestParseClaim(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]string{
		"ADDR=198.51.100.9": "198.51.100.9:0 invalid AddrPort  " +
			"false",
		"addr=198.51.100.9 port=25 helo=a proto=esmtp": "198.51.100.9:25 invalid AddrPort a " +
			"true",
		"ADDR=::ffff:198.51.100.9 PROTO=SMTP": "198.51.100.9:0 invalid AddrPort  " +
			"false",
		"ADDR=IPv6:2001:db8::9 DESTADDR=::1 DESTPORT=587": "[2001:db8::9]:0 [::1]:587  false",
		"ADDR=[UNAVAILABLE]":                              "0.0.0.0:0 invalid AddrPort  false",
		"ADDR=[tempunavail] PORT=[UNAVAILABLE]":           "0.0.0.0:0 invalid AddrPort  false",
		"NAME=x DESTADDR=[UNAVAILABLE] PROTO=[TEMPUNAVAIL]": "invalid AddrPort invalid AddrPort  " +
			"false",
		"DESTPORT=[UNAVAILABLE] HELO=[UNAVAILABLE]": "invalid AddrPort invalid AddrPort  false",
		"HELO=[127.0.0.1]": "invalid AddrPort invalid AddrPort " +
			"[127.0.0.1] false",
		"":                          "",
		"ADDR":                      "",
		"ADDR=":                     "",
		"ADDR=localhost":            "",
		"ADDR=0.0.0.0":              "",
		"ADDR=224.0.0.1":            "",
		"ADDR=fe80::1%25eth0":       "",
		"ADDR=1.2.3.4 ADDR=1.2.3.5": "",
		"ADDR=1.2.3.4 LOGIN=alice":  "",
		"ADDR=1.2.3.4 PORT=65536":   "",
		"ADDR=1.2.3.4 PORT=-1":      "",
		"ADDR=1.2.3.4 DESTADDR=x":   "",
		"ADDR=1.2.3.4 DESTPORT=x":   "",
		"ADDR=1.2.3.4 PROTO=LMTP":   "",
		"ADDR=1.2.3.4 HELO=a+20b":   "1.2.3.4:0 invalid AddrPort a b false",
		"ADDR=1.2.3.4 HELO=a+09b":   "",
		"ADDR=1.2.3.4 NAME=a+0D+0A": "",
		"ADDR=1.2.3.4 NAME=a+":      "",
		"ADDR=1.2.3.4 OTHER=x":      "",
	} {
		s, ok := smtpd.ParseClaim(arg)
		got := fmt.Sprint(s.Remote, " ", s.Local, " ", s.Helo, " ", s.ESMTP)
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", arg, got, want)
		}
	}
}

func FuzzClaim(f *testing.F) {
	f.Add(
		"NAME=host.example ADDR=198.51.100.9 PORT=4711 PROTO=ESMTP HELO=a+2Eb " +
			"DESTADDR=IPV6:2001:db8::1 DESTPORT=25",
	)
	f.Fuzz(func(t *testing.T, arg string) {
		s, ok := smtpd.ParseClaim(arg)
		a := s.Remote.Addr()
		if ok && (a.Is4In6() || a.Zone() != "" || strings.ContainsAny(s.Helo, "\r\n\x00")) {
			t.Fatalf("%q gives %+v", arg, s)
		}
	})
}

// XCLIENT leads to no connector that begins with TLS on a connection that did
// not, gives back what the proxy's own session held, and leaves the backend
// with whole sessions.
func TestXClientSessions(t *testing.T) {
	c, smtps := open(), relaying("198.51.100.0/24")
	c.Limits.MaxConnectionsPerSource = 1
	smtps.ImplicitTLS = true
	bubbleWith(t, func(cfg *smtpd.Config) {
		cfg.Settings.XClient = []connector.Range{connector.MustParseRange("192.0.2.7")}
	}, func(t *testing.T, r *rig) {
		p := r.client()
		p.Expect("220 *")
		p.Say("XCLIENT ADDR=192.0.2.9")
		p.Expect("220 *")
		// The proxy's place is free, the client's is taken.
		q := r.client()
		q.Expect("220 *")
		q.Say("XCLIENT ADDR=192.0.2.9")
		q.Expect("421 4.3.2 *per-source limit*")
		q.ExpectClose()
		q = r.client()
		q.Expect("220 *")
		q.Say("XCLIENT ADDR=198.51.100.9")
		q.Expect("421 4.3.2 Service not available for this client")
		q.ExpectClose()
		p.Say("QUIT")
		p.Expect("221 *")
		synctest.Wait()
		if n := r.server.Admitted(); r.backend.connected != 4 || n != 0 {
			t.Errorf("%d connected, %d still count", r.backend.connected, n)
		}
		q = r.dial("192.0.2.9:1")
		q.Expect("220 *")
	}, c, smtps)
}

// Sessions that hand over commands at full speed survive XCLIENT, whoever is
// named by it.
func TestXClientPipelined(t *testing.T) {
	xclient := connector.MustParseRange("192.0.2.7")
	bubbleWith(t, func(cfg *smtpd.Config) {
		cfg.Settings.XClient = []connector.Range{xclient}
	}, func(t *testing.T, r *rig) {
		for i := range 50 {
			p := r.client()
			p.Expect("220 *")
			p.Say(fmt.Sprintf("XCLIENT ADDR=192.0.2.%d HELO=a", 10+i),
				"MAIL FROM:<a@example.test>", "RCPT TO:<b@example.test>", "BDAT 2 LAST\r\n")
			p.Expect("220 *", "250 2.1.0 *", "250 2.1.5 *", "250 2.0.0 *")
		}
	}, open())
}

// A connector on which no certificate counts does not ask for one.
func TestTLSNotAskedFor(t *testing.T) {
	bubbleWith(t, func(cfg *smtpd.Config) {
		cfg.Settings.TLS.ClientCAs = authority().pool
	}, func(t *testing.T, r *rig) {
		p := r.client()
		p.Expect("220 *")
		p.Say("STARTTLS")
		p.Expect("220 *")
		p.Sent()
		p.Handshake(&tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(
			*tls.CertificateRequestInfo,
		) (*tls.Certificate, error) {
			t.Error("asked for a certificate")
			return nil, io.EOF
		}})
		p.EHLO()
	}, open())
}
