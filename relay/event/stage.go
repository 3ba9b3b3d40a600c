package event

import "fmt"

// Stage is where a client was refused.
type Stage string

// The stages of a session.
const (
	StageConnect Stage = "connect"
	StageTLS     Stage = "tls"
	StageHelo    Stage = "helo"
	StageAuth    Stage = "auth"
	StageMail    Stage = "mail"
	StageRcpt    Stage = "rcpt"
	StageData    Stage = "data"
)

// String returns the stage's name in lower case.
func (s Stage) String() string { return string(s) }

// MarshalText returns the stage's name. The zero Stage is empty.
func (s Stage) MarshalText() ([]byte, error) { return []byte(s), nil }

// UnmarshalText reads a stage's name.
func (s *Stage) UnmarshalText(b []byte) error {
	switch v := Stage(b); v {
	case "", StageConnect, StageTLS, StageHelo, StageAuth, StageMail, StageRcpt, StageData:
		*s = v
		return nil
	}
	return fmt.Errorf("event: unknown stage %q", b)
}
