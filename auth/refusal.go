package auth

import "fmt"

// Refusal is why a credential was refused.
type Refusal string

const (
	WrongSecret   Refusal = "wrong secret"
	SecretExpired Refusal = "secret expired" // rotated, and the overlap has ended
	WrongOwner    Refusal = "not of that user"
	Expired       Refusal = "expired" // the credential
	Held          Refusal = "held"
	SourceRefused Refusal = "not from that address"
	RightsReduced Refusal = "rights reduced since the logon" // of Spend only
	RateReached   Refusal = "too many messages in a minute"
	DayReached    Refusal = "too many messages on a day"
)

// MarshalText returns the words. It fails for those that are no refusal; the
// empty Refusal, which is none, stays empty.
func (r Refusal) MarshalText() ([]byte, error) {
	switch r {
	case "", WrongSecret, SecretExpired, WrongOwner, Expired, Held, SourceRefused, RightsReduced,
		RateReached, DayReached:
		return []byte(r), nil
	}
	return nil, fmt.Errorf("auth: unknown refusal %q", string(r))
}

// UnmarshalText reads what MarshalText wrote.
func (r *Refusal) UnmarshalText(text []byte) error {
	read := Refusal(text)
	if _, err := read.MarshalText(); err != nil {
		return err
	}
	*r = read
	return nil
}

// CredentialError tells that a known credential was refused. Unless it is
// temporary it is an [ErrBadCredentials]; a client that logs on learns no more
// than that.
type CredentialError struct {
	ID, Owner, Label string
	Refusal          Refusal
}

func (e *CredentialError) Error() string {
	return fmt.Sprintf("auth: credential %s of %q: %s", e.ID, e.Owner, e.Refusal)
}

// Temporary reports whether the credential will be good again by itself.
func (e *CredentialError) Temporary() bool {
	return e.Refusal == RateReached || e.Refusal == DayReached
}

// Unwrap returns [ErrBadCredentials] unless the refusal is temporary.
func (e *CredentialError) Unwrap() error {
	if e.Temporary() {
		return nil
	}
	return ErrBadCredentials
}
