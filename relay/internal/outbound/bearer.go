package outbound

import (
	"errors"
	"strings"
)

// oauthBearer is RFC 7628. The name stands in a GS2 header (RFC 5801 section
// 4).
func (d *dialogue) oauthBearer() (*reply, error) {
	name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(d.hop.Username)
	return d.bearer("n,a="+name+",", "\x01") // section 3.2.3
}

// xoauth2 is the older form of Google and Microsoft.
func (d *dialogue) xoauth2() (*reply, error) {
	return d.bearer("user="+d.hop.Username, "")
}

// bearer shows the token. A peer may say why it refuses one, and goes on when
// it has been answered.
func (d *dialogue) bearer(header, answer string) (*reply, error) {
	rep, err := d.begin(header + "\x01auth=Bearer " + d.login.token + "\x01\x01")
	if err != nil || rep.code != 334 {
		return rep, err
	}
	if why, err := rep.challenge(); err == nil {
		d.login.why = explained(why, d.login.token)
	}
	return d.end(d.say(rep, nil, answer))
}

// maxWhy bounds what is kept of a peer's words.
const maxWhy = 512

// explained makes a peer's words fit for the log.
func explained(why, token string) string {
	why = strings.ReplaceAll(why, token, "(token)")
	b := []byte(why[:min(len(why), maxWhy)])
	printable(b)
	return strings.ToValidUTF8(string(b), "?")
}

var errToken = errors.New("the source gave a token that no host can be shown")

// fitToken tells whether a token can be shown (RFC 6750 section 2.1), without
// being strict on what issuers make of it.
func fitToken(token string) bool {
	return token != "" && !strings.ContainsFunc(token, func(r rune) bool {
		return r <= ' ' || r >= 0x7f
	})
}
