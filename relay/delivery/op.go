package delivery

import "fmt"

// Op is a step of a delivery.
type Op uint8

// The steps, in the order in which they come.
const (
	OpOther    Op = iota // a step of a Transport of the application's
	OpRoute              // finding where the copy goes
	OpDNS                // looking up the hosts
	OpDial               // making a connection
	OpGreeting           // waiting for the greeting
	OpEHLO               // EHLO, HELO or LHLO
	OpSTARTTLS           // STARTTLS and the handshake
	OpAuth               // logging on
	OpMail               // MAIL
	OpRcpt               // RCPT
	OpData               // DATA, BDAT, and the reply to the message
	OpContent            // reading the content, and sending it
	OpLMTP               // the reply to the message for one recipient (RFC 2033)
	OpMailbox            // putting the copy into a mailbox
)

func opNames() []string {
	return []string{
		"other", "route", "dns", "dial", "greeting", "ehlo", "starttls", "auth", "mail", "rcpt",
		"data", "content", "lmtp", "mailbox",
	}
}

// ParseOp reads the name of a step.
func ParseOp(s string) (Op, error) {
	for i, name := range opNames() {
		if name == s {
			return Op(i), nil
		}
	}
	return 0, fmt.Errorf("delivery: no step of a delivery: %q", s)
}

// String returns the name of the step in lower case.
func (o Op) String() string {
	if names := opNames(); int(o) < len(names) {
		return names[o]
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// MarshalText returns the name of the step. It fails for a value that is none.
func (o Op) MarshalText() ([]byte, error) {
	if int(o) >= len(opNames()) {
		return nil, fmt.Errorf("delivery: no step of a delivery: %s", o)
	}
	return []byte(o.String()), nil
}

// UnmarshalText reads what [ParseOp] reads.
func (o *Op) UnmarshalText(text []byte) (err error) {
	*o, err = ParseOp(string(text))
	return err
}
