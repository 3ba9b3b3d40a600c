package domains

import (
	"fmt"
	"strings"
)

// Type says who answers for the unknown recipients of an accepted domain.
type Type uint8

const (
	// Authoritative: this relay knows every recipient; unknown ones are
	// refused.
	Authoritative Type = iota
	// InternalRelay: known recipients are delivered here, unknown ones are
	// passed on.
	InternalRelay
	// ExternalRelay: every recipient is passed on.
	ExternalRelay
)

// String returns the name of the type, such as "Authoritative".
func (t Type) String() string {
	switch t {
	case Authoritative:
		return "Authoritative"
	case InternalRelay:
		return "InternalRelay"
	case ExternalRelay:
		return "ExternalRelay"
	}
	return fmt.Sprintf("Type(%d)", uint8(t))
}

// ParseType reads what [Type.String] writes, in any case.
func ParseType(s string) (Type, error) {
	for t := Authoritative; t <= ExternalRelay; t++ {
		if strings.EqualFold(s, t.String()) {
			return t, nil
		}
	}
	return 0, fmt.Errorf(
		"domains: unknown type %q; it is Authoritative, InternalRelay or ExternalRelay", s,
	)
}

// MarshalText returns the name of the type.
func (t Type) MarshalText() ([]byte, error) {
	if t > ExternalRelay {
		return nil, fmt.Errorf("domains: unknown type %d", uint8(t))
	}
	return []byte(t.String()), nil
}

// UnmarshalText reads a name as [ParseType] does.
func (t *Type) UnmarshalText(text []byte) error {
	p, err := ParseType(string(text))
	if err != nil {
		return err
	}
	*t = p
	return nil
}
