package autoconfig

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Mode says what other mail servers do when TLS fails.
type Mode string

// The modes of RFC 8461 section 5.
const (
	Testing Mode = "testing" // deliver and report
	Enforce Mode = "enforce" // do not deliver
	None    Mode = "none"    // forget the policy
)

// STS is an MTA-STS policy (RFC 8461): that mail for a domain is to be sent to
// certain hosts over verified TLS. It is about mail that comes in from other
// servers.
type STS struct {
	// Mode defaults to Testing.
	Mode Mode
	// MX are the names of the hosts that take the domain's mail, as in its MX
	// records and in their certificates; "*.example.com" is every name one
	// label below. Required, unless Mode is None. At most 64.
	MX []string
	// MaxAge is how long the policy may be kept, in whole seconds, up to
	// 31557600 (about a year). Defaults to a week.
	MaxAge time.Duration
}

const (
	defaultMaxAge = 7 * 24 * time.Hour
	maxMaxAge     = 31557600 * time.Second // RFC 8461 section 3.2
	maxMX         = 64
)

func (s *STS) check(fault func(field, format string, args ...any)) {
	switch s.Mode {
	case "":
		s.Mode = Testing
	case Testing, Enforce, None:
	default:
		fault("STS.Mode", "%q is unknown; it is testing, enforce or none", s.Mode)
	}
	switch {
	case len(s.MX) == 0 && s.Mode != None:
		fault("STS.MX", "missing; list the hosts of the MX records")
	case len(s.MX) > maxMX:
		fault("STS.MX", "more than %d", maxMX)
	}
	for i, mx := range s.MX {
		name, wild := strings.CutPrefix(mx, "*.")
		d, err := hostname(name)
		if err != nil {
			fault(fmt.Sprintf("STS.MX[%d]", i), "%q is not a host name", mx)
		}
		if wild {
			d = "*." + d
		}
		s.MX[i] = d
	}
	switch {
	case s.MaxAge == 0:
		s.MaxAge = defaultMaxAge
	case s.MaxAge < time.Second || s.MaxAge > maxMaxAge:
		fault("STS.MaxAge", "%v is not between a second and 31557600 seconds", s.MaxAge)
	}
}

// policy returns the policy file (RFC 8461 section 3.2).
func (s *STS) policy() string {
	var b strings.Builder
	fmt.Fprintf(&b, "version: STSv1\r\nmode: %s\r\n", s.Mode)
	for _, mx := range s.MX {
		fmt.Fprintf(&b, "mx: %s\r\n", mx)
	}
	fmt.Fprintf(&b, "max_age: %d\r\n", int64(s.MaxAge/time.Second))
	return b.String()
}

// id changes with the policy, as RFC 8461 section 3.1 asks. It may have up to
// 32 letters and digits.
func (s *STS) id() string {
	sum := sha256.Sum256([]byte(s.policy()))
	return hex.EncodeToString(sum[:16])
}
