package connector

// Right is a set of extended rights: what a session may do on a connector.
type Right uint16

const (
	// Submit allows sending mail at all. Without it MAIL is refused, and so is
	// AUTH.
	Submit Right = 1 << iota
	// AcceptAnyRecipient is the right to relay. Without it a recipient must be
	// in an accepted domain.
	AcceptAnyRecipient
	// AcceptAnySender lifts the check that a sender is one the session may use:
	// for users an address they own, for anonymous sessions one in an accepted
	// domain. It is checked on the envelope sender, and on the From and Sender
	// fields. To take it from strangers stops their mail, not the abuse of the
	// relay's own domains.
	AcceptAnySender
	// AcceptAuthoritativeDomainSender allows senders in the relay's own
	// authoritative domains, in the envelope and in the From and Sender fields.
	// Relay domains are not covered: other hosts send for them as well. A user
	// needs AcceptAnySender besides for an address that is another's.
	AcceptAuthoritativeDomainSender
	// AcceptAuthenticationFlag believes the AUTH parameter of MAIL (RFC 4954
	// section 5) and shows it to the application; without it the parameter is
	// ignored.
	AcceptAuthenticationFlag
	// AcceptHeadersRouting keeps Received and Resent-* fields.
	AcceptHeadersRouting
	// AcceptHeadersOrganization keeps X-MS-Exchange-Organization-* fields.
	AcceptHeadersOrganization
	// AcceptHeadersForest keeps X-MS-Exchange-Forest-* fields.
	AcceptHeadersForest
	// BypassAntiSpam tells content checks to leave the message alone.
	BypassAntiSpam
	// BypassMessageSizeLimit lifts [Limits.MaxMessageBytes].
	BypassMessageSizeLimit
)

// externallySecured is what ExchangeServers gives to a session on a connector
// with ExternalAuthoritative: all but the header rights that only
// real servers of the organization have.
const externallySecured = Submit | AcceptAnyRecipient | AcceptAnySender |
	AcceptAuthoritativeDomainSender |
	AcceptAuthenticationFlag | AcceptHeadersRouting | BypassAntiSpam | BypassMessageSizeLimit

func rightWords() []word[Right] {
	return []word[Right]{
		{"ms-Exch-SMTP-Submit", Submit},
		{"ms-Exch-SMTP-Accept-Any-Recipient", AcceptAnyRecipient},
		{"ms-Exch-SMTP-Accept-Any-Sender", AcceptAnySender},
		{"ms-Exch-SMTP-Accept-Authoritative-Domain-Sender", AcceptAuthoritativeDomainSender},
		{"ms-Exch-SMTP-Accept-Authentication-Flag", AcceptAuthenticationFlag},
		{"ms-Exch-Accept-Headers-Routing", AcceptHeadersRouting},
		{"ms-Exch-Accept-Headers-Organization", AcceptHeadersOrganization},
		{"ms-Exch-Accept-Headers-Forest", AcceptHeadersForest},
		{"ms-Exch-Bypass-Anti-Spam", BypassAntiSpam},
		{"ms-Exch-Bypass-Message-Size-Limit", BypassMessageSizeLimit},
		{"None", 0},
		{"Submit", Submit},
		{"AcceptAnyRecipient", AcceptAnyRecipient},
		{"AcceptAnySender", AcceptAnySender},
		{"AcceptAuthoritativeDomainSender", AcceptAuthoritativeDomainSender},
		{"AcceptAuthenticationFlag", AcceptAuthenticationFlag},
		{"AcceptHeadersRouting", AcceptHeadersRouting},
		{"AcceptHeadersOrganization", AcceptHeadersOrganization},
		{"AcceptHeadersForest", AcceptHeadersForest},
		{"BypassAntiSpam", BypassAntiSpam},
		{"BypassMessageSizeLimit", BypassMessageSizeLimit},
	}
}

// ParseRight reads rights separated by commas or spaces, in Exchange's words
// (ms-Exch-SMTP-Accept-Any-Recipient) or in those of this package
// (AcceptAnyRecipient).
func ParseRight(s string) (Right, error) { return parseSet("right", s, rightWords()) }

// Has reports whether r contains every right of x.
func (r Right) Has(x Right) bool { return r&x == x }

// String prints the rights in Exchange's words, comma separated, and the empty
// set as None.
func (r Right) String() string { return formatSet(r, rightWords()) }

// MarshalText prints r as [Right.String] does. It fails for bits that are no
// right.
func (r Right) MarshalText() ([]byte, error) { return marshalSet("right", r, rightWords()) }

// UnmarshalText reads what [ParseRight] reads.
func (r *Right) UnmarshalText(text []byte) (err error) {
	*r, err = ParseRight(string(text))
	return err
}
