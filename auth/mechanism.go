package auth

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
// inside TLS only.
func (m Mechanism) ShowsSecret() bool {
	switch m {
	case Plain, Login, OAuthBearer, XOAuth2:
		return true
	}
	return false
}
