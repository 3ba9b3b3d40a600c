package header

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	foldAt = 78 // RFC 5322 section 2.1.1
	// maxName bounds a host name and maxPath an address in a trace field, so
	// that no line comes near 998 octets.
	maxName = 255
	maxPath = 512
)

// With is the protocol a message came by.
type With struct {
	LMTP, ESMTP, TLS, Auth, UTF8 bool
}

// String returns the keyword for the with clause (RFC 3848, RFC 6531 section
// 4.3). TLS and Auth imply ESMTP.
func (w With) String() string {
	var words [4]string
	switch {
	case w.LMTP && w.UTF8:
		words = [4]string{"UTF8LMTP", "UTF8LMTPS", "UTF8LMTPA", "UTF8LMTPSA"}
	case w.LMTP:
		words = [4]string{"LMTP", "LMTPS", "LMTPA", "LMTPSA"}
	case w.UTF8:
		words = [4]string{"UTF8SMTP", "UTF8SMTPS", "UTF8SMTPA", "UTF8SMTPSA"}
	case w.ESMTP:
		words = [4]string{"ESMTP", "ESMTPS", "ESMTPA", "ESMTPSA"}
	default:
		words = [4]string{"SMTP", "ESMTPS", "ESMTPA", "ESMTPSA"}
	}
	i := 0
	if w.TLS {
		i |= 1
	}
	if w.Auth {
		i |= 2
	}
	return words[i]
}

// Received is a trace field (RFC 5321 section 4.4). Nothing a client says can
// break out of its place: octets that do not belong there are written as '?',
// and overlong names are cut.
type Received struct {
	// HELO is the name the client gave, RemoteName what the DNS says of it,
	// RemoteIP its address. Without HELO and RemoteIP there is no from clause.
	HELO       string
	RemoteName string
	RemoteIP   netip.Addr
	// By is the host that writes the field.
	By string
	// With is the protocol, as [With.String] prints it. Other words are for
	// messages that came another way.
	With string
	// TLSVersion and TLSCipher are those of tls.ConnectionState. 0 is no TLS.
	TLSVersion, TLSCipher uint16
	// Certificate is a name in the client's certificate, if that was verified.
	Certificate string
	// ID is the queue id.
	ID string
	// For is the recipient. Give it only when there is one, so that nobody
	// learns of another. It is left out if its local part is quoted, or if it
	// is not ASCII and With is not one of the UTF8 words.
	For string
	// Time is written in its own location.
	Time time.Time
}

// AppendTo appends the field with its line end to b. Lines are folded at 78
// octets where they can be and never come near 998.
func (r *Received) AppendTo(b []byte) []byte {
	f := folder{b: b, line: len(b)}
	f.b = append(f.b, "Received:"...)
	if r.HELO != "" || r.RemoteIP.IsValid() {
		f.word("from ")
		f.name(r.HELO)
		if r.RemoteIP.IsValid() {
			f.word("(")
			if r.RemoteName != "" {
				f.name(r.RemoteName)
				f.b = append(f.b, ' ')
			}
			f.b = appendLiteral(f.b, r.RemoteIP)
			f.b = append(f.b, ')')
		}
	}
	if r.TLSVersion != 0 {
		f.word("(using ")
		f.b = append(f.b, tlsVersion(r.TLSVersion)...)
		f.b = append(f.b, " with cipher "...)
		f.b = append(f.b, cipherName(r.TLSCipher)...)
		f.b = append(f.b, ')')
	}
	if r.Certificate != "" {
		f.word("(verified certificate of ")
		f.name(r.Certificate)
		f.b = append(f.b, ')')
	}
	f.word("by ")
	f.name(r.By)
	if r.With != "" {
		f.word("with ")
		f.name(r.With)
	}
	if r.ID != "" {
		f.word("id ")
		f.name(r.ID)
	}
	if plainMailbox(r.For, strings.HasPrefix(r.With, "UTF8")) {
		f.word("for <")
		f.b = append(f.b, r.For...)
		f.b = append(f.b, '>')
	}
	f.b = append(f.b, ';')
	f.word("")
	f.b = r.Time.AppendFormat(f.b, "Mon, 2 Jan 2006 15:04:05 -0700")
	f.fold()
	return append(f.b, '\r', '\n')
}

// folder writes words and breaks the line before a word that does not fit.
type folder struct {
	b    []byte
	line int // where the line begins
	last int // where the last word begins, with the space before it
}

// word ends the last word and begins another with s.
func (f *folder) word(s string) {
	f.fold()
	f.last = len(f.b)
	f.b = append(f.b, ' ')
	f.b = append(f.b, s...)
}

func (f *folder) fold() {
	if f.last <= f.line || len(f.b)-f.line <= foldAt {
		return
	}
	f.b = append(f.b, 0, 0)
	copy(f.b[f.last+3:], f.b[f.last+1:])
	copy(f.b[f.last:], "\r\n\t")
	f.line = f.last + 2
}

// name appends a domain, an address literal or a word, made harmless.
func (f *folder) name(s string) {
	if s == "" {
		s = "unknown"
	}
	for i := range min(len(s), maxName) {
		c := s[i]
		if !isAlnum(c) && strings.IndexByte("-._:[]", c) < 0 {
			c = '?'
		}
		f.b = append(f.b, c)
	}
}

// appendLiteral writes an address literal (RFC 5321 section 4.1.3).
func appendLiteral(b []byte, ip netip.Addr) []byte {
	ip = ip.Unmap().WithZone("")
	b = append(b, '[')
	if ip.Is6() {
		b = append(b, "IPv6:"...)
	}
	return append(ip.AppendTo(b), ']')
}

// TLS returns what is told of a TLS connection: "TLSv1.3
// TLS_AES_128_GCM_SHA256".
func TLS(version, cipher uint16) string {
	if version == 0 { // somebody else has ended it
		return tlsVersion(0)
	}
	return tlsVersion(version) + " " + cipherName(cipher)
}

func tlsVersion(v uint16) string {
	switch v {
	case tls.VersionTLS10:
		return "TLSv1.0"
	case tls.VersionTLS11:
		return "TLSv1.1"
	case tls.VersionTLS12:
		return "TLSv1.2"
	case tls.VersionTLS13:
		return "TLSv1.3"
	}
	return "TLS"
}

// cipherName is tls.CipherSuiteName, which allocates, without that for the
// suites of TLS 1.3.
func cipherName(id uint16) string {
	switch id {
	case tls.TLS_AES_128_GCM_SHA256:
		return "TLS_AES_128_GCM_SHA256"
	case tls.TLS_AES_256_GCM_SHA384:
		return "TLS_AES_256_GCM_SHA384"
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		return "TLS_CHACHA20_POLY1305_SHA256"
	}
	return tls.CipherSuiteName(id)
}

// plainMailbox reports whether s is made only of what a mailbox needs, and of
// nothing that means something to a reader of the field.
func plainMailbox(s string, utf8OK bool) bool {
	if len(s) > maxPath {
		return false
	}
	for _, c := range s {
		switch {
		case c >= utf8.RuneSelf:
			if !utf8OK || c == utf8.RuneError || !unicode.IsPrint(c) {
				return false
			}
		case !isAlnum(byte(c)) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~.@[]:", byte(c)) < 0:
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
