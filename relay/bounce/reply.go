package bounce

// Reply is what is known of a failure. Its zero value is one of which nothing
// is known.
type Reply struct {
	// Code has three digits. It is 0 when no host has replied: then the cause
	// is local, and Text is not looked at.
	Code int
	// Enhanced is the enhanced status code (RFC 3463), such as "5.1.1". May be
	// empty, or wrong.
	Enhanced string
	// Text is what the host said behind its codes. Of a long one the first 2
	// KiB count.
	Text string
	// Step is where the delivery failed. Defaults to unknown, which takes a
	// reply for one to the message.
	Step Step
	// Host is the name of the host that replied, and maybe its address: "mx
	// [192.0.2.1]". Without a name no rules of a provider apply.
	Host string
}

// Step is a step of a delivery. The values are the names of the steps of
// package delivery; others, and the empty one, are unknown.
type Step string

// The steps, in the order in which they come.
const (
	StepRoute    Step = "route"    // finding where the copy goes
	StepDNS      Step = "dns"      // looking up the hosts
	StepDial     Step = "dial"     // making a connection
	StepGreeting Step = "greeting" // waiting for the greeting
	StepEHLO     Step = "ehlo"     // EHLO, HELO or LHLO
	StepSTARTTLS Step = "starttls" // STARTTLS and the handshake
	StepAuth     Step = "auth"     // logging on
	StepMail     Step = "mail"     // MAIL
	StepRcpt     Step = "rcpt"     // RCPT
	StepData     Step = "data"     // DATA, BDAT, and the reply to the message
	StepContent  Step = "content"  // sending the content
	StepLMTP     Step = "lmtp"     // the reply for one recipient (RFC 2033)
	StepMailbox  Step = "mailbox"  // putting the copy into a mailbox
)

// beforeContent reports whether the host has not seen the message at this step:
// what it says there is its own, and not a filter's of one recipient.
func (s Step) beforeContent() bool {
	switch s {
	case StepGreeting, StepEHLO, StepSTARTTLS, StepAuth, StepMail, StepRcpt:
		return true
	}
	return false
}

// class is the class of a local failure of which only the step is known.
func (s Step) class() Class {
	switch s {
	case StepRoute:
		return Routing
	case StepDNS, StepDial, StepGreeting, StepEHLO, StepMail, StepRcpt, StepData, StepContent,
		StepLMTP:
		return Network
	case StepSTARTTLS:
		return Encryption
	case StepAuth:
		return Access
	case StepMailbox:
		return System
	}
	return Other
}
