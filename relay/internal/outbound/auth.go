package outbound

import (
	"encoding/base64"
	"errors"
)

var (
	errAuthInClear = errors.New("no TLS: the password is not sent")
	errMechanism   = errors.New("the peer offers neither AUTH PLAIN nor AUTH LOGIN")
)

// auth logs on (RFC 4954) with PLAIN (RFC 4616) or, where that is missing, LOGIN. The last reply tells the outcome.
// LOGIN's challenges are not looked at: servers differ in their words, never in their order.
func (c *conn) auth(h *NextHop) (*reply, error) {
	if !c.secure() && !h.AllowPlaintextAuth {
		return nil, errAuthInClear
	}
	b64 := base64.StdEncoding.EncodeToString
	var lines []string
	switch {
	case c.ext.plain:
		lines = []string{"AUTH PLAIN " + b64([]byte("\x00"+h.Username+"\x00"+h.Password))}
	case c.ext.login:
		lines = []string{"AUTH LOGIN", b64([]byte(h.Username)), b64([]byte(h.Password))}
	default:
		return nil, errMechanism
	}
	for _, line := range append(lines, "*") { // "*" cancels
		rep, err := c.command(line, nil)
		if err != nil || rep.code != 334 {
			return rep, err
		}
	}
	return &c.rep, nil
}
