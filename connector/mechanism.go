package connector

// AuthMechanism is a set of ways a session may prove who it is, and of the TLS
// it needs for that.
type AuthMechanism uint8

const (
	// TLS offers STARTTLS, or with [Connector.ImplicitTLS] speaks TLS from the
	// first byte.
	TLS AuthMechanism = 1 << iota
	// BasicAuth lets users log on, by every mechanism that the relay has: PLAIN
	// and LOGIN, which show the password, and SCRAM-SHA-256, OAUTHBEARER,
	// XOAUTH2 and EXTERNAL. Alone, it lets them log on without TLS, so that
	// whoever listens on the way learns their passwords: set
	// BasicAuthRequireTLS too, or RequireTLS or ImplicitTLS of the connector,
	// wherever clients are not on the same host. A relay logs a warning where
	// none is set.
	BasicAuth
	// BasicAuthRequireTLS lets them log on only inside TLS. It needs BasicAuth
	// and TLS.
	BasicAuthRequireTLS
	// Integrated is NTLM and Kerberos. It is read and written, but neither is
	// offered.
	Integrated
	// ExchangeServer lets the operator's own relays prove that they are: by a
	// client certificate with one of the names in [Connector.ServerNames], or
	// by a shared secret, which is to log on with AUTH PLAIN as an identity
	// that the verifier calls a server. Both count inside TLS only, so it needs
	// TLS. Without BasicAuth nobody but servers can log on. Exchange's own way,
	// GSSAPI, is not spoken.
	ExchangeServer
	// ExternalAuthoritative trusts the network: every session of the connector
	// is that of a server of the organization and may relay. It may be combined
	// with TLS only, and the permission groups must be [ExchangeServers].
	ExternalAuthoritative
	// NoAuth, written None, offers nothing. It must stand alone.
	NoAuth
)

func mechanismWords() []word[AuthMechanism] {
	return []word[AuthMechanism]{
		{"Tls", TLS},
		{"BasicAuth", BasicAuth},
		{"BasicAuthRequireTLS", BasicAuthRequireTLS},
		{"Integrated", Integrated},
		{"ExchangeServer", ExchangeServer},
		{"ExternalAuthoritative", ExternalAuthoritative},
		{"None", NoAuth},
	}
}

// ParseAuthMechanism reads mechanisms separated by commas or spaces.
func ParseAuthMechanism(s string) (AuthMechanism, error) {
	return parseSet("auth mechanism", s, mechanismWords())
}

// Has reports whether m contains every mechanism of x.
func (m AuthMechanism) Has(x AuthMechanism) bool { return m&x == x }

// String prints the mechanisms comma separated, and the empty set as None.
func (m AuthMechanism) String() string { return formatSet(m, mechanismWords()) }

// MarshalText prints m as [AuthMechanism.String] does. It fails for bits that
// are no mechanism.
func (m AuthMechanism) MarshalText() ([]byte, error) {
	return marshalSet("auth mechanism", m, mechanismWords())
}

// UnmarshalText reads what [ParseAuthMechanism] reads.
func (m *AuthMechanism) UnmarshalText(text []byte) (err error) {
	*m, err = ParseAuthMechanism(string(text))
	return err
}
