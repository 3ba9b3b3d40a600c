package httpapi

import (
	"net/http"
	"slices"
	"strings"

	"github.com/postern-mail/postern/auth"
	"github.com/postern-mail/postern/relay"
)

const (
	schemeBasic  = "basic"  // RFC 7617
	schemeBearer = "bearer" // RFC 6750
)

// authorization reads the Authorization field. The scheme is in lower case, and
// empty unless there is one field. ok is false if the credentials cannot be
// read.
func authorization(r *http.Request) (scheme string, c auth.Proof, ok bool) {
	fields := r.Header.Values("Authorization")
	if len(fields) != 1 {
		return "", c, false
	}
	scheme, shown, _ := strings.Cut(fields[0], " ")
	switch scheme = strings.ToLower(scheme); scheme {
	case schemeBasic:
		c.Username, c.Password, ok = r.BasicAuth()
	case schemeBearer:
		c.Token = strings.TrimLeft(shown, " ") // RFC 9110 section 11.4
		ok = c.Token != ""
	}
	return scheme, c, ok
}

// logOn decides on the credentials, if there are any.
func logOn(c *relay.ClientSession, r *http.Request) error {
	if len(r.Header.Values("Authorization")) == 0 {
		return nil
	}
	scheme, credentials, ok := authorization(r)
	switch {
	case ok:
		return c.Authenticate(r.Context(), credentials)
	case scheme == "", scheme == schemeBasic, scheme == schemeBearer:
		return c.Refuse(
			r.Context(), "auth", relay.Reject(535, "5.7.8", "Authentication unsuccessful"),
		)
	}
	return c.Refuse(
		r.Context(), "auth", relay.Reject(504, "5.7.4", "Unrecognized authentication type"),
	)
}

// challenged adds to a 401 how the client may log on.
func challenged(c *relay.ClientSession, r *http.Request, err error) problem {
	p := problemOf(err)
	if p.Status != http.StatusUnauthorized {
		return p
	}
	offered, scope := c.Offers()
	// Some clients read the first field only, and know Basic only.
	if slices.Contains(offered, auth.Plain) {
		p.challenges = append(p.challenges, `Basic realm="submission", charset="UTF-8"`)
	}
	if slices.Contains(offered, auth.OAuthBearer) {
		bearer := `Bearer realm="submission"`
		if scope != "" && !strings.ContainsFunc(scope, notScope) {
			bearer += `, scope="` + scope + `"`
		}
		// RFC 6750 section 3.1: no error for who has shown no token.
		if scheme, _, _ := authorization(r); scheme == schemeBearer && c.Identity() == nil &&
			p.SMTP != nil && p.SMTP.Code == 535 {
			bearer += `, error="invalid_token"`
		}
		p.challenges = append(p.challenges, bearer)
	}
	return p
}

// notScope reports what no scope holds (RFC 6749 section 3.3).
func notScope(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }
