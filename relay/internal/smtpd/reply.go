package smtpd

import (
	"errors"
	"strconv"

	"github.com/postern-mail/postern/relay/internal/policy"
)

// maxReplyText keeps a reply line under the 512 octets of RFC 5321 section
// 4.5.3.1.5.
const maxReplyText = 480

// replyTo turns the error of a Backend into what goes on the wire. It is the
// only place that does so.
func replyTo(err error) *policy.Reply {
	if err == nil {
		return nil
	}
	r, ok := errors.AsType[*policy.Reply](err)
	if !ok || r == nil || r.Code < 400 || r.Code > 599 {
		return policy.ServerError.Because(err)
	}
	return r
}

// appendReply appends one reply line.
func appendReply(b []byte, code int, enhanced, text string) []byte {
	b = strconv.AppendInt(b, int64(code), 10)
	b = append(b, ' ')
	if enhanced != "" {
		b = append(b, enhanced...)
		b = append(b, ' ')
	}
	b = appendText(b, text)
	return append(b, '\r', '\n')
}

// appendText appends text as one line of printable ASCII.
func appendText(b []byte, text string) []byte {
	if len(text) > maxReplyText {
		text = text[:maxReplyText]
	}
	for i := range len(text) {
		c := text[i]
		if c < ' ' || c > '~' {
			c = '?'
		}
		b = append(b, c)
	}
	return b
}

// enhancedFor returns the enhanced code of r, or the general one of its class
// when r has none that fits (RFC 2034 section 4, RFC 3463 section 2).
func enhancedFor(r *policy.Reply) string {
	if validEnhanced(r.Enhanced) && int(r.Enhanced[0]-'0') == r.Code/100 {
		return r.Enhanced
	}
	if r.Code/100 == 4 {
		return "4.0.0"
	}
	return "5.0.0"
}

func validEnhanced(s string) bool {
	if len(s) < 5 || len(s) > 9 || s[0] != '4' && s[0] != '5' || s[1] != '.' {
		return false
	}
	digits, dots := 0, 0
	for i := 2; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9' && digits < 3:
			digits++
		case c == '.' && digits > 0 && dots == 0:
			digits, dots = 0, 1
		default:
			return false
		}
	}
	return dots == 1 && digits > 0
}
