// Package domains holds the mailbox address and the domains a relay accepts
// mail for.
//
// An [Address] is read by [Parse] or, from a MAIL or RCPT command, by
// [ParsePath]. It has three faces: [Address.String] is the spelling it was
// parsed from, in a form of RFC 5321, and the only one that goes on the wire,
// [Address.Domain] is the canonical domain that decisions are made on, and
// [Address.Key] is a canonical spelling of the whole mailbox for maps and
// comparisons.
//
// A [Table] of [AcceptedDomain] entries answers which entry covers a domain.
// The [Type] of the entry says who answers for recipients nobody knows, and
// its [Resolver] tells which recipients exist.
//
// # Security
//
// An address is parsed once and printed as it was. Whoever reads it next
// sees the same mailbox, so a check made here cannot be sidestepped by quoting.
// Few forms are taken that RFC 5321 section 4.1.2 and RFC 6531 do not have:
// long local parts and underscores in a domain stay as they are; empty atoms, a
// trailing dot and capitals beyond ASCII are written as the RFCs have them.
// Whatever else they do not allow is refused, and a few things they do allow as
// well, because the next reader may take them for something else:
//
//   - domains that end in a number, such as a@127.0.0.1 or a@0x7f.1, which some
//     resolvers take for an address; [127.0.0.1] is the way to write one
//   - numbers with leading zeros in address literals, and literals with a tag
//     other than IPv6
//   - control characters, spaces and format characters of Unicode in a local
//     part, the two joiners aside
//
// International domain names must be written in valid U-labels or A-labels.
// Nothing is mapped but the case of letters: a character that some software
// turns into a dot, a letter or nothing at all (U+3002, full-width letters, the
// soft hyphen, the Kelvin sign) makes the address invalid.
//
// # Relay domains
//
// The manuals of Microsoft Exchange, whose words these are, contradict each
// other on recipients of relay domains. Here the Recipients of an
// [InternalRelay] domain are those that are delivered by this relay, and
// everybody else is passed on: a lookup there never refuses a recipient, which
// the next system may know. An [ExternalRelay] domain has no recipients here. A
// lookup that fails refuses nobody either, in no domain: it is answered with a
// temporary error, or asked again.
//
// # Case
//
// Domains are compared without regard to case. Local parts are compared by
// this package's resolvers without regard to the case of ASCII letters; other
// letters must match exactly.
//
// # Concurrency
//
// All types are safe for concurrent use.
package domains
