package connector

// TLSLevel is what a send connector asks of the next hop's TLS.
type TLSLevel uint8

const (
	// STARTTLS when offered, no certificate check; plain otherwise
	TLSOpportunistic         TLSLevel = iota
	TLSNone                           // ignore STARTTLS
	TLSEncryptionOnly                 // TLS or no delivery; any certificate
	TLSCertificateValidation          // the chain must verify; any name
	TLSDomainValidation               // and the name must match TLSDomain
)

func tlsLevelWords() []word[TLSLevel] {
	return []word[TLSLevel]{
		{"None", TLSNone},
		{"Opportunistic", TLSOpportunistic},
		{"EncryptionOnly", TLSEncryptionOnly},
		{"CertificateValidation", TLSCertificateValidation},
		{"DomainValidation", TLSDomainValidation},
	}
}

// ParseTLSLevel reads a TLS level.
func ParseTLSLevel(s string) (TLSLevel, error) { return parseOne("TLS level", s, tlsLevelWords()) }

// String returns the name of the level.
func (l TLSLevel) String() string { return formatOne("TLSLevel", l, tlsLevelWords()) }

// MarshalText returns the name of the level. It fails for a value that is none.
func (l TLSLevel) MarshalText() ([]byte, error) {
	return marshalOne("TLS level", l, tlsLevelWords())
}

// UnmarshalText reads what [ParseTLSLevel] reads.
func (l *TLSLevel) UnmarshalText(text []byte) (err error) {
	*l, err = ParseTLSLevel(string(text))
	return err
}
