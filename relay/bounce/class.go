package bounce

import "fmt"

// Class is a kind of failure, by its cause. Its text is its value, so that a
// class of a later version stays readable. The zero Class is none: the copy was
// taken, or nothing is known.
type Class string

// The classes.
const (
	// UnknownRecipient: there is no such mailbox.
	UnknownRecipient Class = "unknown-recipient"
	// InactiveRecipient: the mailbox is closed, disabled or has moved.
	InactiveRecipient Class = "inactive-recipient"
	// MailboxFull: the mailbox, or its quota, has no room.
	MailboxFull Class = "mailbox-full"
	// UnknownDomain: the domain does not exist or takes no mail.
	UnknownDomain Class = "unknown-domain"
	// BadSender: the reverse-path was refused, or its domain.
	BadSender Class = "bad-sender"
	// TooLarge: the message is larger than the host or the mailbox takes.
	TooLarge Class = "too-large"
	// TooManyRecipients: more than the host takes in a transaction or an hour.
	TooManyRecipients Class = "too-many-recipients"
	// Content: the content was refused: its form, its words, a virus.
	Content Class = "content"
	// Spam: the content was taken for spam.
	Spam Class = "spam"
	// Reputation: the host refuses the address that the relay sends from: for
	// what came from it before, because a list says so, or for want of a name.
	Reputation Class = "reputation"
	// RateLimited: too many messages or connections in too little time, of the
	// relay's and not for one recipient.
	RateLimited Class = "rate-limited"
	// Greylisted: the host wants to see another attempt.
	Greylisted Class = "greylisted"
	// Authentication: SPF, DKIM or DMARC of the sender's domain has failed, or
	// is required.
	Authentication Class = "authentication"
	// Encryption: TLS is required, or has failed.
	Encryption Class = "encryption"
	// Access: the host does not relay for this client, or wants it to log on.
	Access Class = "access"
	// Policy: a rule of the host's that is none of the others.
	Policy Class = "policy"
	// Routing: a loop, an alias that leads nowhere, a host that is not to be
	// found.
	Routing Class = "routing"
	// Network: the host could not be reached, or broke off.
	Network Class = "network"
	// System: the host has a fault or is too busy.
	System Class = "system"
	// Protocol: the two sides do not understand each other.
	Protocol Class = "protocol"
	// Expired: a host says that the copy grew too old. The event of that name
	// has the class of the last failure.
	Expired Class = "expired"
	// Other: none of these can be told.
	Other Class = "other"
)

// Classes returns all classes.
func Classes() []Class {
	return []Class{
		UnknownRecipient, InactiveRecipient, MailboxFull, UnknownDomain, BadSender, TooLarge,
		TooManyRecipients, Content, Spam, Reputation, RateLimited, Greylisted, Authentication,
		Encryption, Access, Policy, Routing, Network, System, Protocol, Expired, Other,
	}
}

// String returns the name of the class.
func (c Class) String() string { return string(c) }

// MarshalText returns the name of the class; that of the zero Class is empty.
func (c Class) MarshalText() ([]byte, error) { return []byte(c), nil }

// UnmarshalText reads the name of a class of this version.
func (c *Class) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*c = ""
		return nil
	}
	for _, known := range Classes() {
		if string(known) == string(b) {
			*c = known
			return nil
		}
	}
	return fmt.Errorf("bounce: unknown class %q", b)
}
