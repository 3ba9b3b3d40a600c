package auth

import (
	"bytes"
	"fmt"
	"slices"
)

// Mechanism is the name of a SASL mechanism (RFC 4422).
//
// CRAM-MD5 and NTLM are left out on purpose. CRAM-MD5 makes the server keep
// every password so that it can be read, rests on MD5 and has been retired in
// favour of SCRAM (draft-ietf-sasl-crammd5-to-historic). NTLM is Microsoft's
// own, rests on MD4, and can be relayed to other servers; Microsoft has
// deprecated it too.
type Mechanism string

const (
	Plain           Mechanism = "PLAIN"              // RFC 4616
	Login           Mechanism = "LOGIN"              // draft-murchison-sasl-login
	ScramSHA256     Mechanism = "SCRAM-SHA-256"      // RFC 5802, RFC 7677
	ScramSHA256Plus Mechanism = "SCRAM-SHA-256-PLUS" // the same, bound to the TLS connection
	OAuthBearer     Mechanism = "OAUTHBEARER"        // RFC 7628
	XOAuth2         Mechanism = "XOAUTH2"            // Google's and Microsoft's, before RFC 7628
	// RFC 4422 appendix A: the client's certificate
	External Mechanism = "EXTERNAL"
)

// ShowsSecret reports whether the mechanism shows the server, and whoever
// listens, a secret that could be used again. Such a mechanism is offered
// inside TLS only, unless [Conn].InsecurePlaintext says otherwise.
func (m Mechanism) ShowsSecret() bool {
	known, ok := mechanismOf(m)
	return ok && known.showsSecret
}

// MarshalText returns the name. It fails for one that no Server knows; the
// empty name stays empty.
func (m Mechanism) MarshalText() ([]byte, error) {
	if _, ok := mechanismOf(m); !ok && m != "" {
		return nil, fmt.Errorf("auth: unknown mechanism %q", string(m))
	}
	return []byte(m), nil
}

// UnmarshalText reads a name in any case, or the empty one.
func (m *Mechanism) UnmarshalText(text []byte) error {
	read := Mechanism(bytes.ToUpper(text))
	if _, err := read.MarshalText(); err != nil {
		return err
	}
	*m = read
	return nil
}

// mechanism is what a Server runs under a name. Another one takes its name
// above, a file with its exchange, and a line in mechanisms.
type mechanism struct {
	name        Mechanism
	showsSecret bool
	needsTLS    bool // whatever the connection allows
	// offered reports whether the server can run it on a connection.
	offered func(s *Server, c Conn) bool
	// begin returns what takes the client's first message.
	begin func(x *Exchange) step
}

// mechanisms are all that a Server knows, the strongest first.
func mechanisms() []mechanism {
	return []mechanism{
		external(), scramSHA256Plus(), scramSHA256(), oauthBearer(), xoauth2(), plain(), login(),
	}
}

func mechanismOf(name Mechanism) (mechanism, bool) {
	all := mechanisms()
	i := slices.IndexFunc(all, func(m mechanism) bool { return m.name == name })
	if i < 0 {
		return mechanism{}, false
	}
	return all[i], true
}
