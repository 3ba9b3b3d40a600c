// Package bounce reads what next hops say of mail that they do not take, and
// sorts it into a few classes that an application can act on.
//
// [Classify] looks at one failure: the codes, the words, the step at which it
// came, and the host. Events carry the class of each failure, so that few
// applications call it themselves. A class says nothing of whether the failure
// is for good: that is for the code of the reply, and for the kind of the
// event. An unknown recipient may be deferred, and greylisting may bounce.
//
// # Classes
//
// What they mean, and what helps:
//
//	unknown-recipient    no such mailbox           stop sending there
//	inactive-recipient   it is closed or moved     stop sending there
//	mailbox-full         it has no room            send again in some days
//	unknown-domain       no domain, or no mail     stop sending there
//	bad-sender           the reverse-path          look at its domain and DNS
//	too-large            the size                  send a link instead
//	too-many-recipients  in one transaction        nothing: the rest follow
//	content              form, attachment, virus   look at the message
//	spam                 taken for spam            look at message and consent
//	reputation           the sending address       look at lists, DNS, volume
//	rate-limited         too much in a time        send slower
//	greylisted           it wants a second try     nothing
//	authentication       SPF, DKIM or DMARC        mend the DNS of the domain
//	encryption           TLS                       look at certificates, TLS
//	access               no relaying, no logon     look at the credentials
//	policy               another rule of the host  ask its postmaster
//	routing              loop, or no host found    look at MX and connectors
//	network              not reached, or cut off   nothing, unless it lasts
//	system               the host has a fault      nothing, unless it lasts
//	protocol             not understood            report it
//	expired              too old                   as the text says
//	other                nothing can be told       read the text
//
// A limit or a blocklist of one recipient is policy: it says nothing of the
// others behind the host. What is held against a domain, of the sender or in
// the content, is bad-sender or spam; reputation is that of the address alone.
//
// # Rules
//
// The file rules.txt of this package has a rule a line. The rules of the
// provider whose host has replied come first, then enhanced codes of IANA's
// registry that leave no doubt (RFC 3463, 5248, 7372, 7505), words that many
// hosts use, and at last what codes and steps mean where the words tell
// nothing. A 550 to RCPT without known words is other, as RFC 5321 section
// 4.2.3 has it for a missing mailbox and for a policy alike.
//
// Where no host has replied, the words do not count: the class comes of the
// enhanced code that this side has made, and of the step.
//
// # Trust
//
// The words of a reply are chosen by the host, and often by those behind it or
// by whoever chose an address. Whoever acts on a class has to bear that they
// lie; so keep what follows from it to the host, or the site, that has said it.
// The word of one site alone must never stop mail for another.
//
// Sites that many share need more. Four classes make the relay send less to all
// recipients of a site: rate-limited, reputation, authentication and
// greylisted. For these Classify would rather miss one than see a false one:
//
//   - Addresses in a reply are passed over, quoted ones too.
//   - A refusal for good that comes after the content may be a recipient's own
//     filter, such as Sieve's reject. Its words make no reputation and no rate
//     limit. They may make authentication, which is found out only then.
//   - At providers whose customers write refusals, as in rules of Google
//     Workspace and Microsoft 365, only the provider's own codes and sentences
//     make one of the four, and what is marked as a customer's never does.
//
// What is left: a host that repeats the name of a mailbox without its domain,
// and gives no enhanced code, lets the chooser of that name choose the class of
// failures of that mailbox.
package bounce
